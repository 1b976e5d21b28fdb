"""The bounds on the mean delay, where they can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, inf, log
from typing import Final

import pytest

from tests.benchmarks.bound import (
    Lifetimes,
    Lines,
    fewest_requests,
    half_of,
    least_delay,
    memoryless,
    mixture,
    spacings_beside,
    uniform,
)
from tests.benchmarks.bound_found import Flow, least_delay_found

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
    assert spacings_beside(1.6, 0.2, 2) == pytest.approx((1.0, *(4 / 7,) * 7))
    assert spacings_beside(4.0, 0.5, 5) == pytest.approx((0.25,) * 8)
    assert spacings_beside(19.6, 2.0, 24) == pytest.approx((1 / 19.6,) * 10)


@pytest.mark.parametrize("most", [1, 4])
def test_around_others_as_many_looks_as_a_second_holds_beside_them_take_one(most: int) -> None:
    spacings = spacings_beside(0.9 * most + 0.6, 0.1, most + 1)

    assert sum(spacings[:most]) == pytest.approx(1.0)
    assert len(spacings) / sum(spacings) == pytest.approx(0.9 * most + 0.6)


def test_looks_that_show_everything_are_half_a_spacing_late() -> None:
    assert half_of((0.5, 0.5)) == 0.25
    assert half_of((1.0, 3.0)) == pytest.approx((0.25 * 0.5) + (0.75 * 1.5))


def test_the_lowest_of_lines() -> None:
    lines = Lines()
    for line in ((3.0, 0.0, 3), (2.0, 0.5, 2), (2.0, inf, 0), (1.0, 0.6, 1)):
        lines.add(line)

    for share, height, place in ((0.1, 0.3, 3), (0.2, 0.6, 3), (0.5, 1.1, 1)):
        lowest, which = lines.lowest(share)
        assert which == place
        assert lowest == pytest.approx(height)


EVENLY: Final = (1.25,) * 4
WITH_A_HOLE: Final = (2.0, 1.0, 1.0, 1.0)
"""The same looks in the five seconds of a page, one of them late."""
ANYWHERE: Final = (0.0, 16.0)


def in_turn(
    lifetimes: Lifetimes, spacings: Sequence[float], begins: Sequence[float | None], since: float
) -> float:
    """The mean delay where tasks, twenty a second, are shown by ranges that begin so, and found ones later by id."""
    delay, wanted = 0.0, [0.0] * len(spacings)
    for share, first, table in Flow(lifetimes, 20.0, tuple(spacings)).creations:
        looks, found = [0], False
        for place, age in enumerate(table.ages[1:], 1):
            request = (first + place - 1) % len(spacings)
            begin = begins[request]
            if (found and age >= since) if begin is None else begin <= age < begin + 5.0:
                wanted[request] += share * (table.alive[looks[-1]] if begin is None else 1.0)
                looks.append(place)
                found = True
        delay += share * sum(
            table.alive[one] * (table.ages[other] - table.ages[one]) - table.lived[other] + table.lived[one]
            for one, other in pairwise(looks)
        )
        delay += share * table.alive[-1] * table.beyond(0.0, 1)
    assert max(wanted) <= 1.01, "there are no more places than on a page"
    return delay


@pytest.mark.parametrize("spacings", [EVENLY, WITH_A_HOLE])
def test_a_range_where_tasks_end_and_the_rest_by_id_in_turn_is_hard_to_better(
    spacings: tuple[float, ...],
) -> None:
    """The ends of lifetimes that are even on five seconds fill a page, at twenty tasks a second."""
    delay = min(
        in_turn(TAILED, spacings, (begin, None, begin, None) if ahead else (None, begin, None, begin), 10.0)
        for begin in (9.5, 9.75, 10.0, 10.25)
        for ahead in (False, True)
    )

    assert 0.96 * delay < least_delay_found(TAILED, 20.0, spacings) <= delay


@pytest.mark.parametrize("lifetimes", [EVEN, TAILED, mixture()])
@pytest.mark.parametrize(
    "begins", [(2.5, None, None, None), (8.0, None, None, 12.0), (9.0, 10.0, 10.0, None)]
)
def test_no_pattern_comes_below_the_bound(lifetimes: Lifetimes, begins: tuple[float | None, ...]) -> None:
    bounded = least_delay_found(lifetimes, 20.0, WITH_A_HOLE, splits=10)

    assert bounded <= in_turn(lifetimes, WITH_A_HOLE, begins, 14.5)


def test_a_hole_between_looks_costs_where_ends_come_all_the_time() -> None:
    even, hole = (least_delay_found(TAILED, 20.0, spacings, splits=20) for spacings in (EVENLY, WITH_A_HOLE))

    assert 1.05 * even < hole < 1.12 * even


@pytest.mark.parametrize("lifetimes", [TAILED, mixture()])
def test_who_must_find_tasks_is_later_than_who_knows_them(lifetimes: Lifetimes) -> None:
    assert least_delay_found(lifetimes, 20.0, EVENLY, splits=10) > 1.05 * least_delay(lifetimes, 4.0)


def test_places_that_are_free_show_everything_at_every_request() -> None:
    flow = Flow(EVEN, 20.0, EVENLY)
    delay, wanted = flow.bound((ANYWHERE,) * 4, (0.0,) * 4)

    assert delay == pytest.approx(half_of(EVENLY), rel=0.01)
    assert all(more > 0 for more in wanted)


def test_a_range_at_whatever_price_shows_each_task_once() -> None:
    flow = Flow(TAILED, 20.0, EVENLY)
    _, wanted = flow.bound((ANYWHERE, None, None, None), (50.0, 0.0, 0.0, 0.0))

    assert wanted[0] == pytest.approx(0.0)


def test_a_range_that_begins_before_rows_appear_is_not_enough() -> None:
    """The last of its tasks would be one second old."""
    flow = Flow(TAILED, 100.0, (0.25,) * 4)

    assert flow.bound(((0.0, 0.0), None, None, None), (0.01,) * 4)[0] == inf
    assert flow.bound(((0.0, 0.0), (2.0, 2.0), None, None), (0.01,) * 4)[0] < inf


def test_even_patterns_that_only_begin_elsewhere_are_one() -> None:
    assert len(Flow(TAILED, 20.0, EVENLY).patterns) == 5
    assert len(Flow(TAILED, 20.0, WITH_A_HOLE).patterns) == 15
