from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros, TaskId
from watcher.polling.flight import PAGE, Flight, Unread, pages_of
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import Sighting
from watcher.state.coverage import Interval

DOCUMENTED = Survival.of(Histogram())
NOW = Micros(1_800_000_000 * SECOND)


def ago(seconds: float) -> Micros:
    return Micros(NOW - round(seconds * SECOND))


def flight(*ages: float, weight: int = 1) -> Flight:
    sightings = {
        TaskId(f"{number:04}"): Sighting(ago(age), ago(age), DOCUMENTED) for number, age in enumerate(ages)
    }
    return Flight.of(sightings, NOW, weight)


ages = st.lists(st.floats(0, 60), max_size=250)


@given(ages, st.floats(0, 60), st.floats(0, 60))
def test_a_window_shows_who_was_created_in_it(found: list[float], one: float, other: float) -> None:
    window = Interval(ago(max(one, other) + 1), ago(min(one, other)))
    inside = [age for age in found if window.low <= ago(age) < window.high]
    count, gathered = flight(*found).within(window)

    assert count == len(inside)
    assert gathered == pytest.approx(sum(DOCUMENTED.unseen(0.0, age) for age in inside), abs=1e-3)


@given(ages)
def test_pages_hold_everybody_once_and_those_with_most_first(found: list[float]) -> None:
    made = flight(*found)
    pages = made.pages(None, most=3)

    assert sorted(each for _, ids in pages for each in ids) == sorted(made.ids)
    assert [worth for worth, _ in pages] == sorted((worth for worth, _ in pages), reverse=True)
    assert made.most() == pytest.approx(pages[0][0] if pages else 0.0)


@given(ages, st.integers(0, 3))
def test_no_more_pages_are_made_than_wanted(found: list[float], most: int) -> None:
    made = flight(*found)
    assert made.pages(None, most) == made.pages(None, most=3)[:most]


def test_pages_leave_out_what_a_window_shows() -> None:
    made = flight(*range(30))
    shown = Interval(ago(20.5), ago(9.5))
    (page,) = made.pages(shown, most=1)
    assert len(page[1]) == 30 - made.within(shown)[0] == 19


def test_of_very_many_each_stands_for_several() -> None:
    found = [number / 100 for number in range(1500)]
    everything = Interval(ago(100), NOW)
    _, whole = flight(*found).within(everything)
    count, part = flight(*found, weight=5).within(everything)
    assert count == pytest.approx(1500, abs=5)
    assert part == pytest.approx(whole, rel=0.02)
    assert flight(*found, weight=5).most() == pytest.approx(flight(*found).most(), rel=0.05)


def test_what_is_unread_gathers_as_if_each_were_known() -> None:
    rate = 40.0
    unread = Unread.of(ago(14), NOW, rate, DOCUMENTED)
    known = flight(*(number / rate for number in range(round(14 * rate))))
    for high in (0.0, 1.0, 3.3, 9.0):
        _, gathered = known.within(Interval(ago(14), ago(high)))
        assert unread.before(ago(high)) == pytest.approx(gathered, rel=0.1, abs=0.5)
    assert unread.before(ago(14)) == 0.0


def test_nothing_unread_was_created_before_the_edge() -> None:
    unread = Unread.of(ago(14), NOW, 40.0, DOCUMENTED)
    assert unread.before(ago(20)) == unread.before(ago(14)) == 0.0


def test_a_page_reaches_as_far_as_its_rows() -> None:
    made = flight(*(20 - number / 10 for number in range(100)))
    assert made.reach(ago(20), 5 * SECOND, 100) == ago(15)
    assert made.reach(ago(20), 5 * SECOND, 30) == pytest.approx(ago(17), abs=2)
    assert made.reach(ago(5), 5 * SECOND, 30) == NOW


@pytest.mark.parametrize("rows", [20.0, 80.0, 100.0, 120.0, 350.0])
def test_a_listing_takes_as_many_pages_as_a_number_by_chance_needs(rows: float) -> None:
    term, exact = exp(-rows), 0.0
    for number in range(1, 1000):
        term *= rows / number
        exact += term * max(1, -(-number // PAGE))
    assert pages_of(rows) == pytest.approx(exact + exp(-rows), abs=0.02)


def test_nothing_expected_is_one_request() -> None:
    assert pages_of(0.0) == 1.0
