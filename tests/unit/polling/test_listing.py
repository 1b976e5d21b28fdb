"""Pages in order of creation: what they have read, and when that cannot be known."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.polling.situations import at, span
from watcher.model import PROCESSING, Micros, Task, TaskId
from watcher.polling import ladder
from watcher.polling.listing import after, cut, listing, oldest, reached
from watcher.polling.situation import Adoption, Window
from watcher.state.scope import ScopeState

WINDOW = Window(span(0, 100), ladder.Rung(64, span(0, 100), at(0)), until=at(0))


def tasks(*created: float) -> list[Task]:
    return [
        Task(TaskId(f"{number:03}"), "processing", at(each), at(each), "invoice")
        for number, each in enumerate(created)
    ]


def test_a_listing_is_sorted_by_id_and_a_page_of_the_oldest_by_creation() -> None:
    assert listing(WINDOW).sort == "id"
    found = oldest(WINDOW)
    assert (found.sort, found.order, found.limit) == ("created_at", "asc", 100)
    assert (found.created_at_gte, found.created_at_lt) == (at(0), at(100))
    assert listing(Adoption()).status == PROCESSING


def test_a_page_that_nothing_follows_has_read_everything() -> None:
    assert reached(WINDOW, tasks(3, 1), more=False) == WINDOW
    assert reached(WINDOW, [], more=False) == WINDOW


def test_another_has_read_up_to_its_youngest_row_whose_instant_others_may_share() -> None:
    found = reached(WINDOW, tasks(0, 5, 7, 7), more=True)
    assert found == Window(span(0, 7), ladder.Rung(64, span(0, 7), at(0)), until=at(0))


@pytest.mark.parametrize("created", [(), (0, 0, 0), (5, 3, 9), (5, 9, 100), (5, 120), (-3, -1)])
def test_a_page_that_is_not_as_asked_for_shows_nothing_for_certain(created: tuple[float, ...]) -> None:
    assert reached(WINDOW, tasks(*created), more=True) is None


@given(st.lists(st.integers(0, 99), max_size=30).map(sorted), st.integers(1, 10))
def test_page_by_page_every_row_is_read(created: list[int], size: int) -> None:
    rows = tasks(*created)
    left, seen, read = WINDOW, set[TaskId](), list[tuple[Micros, Micros]]()
    while True:
        inside = [row for row in rows if row.created_at >= left.interval.low]
        page, more = inside[:size], len(inside) > size
        part = reached(left, page, more=more)
        if part is None:  # its rows all have one instant: it is listed by id
            assert {row.created_at for row in page} == {left.interval.low}
            part, page = left, inside
        seen.update(row.id for row in page)
        read.append((part.interval.low, part.interval.high))
        if part.interval.high == left.interval.high:
            break
        left = cut(left, part.interval.high, left.interval.high)
    assert seen == {row.id for row in rows}
    assert all(one[1] == other[0] for one, other in pairwise(read))


def test_after_it_the_part_is_covered_and_the_level_has_climbed() -> None:
    part = cut(WINDOW, at(0), at(7))
    state = after(part, ScopeState())
    assert state.coverage.intervals == (span(0, 7),)
    assert state.ladder == {64: at(7)}
    assert after(Adoption(), ScopeState()).adopted
