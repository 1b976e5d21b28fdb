"""Gathers what readiness and the gauges are made of from the parts that do the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.fleet.leadership import Leadership
from watcher.metrics import Metrics
from watcher.ops.health import Facts, ShardFacts, reasons_not_ready
from watcher.polling.board import Board
from watcher.state.budget import SharedBudget
from watcher.state.keys import Keys
from watcher.state.store import store_errors
from watcher.supervision import Supervisor
from watcher.webhooks.stats import all_stats, set_gauges

PATIENCE: Final = 2.0
"""Seconds that the store may take to answer a probe; probes of orchestrators give up sooner or later."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The parts of one shard that operators look at."""

    keys: Keys
    leadership: Leadership
    board: Board


class Observer:
    """Answers the operators' questions. ``endpoints`` are the names of those that are configured.

    ``retired`` gives the keys of shards from which what is left is still delivered, ``refused`` why the store did not
    take what this replica wrote of itself last, None when it did.
    """

    def __init__(
        self,
        redis: Redis,
        shards: Sequence[Observed],
        endpoints: Sequence[str],
        *,
        retired: Callable[[], Sequence[Keys]],
        refused: Callable[[], str | None],
        budget: SharedBudget,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
        interval: float,
    ) -> None:
        self._redis = redis
        self._shards = shards
        self.endpoints = endpoints
        self._retired = retired
        self._refused = refused
        self._budget = budget
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._interval = interval
        self._shown: frozenset[str] = frozenset()

    async def not_ready(self) -> list[str]:
        """Why the daemon is not ready; empty when it is."""
        held_elsewhere: list[bool] = []
        trouble, paused = None, 0.0
        try:
            async with asyncio.timeout(PATIENCE):
                held_elsewhere = await self._others()
                paused = await self._budget.paused_for()
        except StoreUnavailable as error:
            trouble = str(error)
        except TimeoutError:
            trouble = f"no answer within {PATIENCE:g} s"
        facts = Facts(
            interval=self._interval,
            store_trouble=trouble,
            refused=self._refused(),
            dead_workers=sorted(self._supervisor.dead),
            shards=[
                self._facts(shard, another)
                for shard, another in zip(self._shards, held_elsewhere, strict=trouble is None)
            ],
            paused=paused,
        )
        return reasons_not_ready(facts)

    async def refresh(self) -> None:
        """Bring the gauges up to date; those that need the store keep their last value while it is away."""
        boards = [shard.board for shard in self._shards if shard.leadership.held]
        reports = [report for board in boards for report in board.reports.values()]
        self._metrics.in_flight_tasks.set(sum(report.in_flight for report in reports))
        self._metrics.coverage_lag.set(max((report.lag for report in reports), default=0.0))
        self._metrics.poll_requests_lower_bound.set(sum(report.lower_bound for report in reports))
        judged = sum(len(report.recall.verdicts) for report in reports)
        self._metrics.hint_recall.set(sum(report.recall.hits for report in reports) / judged if judged else 0)
        now = self._clock.monotonic()
        scans = [board.scanned_at(now) for board in boards if board.watched or not board.reports]
        known = [scan for scan in scans if scan is not None]
        if known and len(known) == len(scans):
            self._metrics.last_complete_scan.set(self._clock.time() - (now - min(known)))
        try:
            async with asyncio.timeout(PATIENCE):
                remaining = await self._budget.remaining()
                with store_errors():
                    places = [*(shard.keys for shard in self._shards), *self._retired()]
                    stats = await all_stats(self._redis, places, self.endpoints)
        except (StoreUnavailable, TimeoutError):
            return
        self._metrics.rate_budget_remaining.set(remaining)
        set_gauges(self._metrics, stats, self._shown)
        self._shown = frozenset(stats)

    async def _others(self) -> list[bool]:
        """Of each shard whether another process holds its lease, which one that was left to lapse does not show."""
        with store_errors():
            found: list[Any] = [await self._redis.get(shard.keys.lease) for shard in self._shards]
        return [
            nonce is not None and nonce != shard.leadership.nonce.encode()
            for nonce, shard in zip(found, self._shards, strict=True)
        ]

    def _facts(self, shard: Observed, another: bool) -> ShardFacts:
        now = self._clock.monotonic()
        scanned_at = shard.board.scanned_at(now)
        return ShardFacts(
            shard=shard.keys.shard,
            held=shard.leadership.held,
            held_elsewhere=another and not shard.leadership.held,
            scan_age=None if scanned_at is None else now - scanned_at,
            trouble=shard.leadership.trouble or shard.board.trouble,
            pause=shard.board.pause,
        )
