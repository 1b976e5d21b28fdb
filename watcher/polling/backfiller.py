"""Performs backfills: window by window, each written in one fenced step with the progress made.

The holder of the shard's lease performs what was asked for (``Backfiller``); ``rehearse`` reads the same and
writes nothing. Both keep to the request's rate, which is apart from what polling plans with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
import structlog

from watcher.errors import StoreError, StoreUnavailable
from watcher.model import SECOND, Scope, Task
from watcher.monite.errors import MoniteError, PageTokenRejected, ScopeRejected
from watcher.monite.query import TaskQuery
from watcher.polling import backfill
from watcher.polling.means import Means
from watcher.polling.reader import Reader
from watcher.polling.recorder import ConflictError, Judge
from watcher.state.backfill import Job, Progress
from watcher.state.coverage import Interval
from watcher.state.lease import LeaseLostError
from watcher.state.scope import ScopeState
from watcher.state.store import Commit, Outcome

LOOK: Final = 2.0
"""Seconds between two looks for a backfill that somebody asks for."""
RETRY: Final = 5.0
"""Seconds before a window that could not be read is tried again."""

log = structlog.get_logger()


class Backfiller:
    """Performs one shard's backfills under the lease's nonce."""

    def __init__(self, nonce: str, means: Means) -> None:
        self._nonce = nonce
        self._means = means
        self._unreadable = False

    async def run(self) -> None:
        """Work until cancelled. A backfill that cannot be read from the store is no reason to stop polling.

        Raises:
            LeaseLostError: another holds the lease.
            StoreUnavailable: the store is away.
        """
        clock = self._means.clock
        while True:
            began = clock.monotonic()
            try:
                pause = await self.run_once()
                self._unreadable = False
            except StoreUnavailable:
                raise
            except StoreError as error:
                if not self._unreadable:
                    log.error("backfill.unreadable", error=str(error))
                self._unreadable = True
                pause = RETRY
            await clock.sleep(began + pause - clock.monotonic())

    async def run_once(self) -> float:
        """One window, if there is one to read; the seconds from its beginning to the next."""
        job = await self._means.store.backfill()
        if job is None or job.done:
            return LOOK
        reader = self._means.reader(job.request.scope(job.progress.place))
        try:
            progress = await self._window(job, reader)
        except ConflictError:
            return reader.requests / job.request.rate  # called off, or its scope was reset: look again
        if progress.trouble:
            return RETRY
        if Job(job.request, progress).done:
            log.info("backfill.completed", **msgspec.structs.asdict(progress))
        return reader.requests / job.request.rate

    async def _window(self, job: Job, reader: Reader) -> Progress:
        scope, interval = reader.scope, backfill.window(job)
        try:
            tasks = await _read(reader, interval)
        except ScopeRejected as error:
            log.warning("backfill.refused", scope=scope.key, **error.fields)
            return await self._note(job, scope, backfill.refused(job, reader.requests))
        except MoniteError as error:
            if not job.progress.trouble:
                log.warning("backfill.failing", scope=scope.key, **error.fields)
            return await self._note(job, scope, backfill.in_trouble(job, error.reason, reader.requests))
        if tasks is None:
            return await self._note(
                job, scope, backfill.read_in_vain(job, interval, requests=reader.requests)
            )
        # Only now, since reading takes its time: what is forgotten must not be taken for news.
        state = await self._means.store.load(scope)
        if state.start is None:
            log.warning("backfill.not_watched", scope=scope.key)
            return await self._note(job, scope, backfill.refused(job, reader.requests))
        return await self._record(job, reader, interval, tasks, state)

    async def _record(
        self, job: Job, reader: Reader, interval: Interval, tasks: list[Task], state: ScopeState
    ) -> Progress:
        means = self._means
        recorder = means.recorder(reader.scope, self._nonce)

        def progress(published: int) -> Progress:
            return backfill.read_completely(
                job, interval, rows=len(tasks), requests=reader.requests, published=published
            )

        def moved(published: int) -> tuple[bytes, bytes]:
            return job.progress.encode(), progress(published).encode()

        after = replace(state, backfilled=state.backfilled.add(interval))
        recorded = await recorder.record_as(tasks, _judge(means, state), state, after, backfill=moved)
        return progress(recorded.events)

    async def _note(self, job: Job, scope: Scope, progress: Progress) -> Progress:
        """Write progress alone."""
        commit = Commit(scope, backfill=(job.progress.encode(), progress.encode()))
        match await self._means.store.commit(commit, self._nonce):
            case Outcome.FENCED:
                raise LeaseLostError
            case Outcome.CONFLICT:
                raise ConflictError
            case Outcome.APPLIED:
                return progress


async def rehearse(job: Job, means: Means) -> AsyncIterator[Job]:
    """Read everything that a job asks for and count what would be published; the job after each window.

    Nothing is written. A task that would be told twice over, because windows overlap, does not occur.

    Raises:
        MoniteError: the API cannot be read; refused scopes are passed over.
        StoreError: the store is away or holds what is not the watcher's.
    """
    while not job.done:
        began = means.clock.monotonic()
        reader = means.reader(job.request.scope(job.progress.place))
        job = Job(job.request, await _rehearsed(job, reader, means))
        yield job
        await means.clock.sleep(began + reader.requests / job.request.rate - means.clock.monotonic())


async def _rehearsed(job: Job, reader: Reader, means: Means) -> Progress:
    interval = backfill.window(job)
    try:
        tasks = await _read(reader, interval)
    except ScopeRejected:
        return backfill.refused(job, reader.requests)
    if tasks is None:
        return backfill.read_in_vain(job, interval, requests=reader.requests)
    state = await means.store.load(reader.scope)
    if state.start is None:
        return backfill.refused(job, reader.requests)
    watched = {task.id: task for task in tasks if not means.publication.excludes(task)}
    known = await means.store.known(reader.scope, {each.id: each.created_at for each in watched.values()})
    judge = _judge(means, state)
    decisions = [judge(task, known.get(task.id)) for task in watched.values()]
    published = sum(len(each.transitions) for each in decisions if each is not None)
    return backfill.read_completely(
        job, interval, rows=len(tasks), requests=reader.requests, published=published
    )


async def _read(reader: Reader, interval: Interval) -> list[Task] | None:
    """Every row of a window; None if it has more than is written in one step, or its page token ran out.

    Raises:
        MoniteError: it cannot be read.
    """
    query = TaskQuery(created_at_gte=interval.low, created_at_lt=interval.high, sort="id")
    tasks: list[Task] = []
    pages = 0
    try:
        async for page in reader.pages(query, "backfill"):
            tasks += page.tasks
            pages += 1
            if page.next_token is not None and backfill.too_wide(interval, pages):
                return None
    except PageTokenRejected:
        return None
    return tasks


def _judge(means: Means, state: ScopeState) -> Judge:
    """What rows of a scope mean. Raises ``ValueError`` for one without a start."""
    if state.start is None:
        raise ValueError("a scope is read only once it has a start")
    return partial(
        backfill.judge,
        already=backfill.told(state, round(means.policy.horizon * SECOND)),
        rules=means.policy.rules(state.start),
        now=means.now(),
    )
