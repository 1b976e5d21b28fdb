"""Many entities on one budget: the mean delay beside what visits in proportion to the root of each rate give."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Column, Report, Target
from tests.fakes import EagerClock
from tests.simulation import SimulatedApi, Watched, starts_in_a_second, uniform
from watcher.model import SECOND, TERMINAL, EntityId, Micros, Scope, from_seconds
from watcher.monite.budget import Budget
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.schedule import REBUILD, Schedule

INTERVAL: Final = 5.0
HORIZON: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Size:
    """So many scopes with ``rate`` arrivals a second in all, Zipf-distributed, on one budget."""

    scopes: int
    seconds: float
    warm: float
    rate: float = 5.0
    requests_per_second: float = 24.0


FULL: Final = Size(2000, seconds=3000.0, warm=1400.0)
QUICK: Final = Size(1000, seconds=1000.0, warm=600.0)


@dataclass
class Shared:
    """The APIs of all scopes behind one: they share its clock and its budget."""

    by_scope: dict[Scope, SimulatedApi]
    clock: EagerClock

    @property
    def server_clock(self) -> Shared:
        return self

    def now(self) -> Micros:
        return from_seconds(self.clock.time())

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        return await self.by_scope[scope].list_tasks(scope, query)


def rates(size: Size) -> list[float]:
    """Arrivals a second in each scope: in proportion to 1/rank."""
    whole = sum(1 / rank for rank in range(1, size.scopes + 1))
    return [size.rate / whole / rank for rank in range(1, size.scopes + 1)]


def root_rule(rates: Sequence[float], requests: float) -> float:
    """The least mean delay for so many requests a second, one scope each: ``(sum of roots)**2 / (2 R sum)``."""
    return sum(map(sqrt, rates)) ** 2 / (2 * requests * sum(rates))


async def run(size: Size, cores: Cores) -> Report:
    """Watch all scopes, always the one whose cycle is due next."""
    clock = EagerClock()
    began = clock.time()
    budget = Budget(size.requests_per_second, clock)
    apis: dict[Scope, SimulatedApi] = {}
    for number, rate in enumerate(rates(size)):
        apis[Scope(EntityId(f"e{number:04}"))] = SimulatedApi.arriving(
            clock, budget, rate=rate, lifetime=uniform, seconds=size.seconds, late=0.001, seed=number
        )
    schedule = Schedule(target=1.0, interval=INTERVAL)
    pacer = Pacer(size.requests_per_second, INTERVAL)
    policy = PollPolicy("baseline", TERMINAL, interval=INTERVAL, target_delay=1.0, horizon=HORIZON)
    shared = Shared(apis, clock)
    watched = [Watched(shared, clock, policy, schedule, pacer, scope) for scope in apis]
    draw = random.Random(1)
    due = [(began + draw.uniform(0, INTERVAL), place) for place in range(len(watched))]
    heapq.heapify(due)
    rebuilt = began
    while due[0][0] < began + size.seconds:
        at, place = heapq.heappop(due)
        clock.move(max(0.0, at - clock.time()))
        at = clock.time()
        cycle = await watched[place].scanner.run_once()
        heapq.heappush(due, (at + cycle.wait, place))
        if at - rebuilt > REBUILD:
            schedule.rebuild()
            rebuilt = at
    return _report(size, began, apis, watched)


def _report(size: Size, began: float, apis: dict[Scope, SimulatedApi], watched: list[Watched]) -> Report:
    delays: list[float] = []
    unseen = twice = 0
    since, until = from_seconds(began + size.warm), from_seconds(began + size.seconds)
    for each in watched:
        detected, again = each.detected()
        twice += again
        for row in apis[each.scope].rows:
            if row.late or not since <= row.observable_at < until:
                continue
            found = detected.get(row.id)
            unseen += found is None
            # What has not been seen by the end has been late for so long at least.
            delays.append(((until if found is None else found) - row.observable_at) / SECOND)
    starts = sorted(start for api in apis.values() for start in api.starts)
    counted = [start for start in starts if size.warm <= start < size.seconds]
    requests = len(counted) / (size.seconds - size.warm)
    delay, rule = sum(delays) / len(delays), root_rule(rates(size), requests)
    most = starts_in_a_second(starts)
    return Report(
        title=f"{size.scopes:,} scopes, {size.rate:g} tasks a second in all by Zipf's law, "
        f"{size.requests_per_second:g} requests a second",
        columns=(
            Column("scopes"),
            Column("tasks", "d"),
            Column("requests/s", ".1f"),
            Column("delay s", ".1f"),
            Column("root rule s", ".1f"),
            Column("÷ rule", ".2f"),
            Column("in turn s", ".1f"),
            Column("unseen at the end", "d"),
            Column("twice", "d"),
            Column("most in 1 s", "d"),
        ),
        rows=(
            (
                f"{size.scopes}",
                len(delays),
                requests,
                delay,
                rule,
                delay / rule,
                size.scopes / (2 * requests),
                unseen,
                twice,
                most,
            ),
        ),
        reading="the rule knows every rate, and spends nothing on late rows; visiting all scopes in turn gives the "
        "delay beside it",
        targets=(
            Target(
                f"mean delay at most 1.15 times the root rule's ({delay / rule:.2f})", delay <= 1.15 * rule
            ),
            Target(
                f"never more than {size.requests_per_second:g} requests in a second ({most})",
                most <= size.requests_per_second,
            ),
        ),
    )
