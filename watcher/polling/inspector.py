"""Looks at the hinted tasks of one scope, beside its cycles and within an allowance of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from watcher.clock import Clock
from watcher.errors import StoreError, StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import Hint, HintSource, Micros, Task, TaskId, from_seconds
from watcher.monite.errors import MoniteError
from watcher.monite.query import MAX_LIMIT, TaskQuery
from watcher.polling.board import ScopeReport
from watcher.polling.hints import HintQueue, HintRecall, Outcome, Waiting
from watcher.polling.policy import PollPolicy
from watcher.polling.reader import Reader
from watcher.polling.recorder import ConflictError, Recorded, Recorder
from watcher.state.records import Start
from watcher.state.scope import ScopeState
from watcher.state.store import Store

PLAN: Final = "hint"
"""Stands for these requests in ``watcher_poll_requests_total``."""
GATHER: Final = 0.4
"""Seconds between looks while fewer tasks wait than fit into a request: hints that come one by one share one."""

log = structlog.get_logger()

Heard = Callable[[Sequence[Task], Recorded, Micros], None]
"""Is told what a look brought: the rows, what was new in them, and the API's time."""


class Allowance(Protocol):
    """How many looks there may be, over all scopes: a flood of hints must leave the budget to polling."""

    async def acquire(self) -> None:
        """Wait until there may be one more."""
        ...


class Inspector:
    """Takes the hints of one scope and looks at their tasks by id.

    What it reads goes through the same recorder as a cycle's pages, so a task that is new follows the rules of
    tasks that are first seen, and one in flight is followed from then on.
    """

    def __init__(
        self,
        *,
        reader: Reader,
        recorder: Recorder,
        store: Store,
        policy: PollPolicy,
        clock: Clock,
        metrics: Metrics,
        report: ScopeReport,
        heard: Heard,
    ) -> None:
        self._reader = reader
        self._recorder = recorder
        self._store = store
        self._policy = policy
        self._clock = clock
        self._metrics = metrics
        self._report = report
        self._heard = heard
        self._queue = HintQueue()
        self._looking: asyncio.Task[None] | None = None
        self._report.recall = HintRecall(since=from_seconds(clock.time()))

    def take(self, hints: Sequence[Hint]) -> bool:
        """Take hints in; whether some of them wait for a look and nobody is at it."""
        now = self._clock.monotonic()
        known = self._report.recall.ended
        self._report.recall = self._report.recall.with_hints([hint.task_id for hint in hints], now)
        for hint in hints:
            outcome = "known" if hint.task_id in known else self._queue.offer(hint, now)
            if outcome is not None:
                self._count([hint.source], outcome)
        return len(self._queue) > 0 and (self._looking is None or self._looking.done())

    def ended(self, created: Mapping[TaskId, Micros]) -> None:
        """Learn of tasks, given with their created_at, that anybody has just seen to end."""
        self._report.recall = self._report.recall.with_ends(created, self._clock.monotonic())
        self._count(self._queue.remove(created), "known")

    def settle(self) -> None:
        """Let time pass in what is said of the hints."""
        self._report.recall = self._report.recall.settled(self._clock.monotonic())

    def start(self, group: asyncio.TaskGroup, allowance: Allowance) -> None:
        """Begin to look at what waits, as a task of the group; it ends when nothing waits any more."""
        name = f"hints-{self._reader.scope.key}"
        self._looking = group.create_task(self.look(allowance), name=name)

    def stop(self) -> None:
        """Leave what waits."""
        if self._looking is not None:
            self._looking.cancel()

    async def look(self, allowance: Allowance) -> None:
        """Look at tasks until none waits.

        Raises:
            LeaseLostError: another holds the lease.
            StoreUnavailable: the store is away.
        """
        while self._queue:
            if self._queue.ready(self._clock.monotonic()):
                await allowance.acquire()
                await self._inspect(self._queue.take(self._clock.monotonic(), MAX_LIMIT))
            if self._queue.ready(self._clock.monotonic()) < MAX_LIMIT:
                await self._clock.sleep(GATHER)

    async def _inspect(self, asked: Mapping[TaskId, Waiting]) -> None:
        """One request. What it does not show is looked for again, since its row may come late."""
        if not asked:
            return
        fields: dict[str, object] = {"scope": self._reader.scope.key, "asked": len(asked)}
        try:
            state = await self._store.load(self._reader.scope)
            if state.start is None:
                # Only the scope's first cycle, which has not begun, says what a first run tells.
                raise ConflictError
            page = await self._reader.page(TaskQuery(id_in=tuple(asked)), PLAN)
            recorded = await self._record(page.tasks, state, state.start)
        except StoreUnavailable:
            raise
        except StoreError:
            # What is broken of this scope its poller says, and the others are not stopped by it.
            self._count([each.source for each in asked.values()], "failed")
            return
        except (MoniteError, ConflictError) as error:
            again = not isinstance(error, MoniteError) or error.retryable
            told = error.fields if isinstance(error, MoniteError) else {"reason": "conflict"}
            log.debug("hints.failed", **fields, **told)
            self._count(
                self._queue.postpone(asked, self._clock.monotonic())
                if again
                else [each.source for each in asked.values()],
                "failed",
            )
            return
        found = {task.id for task in page.tasks}
        say = log.info if recorded.events else log.debug
        say("hints.inspected", **fields, found=len(found), events=recorded.events)
        self._count([each.source for task_id, each in asked.items() if task_id in found], "found")
        missed = {task_id: each for task_id, each in asked.items() if task_id not in found}
        self._count(self._queue.postpone(missed, self._clock.monotonic()), "absent")

    async def _record(self, tasks: tuple[Task, ...], state: ScopeState, start: Start) -> Recorded:
        now = self._reader.time_told()
        recorded = await self._recorder.record(tasks, self._policy.rules(start), now, state, state)
        self._heard(tasks, recorded, now)
        return recorded

    def _count(self, sources: Sequence[HintSource], outcome: Outcome) -> None:
        for source in sources:
            self._metrics.hints.labels(source=source, outcome=outcome).inc()
