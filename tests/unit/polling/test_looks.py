from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import MOMENT, Sighting, both, expected, next_look, price_of_few, price_of_flow

DOCUMENTED = Survival.of(Histogram())
NOW = Micros(1_800_000_000 * SECOND)


def sighting(age: float, unseen_for: float = 0.0) -> Sighting:
    return Sighting(Micros(NOW - round(age * SECOND)), Micros(NOW - round(unseen_for * SECOND)), DOCUMENTED)


def look(*seen: Sighting, interval: float = 5.0, price: float = 0.2) -> float:
    def worth(wait: float) -> float:
        then = Micros(NOW + round(wait * SECOND))
        return sum(each.unseen(then) for each in seen)

    return next_look(worth, price=price, soonest=0.0, latest=interval)


def test_nothing_in_flight_is_looked_at_after_the_interval() -> None:
    assert look() == 5.0


def test_a_young_task_waits_for_the_interval_and_one_about_to_end_does_not() -> None:
    assert look(sighting(1.0)) == 5.0
    assert look(sighting(12.0)) < 1.5


def test_one_task_is_looked_at_at_the_ages_of_the_dynamic_programme() -> None:
    """For lifetimes uniform on 10 to 15 s the programme gives 11.6, 12.9, 13.9, 14.6: gaps that shrink evenly."""
    found, age = [], 0.0
    for _ in range(4):
        age += look(sighting(age), interval=15.0, price=0.256)
        found.append(age)

    assert found == pytest.approx([11.6, 12.9, 13.95, 14.7], abs=0.1)


@given(st.lists(st.floats(0, 60), max_size=30), st.floats(0.2, 60), st.floats(0.001, 50))
def test_a_look_comes_within_the_interval_and_no_sooner_than_its_price(
    ages: list[float], interval: float, price: float
) -> None:
    seen = [sighting(age) for age in ages]
    wait = look(*seen, interval=interval, price=price)

    assert 0 < wait <= interval
    if MOMENT < wait < interval:
        then = Micros(NOW + round(wait * SECOND))
        assert sum(each.unseen(then) for each in seen) >= price * 0.99


def test_a_steady_flow_is_looked_at_evenly() -> None:
    rate = 20.0
    # Thinned as the survival says: of the older ones most have ended.
    ages = [n / rate for n in range(600) if DOCUMENTED.at(n / rate)[0] > n * 0.618034 % 1]
    price = price_of_flow(1.0, rate)

    assert look(*(sighting(age) for age in ages), price=price) == pytest.approx(2.0, abs=0.35)


@pytest.mark.parametrize("target", [0.3, 0.6, 1.0, 2.0])
def test_the_price_of_few_keeps_the_mean_delay_within_the_target(target: float) -> None:
    price = price_of_few(target, survival=DOCUMENTED, interval=5.0)
    delay, looks = expected(DOCUMENTED, interval=5.0, price=price)

    assert delay == pytest.approx(target, abs=0.02)
    assert looks < 12


def test_dearer_looks_are_fewer_and_later() -> None:
    cheap, dear = (expected(DOCUMENTED, interval=5.0, price=price) for price in (0.1, 0.4))

    assert cheap[0] < dear[0]
    assert cheap[1] > dear[1]


def test_a_look_that_is_worth_it_at_once_comes_as_soon_as_it_may() -> None:
    assert next_look(lambda wait: 1.0, price=0.5, soonest=0.7, latest=5.0) == 0.7
    assert next_look(lambda wait: 1.0, price=0.5, soonest=0.0, latest=5.0) == MOMENT
    assert next_look(lambda wait: 1.0, price=0.5, soonest=0.0, latest=5.0, moment=0.4) == 0.4
    assert next_look(lambda wait: 1.0, price=0.5, soonest=0.0, latest=0.3, moment=0.4) == 0.3
    assert next_look(lambda wait: wait, price=3.0, soonest=0.7, latest=5.0) == pytest.approx(3.0, abs=0.01)
    assert next_look(lambda wait: 0.0, price=3.0, soonest=7.0, latest=5.0) == 7.0


def test_what_a_page_does_not_show_makes_looks_cheaper() -> None:
    assert both(40.0, 60.0, beyond=0.0) == 40.0
    assert both(40.0, 60.0, beyond=1.0) == pytest.approx(24.0)
    assert both(0.0, 0.0, beyond=0.5) == 0.0
