from __future__ import annotations

from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, EntityId, Scope, Weight
from watcher.polling.ladder import SHARE
from watcher.polling.learned import CAUTIOUS, MOST_CREDIT, OVERLAPS, Arrivals, Lateness, Purse, Thrift
from watcher.polling.pacer import LOAD, USUAL, Pacer


@given(st.floats(0.01, 200), st.floats(0.5, 30))
def test_the_rate_of_a_steady_flow_is_found(rate: float, span: float) -> None:
    arrivals = Arrivals()
    for _ in range(400):
        arrivals = arrivals.read(round(rate * span * 1000), round(span * SECOND))

    assert arrivals.rate / 1000 == pytest.approx(rate, rel=0.05, abs=0.01)


def test_nothing_read_is_no_rate_and_what_is_usual_is_expected() -> None:
    assert Arrivals().rate == 0.0
    assert Arrivals().expected(0.25) == pytest.approx(0.25)


def steady(rate: float, visits: int = 400, span: float = 60.0) -> Arrivals:
    """Of a scope in which as many tasks arrive in each span between two visits."""
    arrivals = Arrivals()
    for visit in range(visits):
        rows = round((visit + 1) * rate * span) - round(visit * rate * span)
        arrivals = arrivals.read(rows, round(span * SECOND))
    return arrivals


@given(st.floats(0.02, 20), st.floats(USUAL, 10))
def test_what_has_long_been_so_is_expected_whatever_is_usual(rate: float, usual: float) -> None:
    assert 0.5 * rate < steady(rate).expected(usual) < 2 * rate


def test_one_task_after_hours_of_none_says_little_and_many_say_all() -> None:
    idle = steady(0.0)
    assert idle.expected(USUAL) < USUAL
    assert idle.read(1, 60 * SECOND).expected(USUAL) < 3 * USUAL
    assert 0.1 < idle.read(60, 60 * SECOND).expected(USUAL) < 1.0


def test_a_quiet_spell_does_not_hide_a_busy_hour() -> None:
    assert steady(0.1).read(0, 20 * SECOND).expected(USUAL) > 0.03


def test_the_overlap_is_cautious_until_enough_rows_were_seen() -> None:
    assert Lateness().read(100, ()).overlap == CAUTIOUS * SECOND


@pytest.mark.parametrize(
    ("late", "overlap"),
    [
        ((), 2),
        ((1.0,) * 30, 2),
        ((4.0,) * 30, 5),
        ((4.0,) * 3, 2),
        ((45.0,) * 30, 60),
        ((9_999.0,) * 30, 300),
    ],
)
def test_the_overlap_leaves_no_more_than_its_share_to_the_ladder(
    late: tuple[float, ...], overlap: int
) -> None:
    assert Lateness().read(1000, late).overlap == overlap * SECOND


@given(st.lists(st.tuples(st.integers(0, 500), st.lists(st.floats(0, 1e5), max_size=5)), max_size=50))
def test_lateness_only_ever_chooses_a_known_overlap(read: list[tuple[int, list[float]]]) -> None:
    lateness = Lateness()
    for on_time, late in read:
        lateness = lateness.read(on_time, tuple(late))

    assert lateness.overlap // SECOND in OVERLAPS
    assert lateness.latest == max((each for _, late in read for each in late), default=0.0)


@given(st.lists(st.integers(0, 40), max_size=200))
def test_second_looks_get_their_share_and_no_more(spent: list[int]) -> None:
    thrift, again = Thrift(credit=0.0), 0
    for present in spent:
        took = 1 if thrift.credit >= 1 else 0
        again += took
        thrift = thrift.spent(present=present, again=took, seconds=1.0)

    assert again <= SHARE * sum(spent) + 1
    assert thrift.credit <= MOST_CREDIT


