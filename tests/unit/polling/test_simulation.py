"""What polling comes to over simulated hours: how late ends are seen, and what that costs. Guards, not targets.

Worlds are repeatable; the bounds leave a little room for what a change of some constant does.
"""

from __future__ import annotations

import pytest

from tests.simulation import Lifetime, mixture, simulate, uniform


@pytest.mark.parametrize(("lifetime", "delay"), [(uniform, 0.7), (mixture, 0.8)])
async def test_lone_tasks_are_seen_soon_for_little_more_than_an_idle_poll(
    lifetime: Lifetime, delay: float
) -> None:
    """One task in 80 s. Polling every five seconds takes 0.2 requests a second, and is 2.5 s late."""
    measured = await simulate(
        rate=0.012, lifetime=lifetime, requests_per_second=24, seconds=30_000.0, horizon=86_400.0
    )

    assert measured.tasks > 250
    assert measured.delay <= delay
    assert measured.requests <= 1.3 * 0.2
    assert (measured.missed, measured.twice) == (0, 0)


async def test_a_steady_flow_is_seen_a_second_late_by_a_look_every_two() -> None:
    measured = await simulate(rate=5.0, lifetime=uniform, requests_per_second=24)

    assert measured.delay == pytest.approx(1.0, abs=0.2)
    assert measured.requests <= 0.66
    assert measured.twice == 0


async def test_what_the_budget_allows_is_spent_and_no_more() -> None:
    """Two requests a second for some 250 tasks in flight: at best each is half a look's spacing late."""
    measured = await simulate(rate=20.0, lifetime=uniform, requests_per_second=2, target_delay=0.0)

    assert measured.most_in_a_second <= 2
    assert measured.delay <= 1.6 * max(1 / (2 * 2), 20 * 12.7 / 100 / (2 * 2))
    assert measured.twice == 0
