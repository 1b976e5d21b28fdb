"""What polling comes to over simulated hours: how late ends are seen, and what that costs. Guards, not targets.

Worlds are repeatable; the bounds leave a little room for what a change of some constant does. The benchmarks
``polling``, ``few``, ``plans`` and ``scopes`` hold the same figures against what can be reached at best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.fakes import FakeClock
from tests.simulation import Lifetime, Measured, SimulatedApi, World, mixture, simulate, uniform
from watcher.model import SECOND, Micros, Scope
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage

TEN = 10 * SECOND


def told_once(measured: Measured) -> bool:
    return (measured.missed, measured.twice) == (0, 0)


@pytest.mark.parametrize(("lifetime", "delay"), [(uniform, 0.7), (mixture, 0.85)])
async def test_lone_tasks_are_seen_soon_for_little_more_than_an_idle_poll(
    lifetime: Lifetime, delay: float
) -> None:
    """One task in 80 s. Polling every five seconds takes 0.2 requests a second, and is 2.5 s late."""
    world = World(0.012, lifetime, seconds=15_000.0, warm=2_000.0, drain=900.0)
    measured = await simulate(world, requests_per_second=24, horizon=86_400.0)

    assert measured.tasks > 120
    assert measured.delay <= delay
    assert measured.requests <= 1.35 * 0.2
    assert told_once(measured)


async def test_a_steady_flow_is_seen_a_second_late_by_a_look_every_two() -> None:
    world = World(5.0, uniform, seconds=350.0, warm=100.0, drain=300.0)
    measured = await simulate(world, requests_per_second=24, horizon=120.0)

    assert measured.delay == pytest.approx(1.0, abs=0.2)
    assert measured.requests <= 0.7
    assert told_once(measured)


async def test_more_than_a_page_in_flight_is_seen_as_late_as_was_asked_for() -> None:
    world = World(20.0, uniform, seconds=250.0, warm=100.0, drain=300.0)
    measured = await simulate(world, requests_per_second=24, horizon=120.0)

    assert measured.delay == pytest.approx(1.0, abs=0.25)
    assert measured.requests <= 1.2, "all in flight at each look would take 1.5, and one GET each 127"
    assert told_once(measured)


async def test_what_the_budget_allows_is_spent_and_no_more() -> None:
    """Two requests a second for some 250 tasks in flight: looked at in turn they would be 0.7 s late."""
    world = World(20.0, uniform, seconds=200.0, warm=100.0, drain=500.0)
    measured = await simulate(world, requests_per_second=2, target_delay=0.0, horizon=120.0)

    assert measured.most_in_a_second <= 2
    assert measured.requests == pytest.approx(1.8, abs=0.05)
    assert measured.delay <= 0.6
    assert told_once(measured)


class Disorderly(SimulatedApi):
    """Gives out every listing by id, whatever was asked for."""

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        if query.sort == "created_at" and query.limit > 1:
            query = replace(query, sort="id")
        return await super().list_tasks(scope, query)


class Coarse(SimulatedApi):
    """Tells when tasks were created by the ten seconds, so that more than a page have the same instant."""

    def __post_init__(self) -> None:
        self.rows = [replace(row, created_at=Micros(row.created_at // TEN * TEN)) for row in self.rows]
        super().__post_init__()


@dataclass(frozen=True, slots=True)
class OddWorld(World):
    """A world whose API is one of these."""

    kind: type[SimulatedApi] = SimulatedApi

    def api(self, clock: FakeClock, requests_per_second: float) -> SimulatedApi:
        usual = World.api(self, clock, requests_per_second)
        return self.kind(clock, usual.rows, usual.budget)


@pytest.mark.parametrize("kind", [Disorderly, Coarse])
async def test_pages_that_cannot_be_read_in_order_of_creation_are_listed_by_id(
    kind: type[SimulatedApi],
) -> None:
    world = OddWorld(20.0, uniform, seconds=200.0, warm=100.0, drain=500.0, late=0.01, kind=kind)
    measured = await simulate(world, requests_per_second=5, target_delay=0.0, horizon=120.0)

    assert measured.most_in_a_second <= 5
    assert measured.late > 10
    assert told_once(measured)


async def test_rows_a_minute_late_are_told_even_if_nothing_follows_them() -> None:
    """Once tasks stop arriving little is spent, and the ladder is paid a share of what is spent."""
    world = World(20.0, uniform, seconds=150.0, warm=50.0, drain=900.0, late=0.02)
    measured = await simulate(world, requests_per_second=2, target_delay=0.0, horizon=300.0)

    assert measured.late > 20
    assert told_once(measured)