def test_a_single_scope_may_spend_what_polling_may() -> None:
    assert Pacer(24).pace(Scope(), steady(5.0)) == pytest.approx(24 * LOAD)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_scopes_share_the_budget_by_the_square_root_of_their_rates(rates: list[float]) -> None:
    pacer = Pacer(24)
    scopes = [Scope(EntityId(str(number))) for number in range(len(rates))]
    for scope, rate in zip(scopes, rates, strict=True):
        pacer.pace(scope, steady(rate))
    paces = [pacer.pace(scope, steady(rate)) for scope, rate in zip(scopes, rates, strict=True)]

    assert sum(paces) == pytest.approx(24 * LOAD)
    assert all(pace > 0 for pace in paces)
    busy = [(pace, rate) for pace, rate in zip(paces, rates, strict=True) if rate > 1]
    for pace, rate in busy:
        assert pace / busy[0][0] == pytest.approx((rate / busy[0][1]) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    ("scopes", "seconds"),
    [
        pytest.param(54, 5.0, id="half of the budget looks at each once an interval"),
        pytest.param(81, 10.0, id="three quarters would do so, and half of that is given"),
        pytest.param(108, inf, id="all of it would do so, and leave nothing to the busy"),
        pytest.param(2000, inf, id="it cannot be done"),
    ],
)
def test_idle_scopes_are_looked_at_once_an_interval_while_the_budget_affords_it(
    scopes: int, seconds: float
) -> None:
    pacer = Pacer(24, interval=5.0)
    idle, busy = steady(0.0), steady(20.0)
    seen = {Scope(EntityId(str(number))): idle if number else busy for number in range(scopes)}
    for _ in range(2):
        paces = [pacer.pace(scope, arrivals) for scope, arrivals in seen.items()]
    by_traffic = Pacer(24)
    for _ in range(2):
        alone = [by_traffic.pace(scope, arrivals) for scope, arrivals in seen.items()]

    assert sum(paces) == pytest.approx(24 * LOAD)
    assert min(paces) == pytest.approx(1 / seconds + alone[-1] * (1 - scopes / seconds / (24 * LOAD)))


def test_a_scope_that_leaves_gives_its_share_back() -> None:
    pacer = Pacer(10)
    one, other = Scope(), Scope(EntityId("other"))
    pacer.pace(one, steady(1.0))
    pacer.pace(other, steady(1.0))
    pacer.leave(other)
    pacer.leave(other)

    assert pacer.pace(one, steady(1.0)) == pytest.approx(10 * LOAD)


def test_a_scope_of_which_nothing_is_known_weighs_as_much_as_those_of_other_shards_until_it_is() -> None:
    pacer, other = Pacer(20), Scope(EntityId("new"))
    pacer.elsewhere = Weight(traffic=10 * sqrt(4), scopes=10)
    first = pacer.pace(other, Arrivals())
    assert first == pytest.approx(20 * LOAD / 11)
    assert pacer.pace(other, steady(0.0)) < first / 50
    busy = Pacer(20)
    busy.elsewhere = pacer.elsewhere
    assert busy.pace(other, steady(9.0)) > 1.4 * first


def test_what_second_looks_took_is_paid_over_an_interval_and_paid_whole() -> None:
    purse = Purse().spent(present=1, again=1)
    assert purse == Purse(credit=0.0, owed=1.0)
    assert purse.left(2.0, interval=5.0) == pytest.approx(1.8)

    after = purse.earned(2.0, seconds=0.5, interval=5.0)
    assert (after.credit, after.owed) == pytest.approx((0.9, 0.9))
    later = after.earned(2.0, seconds=5.0, interval=5.0)
    assert (later.credit, later.owed) == pytest.approx((10.0, 0.0))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0.01, 2.0)), max_size=40),
    st.floats(0.1, 20.0),
)
def test_no_more_is_spent_than_was_earned(cycles: list[tuple[int, int, float]], pace: float) -> None:
    purse, earned, spent = Purse(), 1.0, 0
    for present, again, seconds in cycles:
        purse = purse.earned(pace, seconds=seconds, interval=5.0).spent(present=present, again=again)
        earned, spent = earned + pace * seconds, spent + present + again

    assert purse.credit - purse.owed <= earned - spent + 1e-6
    assert purse.owed >= 0


def test_looks_keep_half_of_the_pace_whatever_is_owed() -> None:
    assert Purse(owed=100.0).left(2.0, interval=5.0) == 1.0
