"""The polling loops: one a scope, for as long as this process holds the shard's lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from watcher.clock import Clock
from watcher.errors import StoreError, StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import SECOND, Micros, Scope, Task, Weight
from watcher.monite.errors import MoniteError, RateLimited, ScopeRejected, Unavailable
from watcher.polling.backfiller import Backfiller, Means
from watcher.polling.board import Board, ScopeReport
from watcher.polling.hint_desk import HintDesk
from watcher.polling.inspector import Inspector
from watcher.polling.pacer import Pacer
from watcher.polling.reader import Reader, TaskSource
from watcher.polling.reconciler import Reconciler
from watcher.polling.recorder import ConflictError, Publication, Recorded, Recorder
from watcher.polling.scanner import Cycle, PollPolicy, Scanner
from watcher.polling.schedule import Schedule, keep_learning
from watcher.state.store import Store

PATIENCE: Final = 30.0
"""Seconds between two cycles of a scope whose requests keep being refused, at most."""
RETIRED: Final = 300.0
"""Seconds between two looks at a scope that the API refuses."""
FORGETTING: Final = 60.0
"""Seconds between two rounds of forgetting old records."""
UNREADABLE: Final = "unreadable"
"""The trouble of a scope of which the store holds what the watcher did not write."""
SLICE: Final = 5.0
"""Seconds, in a longer pause, after which something hinted may call for a look: few tasks end sooner."""
REFRESH: Final = 300.0
"""Seconds between two rounds of discovering scopes."""
RETRY: Final = 5.0
"""Seconds before discovery is tried again after it failed."""
SHARING: Final = 2.0
"""Seconds between two comparisons with what other shards weigh in the sharing of the budget."""

log = structlog.get_logger()


class ScopeSource(Protocol):
    """Says what to watch."""

    async def scopes(self) -> frozenset[Scope]:
        """The scopes to watch. Raises ``MoniteError`` when they cannot be had now."""
        ...


class SharedWeights(Protocol):
    """What the scopes of all shards weigh."""

    async def exchange(self, own: Weight) -> Weight:
        """Tell this shard's weight; the sum of the others'. Raises ``StoreUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What every scope's poller works with. ``jitter`` gives a number in [0, 1)."""

    source: TaskSource
    store: Store
    policy: PollPolicy
    publication: Publication
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]
    schedule: Schedule
    pacer: Pacer


