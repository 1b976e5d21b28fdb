"""Which window is read again, and what of it the store should have known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros, Task, TaskId
from watcher.polling.backfill import MARGIN, forgotten_soon
from watcher.polling.reconcile import (
    GRACE,
    LONGEST,
    PERIOD,
    SPACING,
    WATCHED,
    Mismatch,
    may_be_late,
    mismatch,
    pause,
    pick,
)
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState

HOUR = 3600 * SECOND
T0 = 1_800_000_000 * SECOND
NOW = Micros(T0 + 100 * HOUR)
HORIZON = 24 * HOUR
MARK = Micros(NOW - 64 * SECOND)
STATE = ScopeState(
    start=Start(T0, T0, T0),
    coverage=Coverage((Interval(Micros(T0), NOW),)),
    adopted=True,
    ladder={64: MARK, 256: Micros(MARK - HOUR)},
)
ENDED = Micros(NOW - HOUR)
FIVE = 5 * SECOND

chances = st.floats(0, 1, exclude_max=True)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 30)), max_size=5), chances, chances)
def test_a_window_lies_where_everything_should_be_known(
    pieces: list[tuple[int, int]], one: float, other: float
) -> None:
    covered = Coverage.of(
        Interval(Micros(T0 + at * HOUR), Micros(T0 + (at + span) * HOUR)) for at, span in pieces
    )
    state = replace(STATE, coverage=covered, forgotten=Micros(T0 + 40 * HOUR))
    numbers = iter([one, other])
    window = pick(state, HORIZON, lambda: next(numbers))
    low = max(state.forgotten, forgotten_soon(state, HORIZON) + MARGIN)
    possible = [piece for piece in covered.intervals if piece.high > low and piece.low < MARK]
    if window is None:
        assert all(min(piece.high, MARK) <= max(piece.low, low) for piece in possible)
    else:
        assert covered.gaps(window.low, window.high) == ()
        assert low <= window.low < window.high <= MARK
        assert window.span <= LONGEST


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(ScopeState(), id="never watched"),
        pytest.param(replace(STATE, ladder={}), id="nothing read a second time yet"),
        pytest.param(replace(STATE, coverage=Coverage()), id="nothing covered"),
        pytest.param(replace(STATE, forgotten=MARK), id="nothing remembered"),
    ],
)
def test_there_may_be_none(state: ScopeState) -> None:
    assert pick(state, HORIZON, lambda: 0.5) is None


def test_every_part_of_what_is_remembered_may_be_picked() -> None:
    low = forgotten_soon(STATE, HORIZON) + MARGIN
    first = pick(STATE, HORIZON, lambda: 0.0)
    numbers = iter([0.999_999, 0.999_999])
    last = pick(STATE, HORIZON, lambda: next(numbers))
    assert first == Interval(Micros(low), Micros(low + SECOND))
    assert last is not None
    assert last.high == MARK


def row(status: str = "success", updated_at: Micros = ENDED) -> Task:
    return Task(TaskId("a"), status, Micros(NOW - 2 * HOUR), updated_at)


@pytest.mark.parametrize(
    ("task", "known", "ours"),
    [
        pytest.param(row(), None, True, id="never seen"),
        pytest.param(row(), Known("processing", 0, Micros(ENDED - 9)), True, id="its end not seen"),
        pytest.param(row(), Known("processing", 0, ENDED), True, id="its end not seen, stamp not moved"),
        pytest.param(row(), Known("error", 0, Micros(ENDED - 9)), True, id="another end not seen"),
        pytest.param(row(), Known("success", 0, ENDED), False, id="known"),
        pytest.param(row(), Known("success", 0, Micros(ENDED - 9)), False, id="known, touched since"),
        pytest.param(
            row(), Known("error", 1, Micros(ENDED + 9)), False, id="an answer older than what is known"
        ),
        pytest.param(row(), Known("error", 1, ENDED), False, id="two ends at one instant"),
        pytest.param(row("processing"), None, False, id="not ended"),
        pytest.param(row("odd"), None, False, id="not documented as an end"),
        pytest.param(row(updated_at=Micros(NOW - GRACE)), None, False, id="ended just now"),
        pytest.param(row(updated_at=Micros(NOW - GRACE - 1)), None, True, id="ended long enough ago"),
    ],
)
def test_what_the_store_should_have_known(task: Task, known: Known | None, ours: bool) -> None:
    found = mismatch(task, known, NOW, FIVE, in_flight=False)
    assert (found is not None) is ours
    if found is not None:
        assert (found.task, found.known) == (task, known)


@pytest.mark.parametrize(
    ("created_at", "known", "late"),
    [
        pytest.param(NOW - HORIZON, None, True, id="the ladder's last level comes to it yet"),
        pytest.param(NOW - HORIZON - 1, None, False, id="no level is left"),
        pytest.param(NOW - HORIZON, Known("processing", 0, ENDED), False, id="it was seen"),
    ],
)
def test_a_row_that_nobody_saw_may_have_come_late(created_at: int, known: Known | None, late: bool) -> None:
    state = replace(STATE, ladder={64: MARK, HORIZON // SECOND: Micros(NOW - HORIZON)})
    found = Mismatch(Task(TaskId("a"), "success", Micros(created_at), ENDED), known)
    assert may_be_late(found, state, HORIZON) is late
    assert may_be_late(found, STATE, HORIZON) is (known is None), "it has not come so far at all"


def test_what_is_in_flight_is_given_longer() -> None:
    known = Known("processing", 0, Micros(NOW - HOUR))
    behind, lost = (row(updated_at=Micros(NOW - WATCHED - extra)) for extra in (0, 1))
    assert mismatch(behind, known, NOW, FIVE, in_flight=False) is not None
    assert mismatch(behind, known, NOW, FIVE, in_flight=True) is None
    assert mismatch(lost, known, NOW, FIVE, in_flight=True) is not None


def test_a_long_interval_is_waited_for_twice() -> None:
    task = row(updated_at=Micros(NOW - 600 * SECOND))
    assert mismatch(task, None, NOW, 300 * SECOND, in_flight=False) is None
    assert mismatch(task, None, NOW, 299 * SECOND, in_flight=False) is not None


def test_each_scope_about_once_an_hour_but_all_together_not_often() -> None:
    assert pause(1, 0.5) == PERIOD
    assert pause(0, 0.5) == PERIOD
    assert pause(10, 0.5) == PERIOD / 10
    assert pause(10_000, 0.5) == SPACING
    assert (pause(1, 0.0), pause(1, 1.0)) == (PERIOD / 2, PERIOD * 1.5)
