"""What a cycle asks, and when the next one comes, while every task is hinted (plan D)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from watcher.model import SECOND, Micros, TaskId
from watcher.polling.hints import RELAXED
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import Sighting
from watcher.polling.planner import plan, wait
from watcher.polling.situation import Batch, Policy, Situation, Window
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Start
from watcher.state.scope import ScopeState

T0 = 1_800_000_000 * SECOND
POLICY = Policy(interval=5 * SECOND, horizon=86_400 * SECOND, early=False)
TYPICAL = Survival.of(Histogram())
DEAR = 1e6
"""A price that nothing is worth: only what must be read is."""


def at(seconds: float) -> Micros:
    return Micros(T0 + round(seconds * SECOND))


def situation(
    now: float,
    *,
    hinted: bool,
    fresh_at: float | None = 0.0,
    in_flight: Mapping[str, tuple[float, float]] | None = None,
    price: float = DEAR,
    rate: float = 0.0,
) -> Situation:
    """``in_flight``: when each task was created and last seen. All up to ``fresh_at`` is covered."""
    sightings = {
        TaskId(name): Sighting(at(created), at(seen), TYPICAL)
        for name, (created, seen) in (in_flight or {}).items()
    }
    covered = () if fresh_at is None else (Interval(at(-600), at(fresh_at)),)
    state = ScopeState(Start(at(-600), at(-600), at(-600)), Coverage.of(covered), adopted=True)
    return Situation(
        state=state,
        now=at(now),
        sightings=sightings,
        typical=TYPICAL,
        arrival_rate=rate,
        price=price,
        allowed=20,
        overlap=2 * SECOND,
        width=3600 * SECOND,
        past=1.0,
        second_looks=0.0,
        levels=1,
        fresh_at=None if fresh_at is None else at(fresh_at),
        hinted=hinted,
    )


def asked(made: Situation) -> tuple[str, int, list[tuple[TaskId, ...]]]:
    """The plan's name, its fresh windows, and what it asks for by id."""
    chosen = plan(made, POLICY)
    windows = [read for read in chosen.reads if isinstance(read, Window) and read.fresh]
    return chosen.name, len(windows), [read.ids for read in chosen.reads if isinstance(read, Batch)]


@pytest.mark.parametrize(
    ("hinted", "seconds", "expected"),
    [
        (False, 4.9, ("A", 0, [])),
        (False, 5.0, ("A", 1, [])),
        (True, 5.0, ("D", 0, [])),
        (True, RELAXED - 0.1, ("D", 0, [])),
        (True, RELAXED, ("A", 1, [])),
    ],
)
def test_the_fresh_window_comes_more_rarely(
    hinted: bool, seconds: float, expected: tuple[str, int, list[object]]
) -> None:
    assert asked(situation(seconds, hinted=hinted)) == expected


def test_the_first_one_is_never_left_out() -> None:
    assert asked(situation(0, hinted=True, fresh_at=None))[1] == 1


def test_the_gap_before_it_is_read_whole_when_it_comes() -> None:
    chosen = plan(situation(RELAXED, hinted=True), POLICY)
    (window,) = [read.interval for read in chosen.reads if isinstance(read, Window) and read.fresh]
    assert window.low <= at(0)
    assert window.high == at(RELAXED)


@pytest.mark.parametrize(("seen", "expected"), [(10.0, []), (5.1, []), (5.0, [("t",)]), (0.0, [("t",)])])
def test_the_scope_does_not_go_unobserved_longer_than_the_interval(
    seen: float, expected: list[tuple[str, ...]]
) -> None:
    made = situation(10, hinted=True, in_flight={"t": (0, seen)})
    assert asked(made) == ("D", 0, expected)


def test_one_batch_is_enough_to_observe_it() -> None:
    many = {f"t{n:03}": (0.0, 0.0) for n in range(250)}
    assert [len(ids) for ids in asked(situation(10, hinted=True, in_flight=many))[2]] == [100]


def test_what_is_worth_its_price_is_looked_at_as_without_hints() -> None:
    overdue = {f"t{n:03}": (0.0, 1.0) for n in range(150)}
    for hinted in (False, True):
        made = situation(14, hinted=hinted, fresh_at=13.0, in_flight=overdue, price=0.5)
        reads = plan(made, POLICY).reads
        by_id = {task_id for read in reads if isinstance(read, Batch) for task_id in read.ids}
        ranges = [read.interval for read in reads if isinstance(read, Window)]
        assert by_id == set(overdue) or any(each.low <= at(0) for each in ranges), "all of them are seen"


def test_nothing_is_expected_that_no_hint_has_told_of() -> None:
    """Without hints what must have arrived unseen makes a window worth its price."""
    assert asked(situation(4, hinted=False, rate=20.0, price=0.01))[1] == 1
    assert asked(situation(4, hinted=True, rate=20.0, price=0.01)) == ("D", 0, [])


@pytest.mark.parametrize(
    ("in_flight", "pause"),
    [
        ({}, 5.0),
        ({"t": (10.0, 10.0)}, 5.0),
        ({"t": (6.0, 8.0)}, 3.0),
        ({"t": (6.0, 8.0), "u": (0.0, 9.0)}, 4.0),
        ({"absent": (0.0, 0.0)}, 5.0),
    ],
)
def test_the_next_cycle_comes_an_interval_after_the_last_look(
    in_flight: Mapping[str, tuple[float, float]], pause: float
) -> None:
    made = situation(10, hinted=True, in_flight=in_flight)
    assert wait(made, POLICY, 1.0, 20.0) == pytest.approx(pause)
    assert wait(situation(10, hinted=False, in_flight=in_flight), POLICY, 1.0, 20.0) == pytest.approx(5.0)


def test_a_flow_that_is_hinted_calls_for_no_cycle_of_its_own() -> None:
    assert wait(situation(10, hinted=False, rate=20.0, price=0.01), POLICY, 1.0, 20.0) < 5
    assert wait(situation(10, hinted=True, rate=20.0, price=0.01), POLICY, 1.0, 20.0) == 5
