import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock, settle
from watcher.monite.budget import SLACK, Budget, Window

rates = st.floats(0.05, 60) | st.integers(1, 60)


@pytest.mark.parametrize(
    ("rate", "limit", "length"),
    [(24, 24, 1), (30.0, 30, 1), (2.5, 2, 1), (1, 1, 1), (0.5, 1, 2), (0.1, 1, 10)],
)
def test_what_a_rate_grants(rate: float, limit: int, length: float) -> None:
    window = Window.of_rate(rate)
    assert window.limit == limit
    assert window.length == pytest.approx(length + SLACK)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_rate_is_a_positive_number(rate: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Window.of_rate(rate)


def test_a_request_that_is_held_up_does_not_meet_the_next_ones() -> None:
    window = Window.of_rate(1).started(0.0)
    late = 0.0 + 0.04  # under way, while the next is not held up at all
    assert window.ready_at() >= late + 1


@given(
    rates | st.integers(1, 5),
    st.lists(st.sampled_from([0.0, 0.0, 0.3, 1.0]) | st.floats(0, 3), max_size=150),
    st.lists(st.sampled_from([0.0, 0.04]) | st.floats(0, 0.04), min_size=1, max_size=7),
)
def test_no_second_sees_more_than_the_rate(rate: float, gaps: list[float], delays: list[float]) -> None:
    """Whatever comes when, and even if each request arrives up to 40 ms after its start."""
    window, now, arrivals = Window.of_rate(rate), 0.0, []
    for count, gap in enumerate(gaps):
        now = max(now + gap * (count % 5 == 0), window.ready_at())
        window = window.started(now)
        arrivals.append(now + delays[count % len(delays)])
    arrivals.sort()
    for first in arrivals:
        assert sum(1 for at in arrivals if first <= at < first + 1) <= max(1, math.floor(rate))


@given(rates, st.lists(st.floats(0, 2), max_size=80), st.floats(0, 3))
def test_remaining_is_what_could_start_at_once(rate: float, gaps: list[float], later: float) -> None:
    window, now = Window.of_rate(rate), 0.0
    for gap in gaps:
        now = max(now + gap, window.ready_at())
        window = window.started(now)
    now += later
    started = 0
    left = window.remaining(now)
    while window.ready_at() <= now and started <= window.limit:
        window = window.started(now)
        started += 1
    assert started == left


def test_a_pause_only_grows() -> None:
    window = Window.of_rate(5).paused(10.0).paused(3.0)
    assert window.ready_at() == 10.0
    assert window.remaining(9.99) == 0
    assert window.remaining(10.0) == 5


async def drain(budget: Budget, clock: FakeClock, count: int, starts: list[float]) -> None:
    for _ in range(count):
        await budget.acquire()
        starts.append(clock.monotonic())


@pytest.mark.parametrize("rate", [24, 3, 1, 0.4])
async def test_a_busy_budget_spends_its_rate_and_no_more(rate: float) -> None:
    clock, starts = FakeClock(), list[float]()
    budget = Budget(rate, clock)
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(drain(budget, clock, 25, starts))
        while len(starts) < 100:
            await settle(100)  # a whole window of starts, handed from one task to the next
            await clock.advance(0.3 / rate)
    assert len(starts) == 100
    for first in starts:
        assert sum(1 for at in starts if first <= at < first + 1) <= max(1, rate)
    # And it wastes nothing but its slack.
    windows = math.ceil(100 / max(1, math.floor(rate))) - 1
    assert starts[-1] == pytest.approx(windows * (max(1, 1 / rate) + SLACK))


async def test_first_come_first_served() -> None:
    clock, order = FakeClock(), list[str]()
    budget = Budget(1, clock)

    async def scope(name: str) -> None:
        for _ in range(2):
            await budget.acquire()
            order.append(name)

    await budget.acquire()
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(scope(name))
        await clock.advance(20)
    assert order == ["a", "b", "c", "a", "b", "c"]


async def test_nothing_starts_before_a_pause_ends_and_then_at_once() -> None:
    clock, starts = FakeClock(), list[float]()
    budget = Budget(10, clock)
    await budget.pause_until(2.5)
    assert budget.remaining() == 0
    async with asyncio.TaskGroup() as group:
        group.create_task(drain(budget, clock, 2, starts))
        await clock.advance(1.0)
        await budget.pause_until(4.25)  # comes while one is already waiting
        await clock.advance(10)
    assert starts == [4.25, 4.25]


async def test_one_that_is_cancelled_takes_nothing_and_holds_nobody_up() -> None:
    clock, starts = FakeClock(), list[float]()
    budget = Budget(1, clock)
    await budget.acquire()
    waiting = [asyncio.create_task(budget.acquire()) for _ in range(3)]
    last = asyncio.create_task(drain(budget, clock, 1, starts))
    await settle()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await clock.advance(5)
    await last
    assert starts == [1 + SLACK]


def test_remaining_counts_down_and_recovers() -> None:
    clock = FakeClock()
    budget = Budget(3, clock)
    asyncio.run(budget.acquire())
    assert budget.remaining() == 2
    clock.move(1 + SLACK)
    assert budget.remaining() == 3
