"""What cycles cost beside a full store: the real scanner and the real store, and an API that answers from memory."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.measure import Sample, Stopwatch
from tests.benchmarks.polling_scopes import Shared
from tests.benchmarks.samples import publication
from tests.benchmarks.store import cpu_seconds
from tests.fakes import EagerClock
from tests.simulation import Row, SimulatedApi
from watcher.metrics import Metrics
from watcher.model import TERMINAL, Scope
from watcher.monite.budget import Budget
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.reader import Reader
from watcher.polling.recorder import Recorder
from watcher.polling.scanner import Scanner
from watcher.polling.schedule import Schedule
from watcher.sandbox import SimulatedTask
from watcher.settings import MoniteSettings, PollSettings
from watcher.state.store import Store

_METRICS: Final = Metrics()


@dataclass(frozen=True, slots=True)
class Cycles:
    """What so many cycles took in CPU, and the requests that they sent."""

    sample: Sample
    requests: int


class Watch:
    """Scanners of all scopes on a simulated clock that begins now, always the one whose cycle is due next."""

    def __init__(self, redis: Redis, store: Store, nonce: str, began: float) -> None:
        poll = PollSettings()
        self._redis = redis
        self._store = store
        self._nonce = nonce
        self._clock = EagerClock(began)
        self._budget = Budget(MoniteSettings().requests_per_second, self._clock)
        self._apis: dict[Scope, SimulatedApi] = {}
        self._schedule = Schedule(target=poll.target_delay, interval=poll.interval)
        self._pacer = Pacer(MoniteSettings().requests_per_second, poll.interval)
        self._policy = PollPolicy("baseline", TERMINAL, poll.interval, poll.target_delay, poll.horizon)
        self._due: list[tuple[float, int, Scanner]] = []

    async def begin(self, tasks: Mapping[Scope, Sequence[SimulatedTask]]) -> None:
        """Watch scopes in which there are these tasks."""
        self._schedule.restore(await self._store.load_lifetimes())
        source, draw = Shared(self._apis, self._clock), random.Random(1)
        for number, (scope, those) in enumerate(tasks.items()):
            rows = [Row(each.created_at, each.id, each.ended_at, each.visible_at) for each in those]
            self._apis[scope] = SimulatedApi(self._clock, rows, self._budget)
            scanner = Scanner(
                reader=Reader(scope, source, self._clock, _METRICS, draw.random),
                recorder=Recorder(
                    scope,
                    self._nonce,
                    store=self._store,
                    publication=publication(self._store.keys.namespace),
                    clock=self._clock,
                    metrics=_METRICS,
                ),
                store=self._store,
                policy=self._policy,
                schedule=self._schedule,
                pacer=self._pacer,
            )
            at = self._clock.time() + draw.uniform(0, self._policy.interval)
            heapq.heappush(self._due, (at, number, scanner))

    async def measure(self, cycles: int) -> Cycles:
        """So many cycles.

        Raises:
            RuntimeError: one of them was not complete.
        """
        before, store = self._requests, await cpu_seconds(self._redis)
        with Stopwatch() as watch:
            for _ in range(cycles):
                at, number, scanner = heapq.heappop(self._due)
                self._clock.move(max(0.0, at - self._clock.time()))
                at = self._clock.time()
                cycle = await scanner.run_once()
                if not cycle.complete:
                    raise RuntimeError(f"a cycle failed: {cycle.failures[0]}")
                heapq.heappush(self._due, (at + cycle.wait, number, scanner))
        return Cycles(watch.sample(cycles, await cpu_seconds(self._redis) - store), self._requests - before)

    @property
    def _requests(self) -> int:
        return sum(len(api.starts) for api in self._apis.values())