class ScopePoller:
    """Polls one scope while its process holds the shard's lease under ``nonce``."""

    def __init__(self, scope: Scope, nonce: str, tools: Tools, report: ScopeReport) -> None:
        self._scope = scope
        self._nonce = nonce
        self._tools = tools
        self._report = report
        self._reader = Reader(scope, tools.source, tools.clock, tools.metrics, tools.jitter)
        recorder = Recorder(
            scope,
            nonce,
            store=tools.store,
            publication=tools.publication,
            clock=tools.clock,
            metrics=tools.metrics,
            ended=lambda created: self.inspector.ended(created),
        )
        self._scanner = Scanner(
            reader=self._reader,
            recorder=recorder,
            store=tools.store,
            policy=tools.policy,
            schedule=tools.schedule,
            pacer=tools.pacer,
            hinted=lambda: report.recall.relaxed,
        )
        self.inspector = Inspector(
            reader=Reader(scope, tools.source, tools.clock, tools.metrics, tools.jitter),
            recorder=recorder,
            store=tools.store,
            policy=tools.policy,
            clock=tools.clock,
            metrics=tools.metrics,
            report=report,
            heard=self._heard,
        )
        self._failed_cycles = 0
        self._news = False
        self._forgot_at = float("-inf")

    async def run(self) -> None:
        """Cycles until cancelled.

        Raises:
            LeaseLostError: another holds the lease.
            StoreUnavailable: the store is away.
        """
        clock = self._tools.clock
        await self._tools.store.register(self._scope)
        while True:
            began = clock.monotonic()
            try:
                cycle = await self._scanner.run_once()
            except ConflictError:
                log.warning("poll.conflict", scope=self._scope.key)
                await clock.sleep(self._tools.policy.interval * self._tools.jitter())
                continue
            except StoreUnavailable:
                raise
            except StoreError as error:
                await self._unreadable(error)
                continue
            self._account(cycle, clock.monotonic() - began)
            await self._forget()
            await self._rest(began + self._pause(cycle))

    async def _unreadable(self, error: StoreError) -> None:
        """Leave the scope for a while: what the store holds of it is broken, and the others' need not be."""
        if self._report.trouble != UNREADABLE:
            log.error("poll.unreadable", scope=self._scope.key, error=str(error))
        self._report.trouble = UNREADABLE
        await self._tools.clock.sleep(PATIENCE)

    async def _rest(self, until: float) -> None:
        """Wait for the next cycle, or a little while if by then something hinted is in flight: it may be due."""
        clock = self._tools.clock
        self._news = False
        await clock.sleep(0)  # where cycles overrun, the others still have their turn
        while (left := until - clock.monotonic()) > 0 and not self._news:
            await clock.sleep(min(left, SLICE))

    def _heard(self, tasks: Sequence[Task], recorded: Recorded, now: Micros) -> None:
        self._scanner.heard(tasks, recorded, now)
        self._news = self._news or bool(recorded.first_seen)

    def _account(self, cycle: Cycle, seconds: float) -> None:
        """Say what the cycle did: one line each, a failure once and its recovery once."""
        self.inspector.settle()
        report = self._report
        for seconds_late in cycle.late:
            self._tools.metrics.visibility_lateness.observe(seconds_late)
        report.in_flight, report.lag, report.lower_bound = cycle.in_flight, cycle.lag, cycle.lower_bound
        fields = {
            "scope": self._scope.key,
            "plan": cycle.plan,
            "requests": cycle.requests,
            "lower_bound": cycle.lower_bound,
            "new": len(cycle.recorded.first_seen),
            "ended": len(cycle.recorded.ended),
            "events": cycle.recorded.events,
            "in_flight": cycle.in_flight,
            "lag": round(cycle.lag, 3),
            "seconds": round(seconds, 3),
        }
        if cycle.complete:
            if report.trouble is not None:
                log.info("poll.recovered", scope=self._scope.key, failed_cycles=self._failed_cycles)
            self._failed_cycles = 0
            report.trouble, report.retired = None, False
            report.completed_at = self._tools.clock.monotonic()
            say = log.info if cycle.recorded.events else log.debug
            say("poll.completed", **fields)
            return
        self._failed_cycles += 1
        first = cycle.failures[0]
        if report.trouble != first.reason:
            log.warning("poll.failing", scope=self._scope.key, failures=len(cycle.failures), **first.fields)
        else:
            log.debug("poll.incomplete", failures=len(cycle.failures), **fields)
        report.trouble = first.reason
        report.retired = isinstance(first, ScopeRejected)

    def _pause(self, cycle: Cycle) -> float:
        """Seconds from the start of one cycle to the next: its own wait; with backoff and jitter while refused.

        While the API fails or wants a pause, its client holds requests back; waiting here as well would only
        bring the scope back late.
        """
        interval = self._tools.policy.interval
        if self._report.retired:
            return RETIRED
        if cycle.complete:
            return cycle.wait
        if self._failed_cycles < 2 or isinstance(cycle.failures[0], Unavailable | RateLimited):
            return max(interval, cycle.wait)  # its tries keep to its share, whatever came of them
        longest = max(interval, min(PATIENCE, interval * 2.0 ** min(self._failed_cycles - 1, 10)))
        return interval + (longest - interval) * self._tools.jitter()

    async def _forget(self) -> None:
        """Forget records of what no cycle reads again, but nothing that is yet to be covered."""
        clock = self._tools.clock
        now = self._reader.now()
        if now is None or clock.monotonic() - self._forgot_at < FORGETTING:
            return
        self._forgot_at = clock.monotonic()
        before = Micros(now - round(self._report.lag * SECOND) - self._scanner.memory)
        await self._tools.store.forget(self._scope, before, self._nonce)


