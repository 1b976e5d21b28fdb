"""The check on ourselves: now and then a covered window is read again and compared with the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from watcher.errors import StoreError, StoreUnavailable
from watcher.model import SECOND, Micros, Scope, Task, to_iso
from watcher.monite.errors import MoniteError
from watcher.monite.query import TaskQuery
from watcher.polling import reconcile
from watcher.polling.board import Board
from watcher.polling.means import Means
from watcher.polling.reader import Reader
from watcher.polling.reconcile import Mismatch
from watcher.polling.recorder import ConflictError
from watcher.state.coverage import Interval
from watcher.state.scope import ScopeState

PLAN: Final = "reconcile"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check compared, what it found, and how many rows had come late."""

    rows: int = 0
    mismatches: tuple[Mismatch, ...] = ()
    late: int = 0


class Reconciler:
    """Checks the scopes of one shard, under the lease's nonce, as long as they are polled without trouble."""

    def __init__(self, nonce: str, means: Means, board: Board) -> None:
        self._nonce = nonce
        self._means = means
        self._board = board

    async def run(self) -> None:
        """Check until cancelled.

        Raises:
            LeaseLostError: another holds the lease.
            StoreUnavailable: the store is away.
        """
        means = self._means
        while True:
            await means.clock.sleep(reconcile.pause(len(self._board.reports), means.jitter()))
            steady = [
                scope
                for scope, report in self._board.reports.items()
                if report.completed_at is not None and report.trouble is None
            ]
            if steady:
                await self._check(steady[int(means.jitter() * len(steady))])

    async def _check(self, scope: Scope) -> None:
        """One check. A record that cannot be read is said, and no reason to stop polling."""
        try:
            await self.check(scope)
        except StoreUnavailable:
            raise
        except StoreError as error:
            log.error("reconcile.unreadable", scope=scope.key, error=str(error))

    async def check(self, scope: Scope) -> Checked:
        """Read a random window of a scope again, compare, and repair what should not have been necessary.

        Raises:
            LeaseLostError: another holds the lease.
            StoreError: the store is away or holds what is not the watcher's.
        """
        means = self._means
        state = await means.store.load(scope)
        horizon = round(means.policy.horizon * SECOND)
        window = reconcile.pick(state, horizon, means.jitter)
        reader = means.reader(scope)
        if window is None:
            return Checked()
        try:
            tasks = await _sample(reader, window)
        except MoniteError as error:
            log.debug("reconcile.failed", scope=scope.key, **error.fields)
            return Checked()
        watched = {task.id: task for task in tasks if not means.publication.excludes(task)}
        known = await means.store.known(scope, {each.id: each.created_at for each in watched.values()})
        now, interval = means.now(), round(means.policy.interval * SECOND)
        judged = [
            reconcile.mismatch(task, known.get(task.id), now, interval, in_flight=task.id in state.in_flight)
            for task in watched.values()
        ]
        found = [each for each in judged if each is not None]
        late = [each for each in found if reconcile.may_be_late(each, state, horizon)]
        mismatches = tuple(each for each in found if each not in late)
        means.metrics.reconciled_rows.inc(len(watched))
        self._say(scope, mismatches)
        for each in late:
            means.metrics.visibility_lateness.observe((now - each.task.created_at) / SECOND)
        if found:
            await self._repair(scope, found, state, now)
        return Checked(len(watched), mismatches, len(late))

    def _say(self, scope: Scope, mismatches: Sequence[Mismatch]) -> None:
        self._means.metrics.reconcile_mismatches.inc(len(mismatches))
        for each in mismatches:
            log.error(
                "reconcile.mismatch",
                scope=scope.key,
                task_id=each.task.id,
                status=each.task.status,
                known_status=None if each.known is None else each.known.status,
                created_at=to_iso(each.task.created_at),
                updated_at=to_iso(each.task.updated_at),
            )

    async def _repair(self, scope: Scope, found: Sequence[Mismatch], state: ScopeState, now: Micros) -> None:
        means = self._means
        recorder = means.recorder(scope, self._nonce)
        if state.start is None:
            return
        rules = means.policy.rules(state.start)
        try:
            await recorder.record([each.task for each in found], rules, now, state, state)
        except ConflictError:
            log.warning("reconcile.conflict", scope=scope.key)


async def _sample(reader: Reader, window: Interval) -> list[Task]:
    """The first rows of a window, in the order of ids that say nothing: a sample where there are too many."""
    query = TaskQuery(created_at_gte=window.low, created_at_lt=window.high, sort="id")
    tasks: list[Task] = []
    pages = 0
    async for page in reader.pages(query, PLAN):
        tasks += page.tasks
        pages += 1
        if pages == reconcile.PAGES:
            break
    return tasks
