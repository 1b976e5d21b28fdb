"""What grows with what is tracked: the store, the daemon and its cycles; and what ten times more would take."""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.daemons import settings_of
from tests.benchmarks.growth_cycles import Cycles, Watch
from tests.benchmarks.growth_fill import HORIZON, Filling
from tests.benchmarks.machine import Cores, footprint
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.benchmarks.store import leading, used_memory
from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.model import SECOND, EntityId, Micros, Scope, from_seconds
from watcher.sandbox import Sandbox, SimulatedTask, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.store import Store

BEYOND: Final = 10
"""Times as much as the most that was measured, for which it is calculated what it would take."""
UNEVEN: Final = 1.5
"""Most that a tracked task may take of anything among ten times as many, as a multiple."""

_SHARE: Final = 100
"""Of so many tracked tasks one is in flight."""
_EACH: Final = 10
"""Tracked tasks of each scope where there are many."""
_SLOW: Final = 72.0
"""Times as long as usual that tasks take, so that one of a hundred that were created within the horizon lives."""
_AHEAD: Final = 400 * SECOND
"""For so long tasks go on arriving."""
_MORE: Final = 20
"""Times as many cycles where there are many scopes: each does next to nothing."""
_QUIET_SECONDS: Final = 0.3
_PATIENCE_SECONDS: Final = 120.0
_GLANCE_SECONDS: Final = 0.05
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Size:
    """Tracked tasks of one scope, the least first, and apart from them a number of scopes.

    The daemon is watched for ``watching`` seconds after ``settling``. So many ``cycles`` are measured, after as many
    that only warm up; where there are many scopes, ``_MORE`` times as many.
    """

    tasks: tuple[int, ...]
    scopes: int
    settling: float
    watching: float
    cycles: int


FULL: Final = Size((10_000, 100_000, 1_000_000), 10_000, settling=10.0, watching=10.0, cycles=60)
QUICK: Final = Size((1_000, 10_000), 100, settling=0.5, watching=1.0, cycles=20)


@dataclass(frozen=True, slots=True)
class _Found:
    """MiB of the store and of the daemon, its share of a core, and CPU ms of a cycle: its own and the store's."""

    scopes: int
    tasks: int
    store: float
    daemon: float | None
    share: float | None
    requests: float
    cycle: float
    store_cycle: float
    calculated: bool = False

    def cells(self, name: str) -> tuple[Cell, ...]:
        return (
            name,
            self.tasks / _SHARE,
            self.store,
            self.store * _MIB / self.tasks,
            self.daemon,
            "-" if self.calculated else self.share,
            self.requests,
            self.cycle,
            self.store_cycle,
        )


async def run(size: Size, cores: Cores) -> Report:
    """Measure each number with a store and a daemon of its own, which the simulated API shows what is in flight."""
    tasks = [await _measure(1, number, size, cores) for number in size.tasks]
    scopes = await _measure(size.scopes, size.scopes * _EACH, size, cores)
    most, many = _beyond(tasks[-2], tasks[-1]), _beyond(replace(tasks[0], scopes=0, store=0.0), scopes)
    rows = [each.cells(f"{each.tasks:,} tasks") for each in (*tasks, most)]
    rows += [each.cells(f"{each.scopes:,} scopes") for each in (scopes, many)]
    return Report(
        title=f"growth: tracked tasks in one scope, one of {_SHARE} in flight; and scopes of {_EACH} tasks each",
        columns=(
            Column("tracked"),
            Column("in flight", ",.0f"),
            Column("store MiB", ",.1f"),
            Column("bytes a task", ",.0f"),
            Column("daemon MiB", ",.1f"),
            Column("of a core", ".1%"),
            Column("requests a cycle", ".1f"),
            Column("its CPU ms", ",.2f"),
            Column("store's", ",.2f"),
        ),
        rows=tuple(rows),
        reading=(
            "rows without a share of a core are calculated: what the slope between the last two numbers makes of "
            f"{BEYOND} times as many; a cycle's CPU is that of loading, planning and writing, the share that of the "
            "whole daemon at the default budget"
        ),
        targets=_targets(tasks),
    )


def _targets(tasks: Sequence[_Found]) -> tuple[Target, ...]:
    few, many = tasks[-2:]
    times = many.tasks / few.tasks
    grown = [("the store", many.store / few.store), ("CPU of a cycle", many.cycle / few.cycle)]
    if few.daemon is not None and many.daemon is not None:
        grown.append(("the daemon's memory", many.daemon / few.daemon))
    return tuple(
        Target(
            f"{name} grows at most {UNEVEN:g} times faster than tasks: {growth / times:.2f}",
            growth <= UNEVEN * times,
        )
        for name, growth in grown
    )


def _beyond(few: _Found, many: _Found) -> _Found:
    """What ``BEYOND`` times as much as ``many`` would take if everything goes on growing as it did from ``few``."""

    def on(below: float, above: float, at: float) -> float:
        return above + (above - below) * (BEYOND - 1) * at

    steps = (
        many.scopes / (many.scopes - few.scopes)
        if many.scopes > few.scopes
        else many.tasks / (many.tasks - few.tasks)
    )
    return replace(
        many,
        scopes=many.scopes * BEYOND if many.scopes > 1 else 1,
        tasks=many.tasks * BEYOND,
        store=on(few.store, many.store, steps),
        daemon=None if few.daemon is None or many.daemon is None else on(few.daemon, many.daemon, steps),
        calculated=True,
        cycle=on(few.cycle, many.cycle, steps) if many.scopes == 1 else many.cycle,
        store_cycle=on(few.store_cycle, many.store_cycle, steps) if many.scopes == 1 else many.store_cycle,
    )