@dataclass(frozen=True, slots=True)
class _Running:
    poller: ScopePoller
    task: asyncio.Task[None]


class ShardPoller:
    """Polls all scopes of a shard; scopes may come and go.

    ``desk`` hands in the hints of others; ``weights`` are those of other shards, where there are any.
    """

    def __init__(
        self,
        scopes: ScopeSource,
        board: Board,
        tools: Tools,
        desk: HintDesk | None = None,
        weights: SharedWeights | None = None,
    ) -> None:
        self._scopes = scopes
        self._board = board
        self._tools = tools
        self._desk = desk
        self._weights = weights
        self._running: dict[Scope, _Running] = {}
        self._taking_hints = False

    async def run(self, nonce: str) -> None:
        """Poll until cancelled, or until one scope's poller raises: the lease or the store is gone."""
        try:
            async with asyncio.TaskGroup() as group:
                learning = keep_learning(self._tools.schedule, self._tools.store, nonce, self._tools.clock)
                group.create_task(learning, name="schedule")
                self._start_beside(group, nonce)
                while True:
                    pause = await self._refresh(group, nonce)
                    await self._tools.clock.sleep(pause)
        finally:
            for scope in self._running:
                self._tools.pacer.leave(scope)
            self._running.clear()
            self._taking_hints = False
            self._board.reports.clear()

    def _start_beside(self, group: asyncio.TaskGroup, nonce: str) -> None:
        """Start what a shard does beside its scopes' cycles: backfills, and the check on ourselves."""
        tools = self._tools
        means = Means(
            source=tools.source,
            store=tools.store,
            policy=tools.policy,
            publication=tools.publication,
            clock=tools.clock,
            metrics=tools.metrics,
            jitter=tools.jitter,
        )
        group.create_task(Backfiller(nonce, means).run(), name="backfill")
        group.create_task(Reconciler(nonce, means, self._board).run(), name="reconcile")
        if self._weights is not None:
            group.create_task(self._share(self._weights), name="share")

    async def _share(self, weights: SharedWeights) -> None:
        """Keep to the part of the budget that this shard's scopes weigh among all, until cancelled."""
        pacer = self._tools.pacer
        while True:
            with suppress(StoreUnavailable):  # what was known holds; polling says that the store is away
                pacer.elsewhere = await weights.exchange(pacer.weight)
            await self._tools.clock.sleep(SHARING)

    async def _refresh(self, group: asyncio.TaskGroup, nonce: str) -> float:
        """Start what is new, end what is gone; the seconds until the next look."""
        try:
            wanted = await self._scopes.scopes()
        except MoniteError as error:
            if self._board.trouble_discovering != error.reason:
                log.warning("scopes.unavailable", **error.fields)
            self._board.trouble_discovering = error.reason
            return RETRY
        self._board.trouble_discovering = None
        for scope in self._running.keys() - wanted:
            log.info("scope.ended", scope=scope.key)
            ended = self._running.pop(scope)
            ended.task.cancel()
            ended.poller.inspector.stop()
            self._tools.pacer.leave(scope)
            self._board.reports.pop(scope, None)
        for scope in sorted(wanted - self._running.keys(), key=lambda each: each.key):
            poller = ScopePoller(scope, nonce, self._tools, self._board.report(scope))
            task = group.create_task(poller.run(), name=f"scope-{scope.key}")
            self._running[scope] = _Running(poller, task)
        if self._desk is not None and not self._taking_hints:
            # Not before the scopes are known: hints wait on their stream, but are not kept for a scope to come.
            self._taking_hints = True
            group.create_task(self._desk.run(group, self._inspector), name="hints")
        return REFRESH

    def _inspector(self, scope: Scope) -> Inspector | None:
        """Who looks at hinted tasks of a scope; None where it is not watched here, or the API refuses it."""
        running = self._running.get(scope)
        if running is None or self._board.report(scope).retired:
            return None
        return running.poller.inspector
