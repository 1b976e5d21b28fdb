"""Replicas that share eight shards: events a second, the one budget, and how soon a lost one's shards are polled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import watched_arrivals
from tests.benchmarks.fleet import SHARDS, Fleet, running_fleet
from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio, Sample, median_of
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.benchmarks.store import cpu_seconds
from watcher.clock import SystemClock
from watcher.model import ERROR, Scope, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.settings import MoniteSettings
from watcher.state.keys import shard_of
from watcher.state.lease import TERM

PROMPT: Final = 2.0
"""Most seconds from SIGTERM until the others poll what was left."""
AFTER_LEASE: Final = 0.1
"""Most seconds from the end of a lost replica's lease until the others poll what it polled."""

_LOSSES: Final = (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP)
_SCOPES: Final = 4
"""Entities in each shard."""
_ENTITIES: Final = 100
"""Entities there are, of which every shard has some."""
_INTERVAL: Final = 1.0
_LIFTED: Final = 1000
"""Requests a second: the most that can be set, and several times what a machine of two cores can make use of."""
_MOST_SECONDS: Final = 120.0
_GLANCE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of replicas to measure, bursts of so many tasks, and how many of them are measured.

    Between two bursts there are ``rest`` seconds: windows reach so far back that otherwise one would be read again
    with the next. For ``budgeted`` seconds at least the budget is as it is by default; each of ``losses`` is tried
    meanwhile.
    """

    replicas: tuple[int, ...]
    burst: int
    rounds: int
    rest: float
    budgeted: float
    losses: tuple[signal.Signals, ...]


FULL: Final = Size((1, 2, 4), burst=20_000, rounds=3, rest=4.0, budgeted=20.0, losses=_LOSSES)
QUICK: Final = Size((1, 2), burst=20_000, rounds=2, rest=4.0, budgeted=10.0, losses=_LOSSES[:1])


@dataclass(frozen=True, slots=True)
class _Burst:
    """How the events of a burst came, and what they cost the replicas, beside what they cost the API."""

    sample: Sample
    api_cost: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """The most requests in any one second, and the seconds until each lost replica's shards were polled."""

    most: int
    seconds: dict[signal.Signals, float]


async def run(size: Size, cores: Cores) -> Report:
    """Measure the flow with each number of replicas; then, side by side, what is kept while replicas are lost."""
    with cores.starting_servers():  # and this process, which is the API
        bursts = {number: await _flow(number, size, cores) for number in size.replicas}
        async with asyncio.TaskGroup() as group:
            tasks = {
                number: [
                    group.create_task(_kept(number, some, size, cores))
                    for some in _fleets(number, size.losses)
                ]
                for number in size.replicas
            }
    kept = {number: _together([task.result() for task in some]) for number, some in tasks.items()}
    one = bursts[size.replicas[0]]
    return Report(
        title=f"{SHARDS} shards, {SHARDS * _SCOPES} entities: bursts of {size.burst:,} tasks, and the CPU of an event",
        columns=(
            Column("replicas"),
            Column("events/s", ",.0f"),
            Column(f"÷ {size.replicas[0]}"),
            Column("CPU µs", ",.0f"),
            Column("its store's", ",.0f"),
            Column("the API's", ",.0f"),
            Column("most in 1 s", "d"),
            *(Column(f"{loss.name[3:]} s", ".1f") for loss in _LOSSES),
        ),
        rows=tuple(_row(number, bursts[number], one, kept[number]) for number in size.replicas),
        reading=_reading(bursts),
        targets=_targets(kept),
    )


def _row(number: int, bursts: Sequence[_Burst], one: Sequence[_Burst], kept: _Kept) -> tuple[Cell, ...]:
    samples = [burst.sample for burst in bursts]
    rates = [sample.rate for sample in samples]
    known = samples[0].cpu > 0
    return (
        str(number),
        median(rates),
        Ratio.of(rates, [burst.sample.rate for burst in one]),
        median_of(samples, lambda sample: sample.cost) if known else None,
        median_of(samples, lambda sample: sample.store_cost),
        median(burst.api_cost for burst in bursts),
        kept.most,
        *(kept.seconds.get(loss, "-") for loss in _LOSSES),
    )


def _reading(bursts: dict[int, list[_Burst]]) -> str:
    every = [burst for some in bursts.values() for burst in some]
    samples = [burst.sample for burst in every]
    replica, store = (median_of(samples, cost) for cost in (lambda one: one.cost, lambda one: one.store_cost))
    api = median(burst.api_cost for burst in every)
    if replica == 0:
        return "only Linux tells a process's CPU this way"
    cores = os.cpu_count() or 1
    return (
        f"what bounds is this machine: replicas, store and simulated API together cannot pass "
        f"{1e6 * cores / (replica + store + api):,.0f} events a second on its {cores} cores; a replica with a core "
        f"of its own carries {1e6 / replica:,.0f}, the one thread of a store {1e6 / store:,.0f}. A replica was lost "
        "at the worst moment, just after it renewed a lease; the seconds are those until others poll all of its shards"
    )


