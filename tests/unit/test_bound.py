"""The bounds on the mean delay, where they can be worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log

import pytest

from tests.benchmarks.bound import (
    Lifetimes,
    Table,
    fewest_requests,
    least_delay,
    least_delay_beside,
    least_delay_in_pages,
    memoryless,
    mixture,
    uniform,
)
from tests.benchmarks.bound_found import least_delay_found

EVEN = uniform(10.0, 15.0)
TAILED = uniform(10.0, 15.0, share=0.02)


def looked_at(lifetimes: Lifetimes, ages: list[float]) -> tuple[float, float]:
    """The mean delay, and the looks, with a table of ages; the last is past every end."""
    delay = looks = 0.0
    for before, age in pairwise([0.0, *ages]):
        looks += lifetimes.survival(before)
        delay += (age - before) * lifetimes.survival(before)
        delay -= lifetimes.lived(age) - lifetimes.lived(before)
    return delay, looks


@pytest.mark.parametrize("price", [0.05, 0.2, 0.6])
def test_looks_at_even_lifetimes_come_in_gaps_that_shrink_by_the_price(price: float) -> None:
    """Least of ``sum(gap**2) / 2 + price * sum(left before the gap)`` over a span: each gap is shorter by the price."""
    span = 5.0
    count = next(n for n in range(1, 100) if price * n * (n + 1) / 2 >= span)
    first = span / count + price * (count - 1) / 2
    ages = [10.0 + first * n - price * n * (n - 1) / 2 for n in range(1, count + 1)]
    delay, looks = looked_at(EVEN, ages)

    assert least_delay(EVEN, looks) == pytest.approx(delay, rel=0.01)


def test_many_looks_at_even_lifetimes_come_to_the_closed_form() -> None:
    """``J / (2 n)`` with ``J = (integral of sqrt(f S))**2 = 20 / 9`` for lifetimes even on five seconds."""
    assert least_delay(EVEN, 20.0) == pytest.approx(20 / 9 / 40, rel=0.04)


@pytest.mark.parametrize("looks", [1.5, 3.0, 10.0])
def test_memoryless_lifetimes_are_seen_no_sooner_than_by_looks_in_turn(looks: float) -> None:
    mean = 12.0
    spacing = -mean * log(1 - 1 / looks)  # so that looks come to 1 / (1 - S(spacing))
    in_turn = spacing / (1 - exp(-spacing / mean)) - mean

    assert least_delay(memoryless(mean), looks) == pytest.approx(in_turn, rel=0.01)


@pytest.mark.parametrize("lifetimes", [EVEN, TAILED, mixture()])
@pytest.mark.parametrize(
    "ages", [[5.0, 10.0, 15.0, 20.0, 40.0, 90.0, 200.0], [11.5, 13.0, 14.0, 15.0, 30.0, 200.0]]
)
def test_no_table_of_ages_comes_below_the_bound(lifetimes: Lifetimes, ages: list[float]) -> None:
    delay, looks = looked_at(lifetimes, ages)
    assert delay >= 0.999 * least_delay(lifetimes, looks)


def test_looks_at_5_10_and_15_s_are_far_from_it() -> None:
    delay, looks = looked_at(EVEN, [5.0, 10.0, 15.0])
    assert delay == pytest.approx(2.5, abs=0.01)
    assert looks == pytest.approx(3.0)
    assert least_delay(EVEN, looks) < 0.5


def test_in_pages_a_flow_that_fits_one_is_half_a_spacing_late() -> None:
    assert least_delay_in_pages(TAILED, 1.0, 0.5) == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(("rate", "requests"), [(5.0, 0.6), (20.0, 1.8), (50.0, 4.5), (200.0, 21.6)])
def test_in_pages_is_above_both_bounds_that_it_holds(rate: float, requests: float) -> None:
    in_pages = least_delay_in_pages(TAILED, rate, requests)
    assert in_pages >= 0.99 * least_delay(TAILED, 100 * requests / rate)
    assert in_pages >= 0.99 / (2 * requests)


def test_with_ever_more_requests_for_as_many_inspections_pages_do_not_matter() -> None:
    assert least_delay_in_pages(TAILED, 500.0, 50.0) == pytest.approx(least_delay(TAILED, 10.0), rel=0.01)


def test_the_interval_alone_is_half_of_it_late_and_sooner_costs_more() -> None:
    assert fewest_requests(TAILED, 0.012, 2.6, 5.0) == pytest.approx(0.2)
    costs = [fewest_requests(TAILED, 0.012, delay, 5.0) for delay in (2.0, 1.0, 0.5, 0.25)]
    assert all(one < other for one, other in pairwise(costs))


def test_four_looks_more_a_task_bring_lone_tasks_to_half_a_second() -> None:
    """``J / (2 n)`` again: with some four looks in the five seconds, a little more than 0.25 s for each five."""
    extra = (fewest_requests(EVEN, 0.012, 0.5, 5.0) - 0.2) / 0.012
    assert 1.0 < extra < 4.0


def test_means() -> None:
    assert pytest.approx(12.5, abs=0.01) == EVEN.mean
    assert memoryless(7.0).mean == pytest.approx(7.0, abs=0.01)
    assert mixture().lived(1000.0) == pytest.approx(mixture().mean, rel=1e-3)


def test_other_requests_between_looks_widen_a_spacing_only_where_a_second_holds_few() -> None:
    """Eight looks and one other in five seconds, two a second at most: one spacing of 1 s, seven of 4/7 s."""
    assert least_delay_beside(1.6, 0.2, 2) == pytest.approx((1 + 7 * (4 / 7) ** 2) / 10)
    assert least_delay_beside(4.0, 0.5, 5) == pytest.approx(1 / 8)
    assert least_delay_beside(20.0, 2.0, 24) == pytest.approx(1 / 40)


@pytest.mark.parametrize(("rate", "requests"), [(20.0, 1.6), (50.0, 4.0)])
def test_who_must_find_tasks_first_sees_them_later(rate: float, requests: float) -> None:
    known = least_delay_in_pages(TAILED, rate, requests)

    assert 1.1 * known < least_delay_found(TAILED, rate, requests) < 1.2 * known


def test_neither_a_range_nor_a_page_by_id_shows_all() -> None:
    """A range of a hundred spans the five seconds of the ends, without the tail; by id goes only what was found."""
    half_a_spacing = 1 / (2 * 1.6)

    assert 1.1 * half_a_spacing < least_delay_found(TAILED, 20.0, 1.6) < 1.2 * half_a_spacing


def test_inspections_at_every_second_age_are_those_of_a_table_twice_as_wide() -> None:
    close, wide = Table.of(TAILED, 0.25, 0.25), Table.of(TAILED, 0.5, 0.5)
    every_second = [place % 2 == 0 for place in range(len(close.ages))]

    assert close.costs(0.05, every_second)[0] == pytest.approx(wide.value(0.05), rel=1e-3)
    assert close.value(0.05) < 0.99 * wide.value(0.05)


def test_finding_them_costs_next_to_nothing_where_a_page_spans_moments() -> None:
    known = least_delay_in_pages(TAILED, 200.0, 20.0)

    assert least_delay_found(TAILED, 200.0, 20.0) == pytest.approx(known, rel=0.05)