async def _measure(scopes: int, tasks: int, size: Size, cores: Cores) -> _Found:
    with tempfile.TemporaryDirectory(prefix="w-") as name:
        server = EmbeddedServer(Path(name) / "store")
        with cores.starting_servers():
            await server.start()
        try:
            async with connect(server.url) as redis:
                await redis.config_set("appendonly", "no")  # what is on the disk tells nothing of the memory
                now = from_seconds(SystemClock().time())
                world = World(
                    WorldSettings(rate=0, entities=0, lifetime_scale=_SLOW, visibility_scale=0), now
                )
                watched = _arrivals(world, _named(scopes), tasks, now)
                bytes_ = await _filled(redis, watched, tasks, now)
                daemon, share = await _daemon(server.url, world, list(watched), size, Path(name))
                cycles = await _cycles(redis, watched, size.cycles * (_MORE if scopes > 1 else 1))
        finally:
            await server.stop()
    sample = cycles.sample
    return _Found(
        scopes,
        tasks,
        bytes_ / _MIB,
        daemon,
        share,
        cycles.requests / sample.count,
        sample.cost / 1000,
        sample.store_cost / 1000,
    )


def _named(scopes: int) -> list[Scope]:
    if scopes == 1:
        return [Scope()]
    return [Scope(EntityId(str(uuid.uuid4()))) for _ in range(scopes)]


def _arrivals(
    world: World, scopes: Sequence[Scope], tasks: int, now: Micros
) -> Mapping[Scope, list[SimulatedTask]]:
    """What is in flight, and what arrives for a while after now, in turns in all scopes."""
    watched: dict[Scope, list[SimulatedTask]] = {scope: [] for scope in scopes}
    gap = HORIZON / tasks
    for number in range(round((HORIZON / _SHARE + _AHEAD) / gap)):
        scope = scopes[number % len(scopes)]
        at = Micros(round(now - HORIZON / _SHARE + number * gap))
        watched[scope].append(world.create(scope, at))
    return watched


async def _filled(
    redis: Redis, watched: Mapping[Scope, Sequence[SimulatedTask]], tasks: int, now: Micros
) -> float:
    """Bytes of the store, having written what is tracked."""
    keys = Keys()
    async with leading(redis, keys) as nonce:
        store = Store(redis, keys)
        filling = Filling(store, nonce, now)
        # First a page that is forgotten again: the memory of the scripts is no task's.
        await filling.scope(Scope(), 1, ())
        await store.reset(Scope())
        empty = await _settled(redis)
        flying = {
            scope: [each for each in those if each.created_at < now] for scope, those in watched.items()
        }
        ended, odd = divmod(tasks - sum(map(len, flying.values())), len(watched))
        for number, (scope, those) in enumerate(flying.items()):
            await filling.scope(scope, ended + (number < odd), those)
        used = await _settled(redis) - empty
        await filling.lifetimes([each for those in watched.values() for each in those])
    return used


async def _daemon(
    store: str, world: World, scopes: Sequence[Scope], size: Size, directory: Path
) -> tuple[float | None, float | None]:
    """The daemon's memory of no file in MiB, and its share of a core, at its work."""
    async with Sandbox(world, SystemClock(), requests_per_second=0) as sandbox:
        settings = directory / "settings.toml"
        ids = [scope.entity_id for scope in scopes if scope.entity_id]
        settings.write_text(f"[monite]\nentities = {json.dumps(ids)}\n")
        daemon = Daemon(
            {
                **settings_of("none", "http://127.0.0.1:9/", sandbox.base_url),
                "WATCHER_WEBHOOKS": "[]",
                "WATCHER_CONFIG": str(settings),
                "WATCHER_REDIS__URL": store,
                "WATCHER_POLL__STALLED_AFTER": str(HORIZON // SECOND),
            },
            directory,
        )
        await daemon.start()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while sandbox.requests_served.total < min(100, len(scopes)):
                    daemon.check()
                    await asyncio.sleep(_GLANCE_SECONDS)
            await asyncio.sleep(size.settling)
            before = footprint(daemon.pid)
            await asyncio.sleep(size.watching)
            after = footprint(daemon.pid)
            daemon.check()
        finally:
            await daemon.stop()
    if before is None or after is None:
        return None, None
    return after.own, (after.cpu - before.cpu) / size.watching


async def _cycles(redis: Redis, watched: Mapping[Scope, Sequence[SimulatedTask]], number: int) -> Cycles:
    keys = Keys()
    async with leading(redis, keys) as nonce:
        watch = Watch(redis, Store(redis, keys), nonce, SystemClock().time())
        await watch.begin(watched)
        await watch.measure(number)
        return await watch.measure(number)


async def _settled(redis: Redis) -> int:
    await asyncio.sleep(_QUIET_SECONDS)
    return await used_memory(redis)
