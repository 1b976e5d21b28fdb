"""Polling while every task is hinted, and after one was not: cycles of one scope on a real store."""

from __future__ import annotations

from itertools import pairwise

import pytest
from redis.asyncio import Redis

from tests.fakes import EagerClock
from tests.unit.polling.api import Api, life
from tests.unit.polling.daemon import Daemon
from watcher.model import Hint, Scope, TaskId, from_seconds
from watcher.polling.absences import Absences
from watcher.polling.cycle import Cycle
from watcher.polling.hints import ENOUGH, RELAXED
from watcher.polling.scope_poller import SLICE
from watcher.state.coverage import Interval

T0 = 1_800_000_000.0
INTERVAL = 5.0


class Freely:
    """An allowance without bounds."""

    async def acquire(self) -> None:
        return


class Product:
    """Creates tasks that end 12 s later, and hints at them unless told not to."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.created: list[str] = []

    async def create(self, *, hint: bool = True) -> None:
        name = f"t{len(self.created)}"
        now = self.daemon.clock.time()
        self.created.append(name)
        self.daemon.api.add(life(name, now, (now + 12, "success")))
        if hint:
            await self.hint(name)

    async def hint(self, name: str) -> None:
        inspector = self.daemon.poller.inspector
        inspector.take([Hint(TaskId(name), Scope(), "http")])
        await inspector.look(Freely())


@pytest.fixture
async def daemon(redis: Redis) -> Daemon:
    clock = EagerClock(T0)
    daemon = Daemon(redis, Api(clock), clock)
    await daemon.begin()
    await cycle(daemon)
    return daemon


async def cycle(daemon: Daemon) -> Cycle:
    """One cycle of the poller itself, with its accounts, when its pause is over."""
    done = await daemon.poller._scanner.run_once()
    assert done.complete
    daemon.poller._account(done, 0.0)
    daemon.clock.move(done.wait)
    return done


def fresh(daemon: Daemon, since: int = 0) -> list[Interval]:
    """The windows read that reach up to the moment of their reading."""
    return [
        asked.window
        for asked in daemon.api.asked[since:]
        if asked.window is not None and asked.at - asked.window.high < 1_500_000
    ]


async def run(daemon: Daemon, product: Product, tasks: int, *, every: float = 40.0) -> list[int]:
    """So many tasks, one at a time, each ended before the next; the cycles' requests for each."""
    spent = []
    for _ in range(tasks):
        end = daemon.clock.time() + every
        await product.create()
        requests = 0
        while daemon.clock.time() < end:
            requests += (await cycle(daemon)).requests
        spent.append(requests)
    return spent


async def test_polling_relaxes_while_all_are_hinted_and_comes_back_with_the_first_that_was_not(
    daemon: Daemon,
) -> None:
    product = Product(daemon)
    report = daemon.board.report(daemon.scope)
    strict = await run(daemon, product, ENOUGH)
    assert report.recall.relaxed

    since, began = len(daemon.api.asked), daemon.clock.time()
    relaxed = await run(daemon, product, 10)
    assert 2 * sum(relaxed) < sum(strict[-10:])
    gaps = [later.high - sooner.high for sooner, later in pairwise(fresh(daemon, since))]
    assert max(gaps) <= (RELAXED + 2 * INTERVAL) * 1e6, "windows are never left out altogether"

    await product.create(hint=False)
    missed = product.created[-1]
    while report.recall.relaxed:
        await cycle(daemon)
        assert daemon.clock.time() < began + 400 + RELAXED + 12 + 3 * INTERVAL
    assert (missed, "success") in await daemon.told()

    since = len(daemon.api.asked)
    again = await run(daemon, product, 3)
    assert sum(again) > 2 * sum(relaxed[:3])
    gaps = [later.high - sooner.high for sooner, later in pairwise(fresh(daemon, since))]
    assert max(gaps) <= 1.5 * INTERVAL * 1e6

    ended = [task for task, kind in await daemon.told() if kind == "success"]
    assert sorted(ended) == sorted(product.created), "each once, hinted or not"


async def test_what_is_in_flight_is_looked_at_as_before(daemon: Daemon) -> None:
    product = Product(daemon)
    await run(daemon, product, ENOUGH)
    assert daemon.board.report(daemon.scope).recall.relaxed
    # One that takes longer than all before: no hint tells of its end.
    now = daemon.clock.time()
    daemon.api.add(life("slow", now, (now + 50, "success")))
    await product.hint("slow")
    seen = [now]
    while ("slow", "success") not in await daemon.told():
        before = len(daemon.api.asked)
        await cycle(daemon)
        for asked in daemon.api.asked[before:]:
            window = asked.window
            shown = window is not None and window.low <= now * 1e6 < window.high
            if shown or "slow" in asked.query.id_in:
                seen.append(asked.at / 1e6)
        assert daemon.clock.time() < now + 70
    assert max(later - sooner for sooner, later in pairwise(seen)) <= 1.5 * INTERVAL


async def test_the_arrival_rate_counts_what_hints_brought(daemon: Daemon) -> None:
    product = Product(daemon)
    await run(daemon, product, 12)
    assert daemon.poller._scanner._experience.arrivals.rate == pytest.approx(1 / 40, rel=0.7)


async def test_cycles_know_what_a_look_has_seen(daemon: Daemon) -> None:
    scanner, clock = daemon.poller._scanner, daemon.clock
    began = clock.time()
    daemon.api.add(life("t", began, (began + 12, "success")))
    clock.move(3)
    for seconds in (-200, -100):
        scanner._absences.missed({TaskId("t")}, from_seconds(began + seconds))
    product = Product(daemon)
    await product.hint("t")
    sighting = scanner._memory.sightings[TaskId("t")]
    assert sighting.created_at == from_seconds(began)
    assert sighting.seen_at - sighting.created_at == pytest.approx(3e6, abs=1.5e6)
    assert scanner._absences == Absences(scanner._absences.interval), "it is not missing any more"

    clock.move(10)
    await product.hint("t")
    assert not scanner._memory.sightings
    assert scanner._schedule._fresh["invoice"] == [pytest.approx(12.0)]


async def test_a_long_pause_ends_soon_after_a_hint_has_brought_something(daemon: Daemon) -> None:
    poller, clock = daemon.poller, daemon.clock
    began = clock.time()
    await poller._rest(clock.monotonic() + 60)
    assert clock.time() == pytest.approx(began + 60)

    product = Product(daemon)
    sleep = clock.sleep

    async def sleep_and_create(seconds: float) -> None:
        clock.sleep = sleep  # type: ignore[method-assign] # once
        await product.create()
        await sleep(seconds)

    clock.sleep = sleep_and_create  # type: ignore[method-assign] # as above
    began = clock.time()
    await poller._rest(clock.monotonic() + 60)
    assert clock.time() - began < 2 * SLICE
