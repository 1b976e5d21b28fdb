"""One scope's polling loop, for as long as this process holds the shard's lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from watcher.errors import StoreError, StoreUnavailable
from watcher.model import SECOND, Micros, Scope, Task
from watcher.monite.errors import RateLimited, ScopeRejected, Unavailable
from watcher.polling.board import ScopeReport
from watcher.polling.cycle import Cycle
from watcher.polling.inspector import Inspector
from watcher.polling.means import Tools
from watcher.polling.recorder import ConflictError, Recorded
from watcher.polling.scanner import Scanner

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

log = structlog.get_logger()


class ScopePoller:
    """Polls one scope while its process holds the shard's lease under ``nonce``."""

    def __init__(self, scope: Scope, nonce: str, tools: Tools, report: ScopeReport) -> None:
        self._scope = scope
        self._nonce = nonce
        self._tools = tools
        self._report = report
        self._reader = tools.reader(scope)
        recorder = tools.recorder(scope, nonce, lambda created: self.inspector.ended(created))
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
            reader=tools.reader(scope),
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
        async with self._tools.turns:
            await self._tools.store.register(self._scope)
        while True:
            began = clock.monotonic()
            try:
                async with self._tools.turns:
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
            report.pause = cycle.wait
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