def _targets(kept: dict[int, _Kept]) -> tuple[Target, ...]:
    budget = MoniteSettings().requests_per_second
    most = max(each.most for each in kept.values())
    targets = [Target(f"never more than {budget:g} requests in any one second: {most}", most <= budget)]
    for loss in _LOSSES:
        seconds = [each.seconds[loss] for each in kept.values() if loss in each.seconds]
        if seconds:
            bound = PROMPT if loss == signal.SIGTERM else TERM + AFTER_LEASE
            text = f"taken over within {bound:g} s of {loss.name}: {max(seconds):.2f} s"
            targets.append(Target(text, max(seconds) <= bound))
    return tuple(targets)


async def _flow(replicas: int, size: Size, cores: Cores) -> list[_Burst]:
    """Bursts, of which the first only shows every scope how rows come. The replicas may use all cores."""
    clock = SystemClock()
    world = World(
        WorldSettings(rate=0, entities=_ENTITIES, lifetime_scale=0.01, visibility_scale=0),
        from_seconds(clock.time()),
    )
    scopes = _watched(world)
    async with (
        Sandbox(world, clock, requests_per_second=0) as sandbox,
        running_fleet(replicas, _settings(sandbox, scopes, _LIFTED), cores.measured | cores.serving) as fleet,
    ):
        bursts = [await _burst(fleet, world, scopes, size) for _ in range(1 + size.rounds)]
    return bursts[1:]


async def _burst(fleet: Fleet, world: World, scopes: Sequence[Scope], size: Size) -> _Burst:
    """So many tasks at once, that end within moments; events are counted between a tenth of them and nine."""
    await asyncio.sleep(size.rest)
    number = size.burst
    clock = SystemClock()
    before, replicas, store = await fleet.events(), _cpu(fleet), await cpu_seconds(fleet.redis)
    for task in range(number):
        # Their pages are light, so that the API is not what bounds.
        world.create(scopes[task % len(scopes)], from_seconds(clock.time()), outcome=ERROR)
    own = time.process_time()
    seen: list[tuple[float, int]] = []
    async with asyncio.timeout(_MOST_SECONDS):
        while not seen or seen[-1][1] < number:
            await asyncio.sleep(_GLANCE_SECONDS)
            seen.append((time.perf_counter(), await fleet.events() - before))
    if seen[-1][1] != number:
        raise RuntimeError(f"{number} tasks ended, and {seen[-1][1]} events are on the streams")
    first, last = (next(each for each in seen if each[1] >= share * number) for share in (0.1, 0.9))
    flowing = (last[1] - first[1]) / (last[0] - first[0])
    sample = Sample(number, number / flowing, _cpu(fleet) - replicas, await cpu_seconds(fleet.redis) - store)
    return _Burst(sample, (time.process_time() - own) / number * 1e6)


def _cpu(fleet: Fleet) -> float:
    """CPU seconds of all daemons so far; 0 where the system does not tell."""
    return sum(each.cpu for each in fleet.footprints() if each is not None)


def _fleets(replicas: int, losses: Sequence[signal.Signals]) -> list[Sequence[signal.Signals]]:
    """What each fleet of so many is to lose, down to one: who takes over keeps what it took for a minute."""
    each = replicas - 1
    return [losses[at : at + each] for at in range(0, len(losses), each)] if each and losses else [()]


def _together(kept: Sequence[_Kept]) -> _Kept:
    seconds = {loss: spent for each in kept for loss, spent in each.seconds.items()}
    return _Kept(max(each.most for each in kept), seconds)


async def _kept(replicas: int, losses: Sequence[signal.Signals], size: Size, cores: Cores) -> _Kept:
    """The default budget, of which the entities want more than there is, while one replica after another is lost."""
    clock = SystemClock()
    world = World(
        WorldSettings(rate=20, entities=_ENTITIES, entity_share=1.0, lifetime_scale=0.1),
        from_seconds(clock.time()),
    )
    seconds: dict[signal.Signals, float] = {}
    async with (
        watched_arrivals() as arrivals,
        Sandbox(world, clock, requests_per_second=0, observe=arrivals.note) as sandbox,
    ):
        budget = MoniteSettings().requests_per_second
        settings = _settings(sandbox, _watched(world), budget)
        async with running_fleet(replicas, settings, cores.measured) as fleet:
            await asyncio.sleep(size.budgeted)
            for loss in losses:
                seconds[loss] = await fleet.lose(loss)
        return _Kept(arrivals.most_in(1.0), seconds)


def _watched(world: World) -> list[Scope]:
    """As many entities of each shard."""
    shards: dict[int, list[Scope]] = {number: [] for number in range(SHARDS)}
    for scope in world.scopes[1:]:
        shards[shard_of(scope, SHARDS)].append(scope)
    return [scope for scopes in shards.values() for scope in scopes[:_SCOPES]]


def _settings(sandbox: Sandbox, scopes: Sequence[Scope], requests_per_second: float) -> dict[str, str]:
    return {
        "WATCHER_MONITE__BASE_URL": sandbox.base_url,
        "WATCHER_MONITE__TOKEN": "benchmark",
        "WATCHER_MONITE__ENTITIES": json.dumps([scope.key for scope in scopes]),
        "WATCHER_MONITE__REQUESTS_PER_SECOND": str(requests_per_second),
        "WATCHER_POLL__INTERVAL": str(_INTERVAL),
        "WATCHER_POLL__START": "all",  # also what ends before a scope was looked at first is to be counted
        "WATCHER_HTTP__PORT": "0",
    }
