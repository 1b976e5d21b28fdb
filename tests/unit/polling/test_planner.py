"""What a cycle asks: what is worth its price, the present always, the past soon, and never more than allowed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.polling.situations import POLICY, at, seen, situation, span, state
from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.polling.flight import PAGE
from watcher.polling.learned import LONGEST_FREE
from watcher.polling.looks import MOMENT
from watcher.polling.planner import lower_bound, memory, plan, wait
from watcher.polling.present import DEEPEST, EARLY, SAMPLE
from watcher.polling.situation import Adoption, Batch, Policy, Situation, Window
from watcher.polling.widths import FIRST_WIDTH, NARROWEST, WIDEST, narrower, next_width
from watcher.state.coverage import Interval
from watcher.state.scope import ScopeState


def windows(made: Situation, policy: Policy = POLICY) -> list[Window]:
    return [read for read in plan(made, policy).reads if isinstance(read, Window)]


def fresh(made: Situation, policy: Policy = POLICY) -> list[Interval]:
    return [read.interval for read in windows(made, policy) if read.fresh]


def batches(made: Situation, policy: Policy = POLICY) -> list[Batch]:
    return [read for read in plan(made, policy).reads if isinstance(read, Batch)]


def execute(made: Situation, policy: Policy = POLICY) -> Situation:
    after, fresh_at = made.state, made.fresh_at
    for read in plan(made, policy).reads:
        if isinstance(read, Window):
            after = replace(after, coverage=after.coverage.add(read.interval))
            fresh_at = made.now if read.fresh else fresh_at
            if read.rung is not None:
                after = replace(after, ladder=ladder.climbed(after.ladder, read.rung))
        elif isinstance(read, Adoption):
            after = replace(after, adopted=True)
    return replace(made, state=after, fresh_at=fresh_at)


class TestDirected:
    def test_a_first_cycle_reads_what_lies_before_it_and_adopts_what_is_in_flight(self) -> None:
        made = plan(situation(state(adopted=False), 0, fresh_at=None), POLICY)
        assert made.reads == (Window(span(-630, 0), fresh=True), Adoption())
        assert made.name == "A"
        assert Adoption() not in plan(situation(state(adopted=True), 0), POLICY).reads

    def test_a_quiet_cycle_is_one_window_over_the_overlap(self) -> None:
        made = plan(situation(state(span(-600, 10)), 15, fresh_at=at(10)), POLICY)
        assert made.reads == (Window(span(-20, 15), fresh=True),)
        assert (made.name, made.expected) == ("A", 1)

    def test_nothing_is_asked_before_it_is_worth_anything(self) -> None:
        assert plan(situation(state(span(-600, 10)), 12, fresh_at=at(10)), POLICY).reads == ()

    def test_a_task_likely_to_have_ended_is_looked_for_between_two_windows(self) -> None:
        now = 13.0
        near_its_end = seen(now, (13.0, 2.0))
        made = situation(state(span(-600, 11)), now, fresh_at=at(11), sightings=near_its_end)
        assert len(plan(made, POLICY).reads) == 1
        young = situation(state(span(-600, 11)), now, fresh_at=at(11), sightings=seen(now, (4.0, 2.0)))
        assert plan(young, POLICY).reads == ()

    @pytest.mark.parametrize(("tasks", "times"), [(400, 1), (2 * SAMPLE, 2), (20 * SAMPLE, 20)])
    def test_of_ever_more_tasks_it_takes_stock_ever_more_rarely(self, tasks: int, times: int) -> None:
        """Or cycles that weigh them all, and find that a sample promised too much, would take a whole core."""
        overdue = seen(100, *[(60.0, 50.0)] * tasks)
        made = situation(state(span(-600, 99)), 100, fresh_at=at(99.9), sightings=overdue)
        assert wait(made, POLICY, 1000.0, 21.6) == pytest.approx(times * MOMENT)

    def test_after_hours_away_the_present_comes_first_then_the_past_from_its_newest_part_on(self) -> None:
        found = [each.interval for each in windows(situation(state(span(-600, 0)), 6 * 3600, past=9.0))]
        hours = [(6, 5), (5, 4), (4, 3), (3, 2), (2, 1), (1, 0)]
        assert [each.high for each in found] == [at(newest * 3600) for newest, _ in hours]
        assert [each.low for each in found[1:]] == [
            at(oldest * 3600 - (30 if oldest == 0 else 0)) for _, oldest in hours[1:]
        ]
        assert at(5 * 3600 - 30) <= found[0].low <= at(5 * 3600)

    def test_the_past_has_its_allowance_and_no_more(self) -> None:
        made = situation(state(span(-600, 0)), 100 * 3600, past=2.5)
        assert len([each for each in windows(made) if not each.fresh and each.rung is None]) == 3

    def test_a_gap_is_not_read_beyond_what_may_have_been_forgotten(self) -> None:
        """What was late just before the gap is read with it, but not where it would be told a second time."""
        known = replace(state(span(-600, 100), span(200, 1000)), forgotten=at(90))
        made = plan(situation(known, 1005, overlap=60 * SECOND), POLICY)
        assert [read.interval.low for read in made.reads if isinstance(read, Window) and not read.fresh] == [
            at(90)
        ]

    def test_an_older_gap_waits_for_a_newer_one(self) -> None:
        covered = (span(-600, 0), span(100, 200), span(300, 10_000))
        made = situation(state(*covered), 10_000, width=50 * SECOND, past=3.0, fresh_at=at(9995))
        found = [each.interval for each in windows(made) if not each.fresh]
        assert found == [span(250, 300), span(170, 250), span(50, 100)]

    def test_one_level_is_read_again_and_comes_last(self) -> None:
        known = state(span(-600, 995))
        made = situation(known, 1000, second_looks=1.0, arrival_rate=0.01, fresh_at=at(995))
        assert [each.rung is None for each in windows(made)] == [True, False]
        assert [each.rung for each in windows(replace(made, second_looks=0.9))] == [None]

    def test_a_last_level_about_to_pass_rows_over_is_read_without_any_credit(self) -> None:
        known = replace(state(span(-600, 2000)), ladder={60: at(1900)})
        made = situation(known, 2000, second_looks=-5.0, levels=1, arrival_rate=1.0)
        policy = replace(POLICY, horizon=60 * SECOND)
        assert [each.rung.level for each in windows(made, policy) if each.rung] == [60]

    def test_it_is_read_also_where_another_level_is_further_behind_for_its_age(self) -> None:
        known = replace(state(span(-30, 4546)), ladder={1024: at(2527), 3600: at(-30)})
        made = situation(
            known, 4551, second_looks=0.5, arrival_rate=0.001, overlap=600 * SECOND, fresh_at=at(4546)
        )
        policy = replace(POLICY, horizon=3600 * SECOND)
        assert [each.rung.level for each in windows(made, policy) if each.rung] == [3600]

    def test_one_request_shows_everything_where_all_that_is_in_flight_fits_a_page(self) -> None:
        now = 1000.0
        ages = tuple((age, 5.0) for age in range(1, 41))
        made = situation(
            state(span(-600, 995)), now, sightings=seen(now, *ages), arrival_rate=1.0, overlap=5 * SECOND
        )
        made = replace(made, price=2.0)
        found = plan(made, POLICY)
        assert (found.name, found.expected, len(found.reads)) == ("B", 1, 1)
        assert fresh(made)[0].low <= at(now - 30)

    def test_what_is_far_back_is_asked_for_by_id(self) -> None:
        made = situation(state(span(-600, 9995)), 10_000, sightings=seen(10_000, *[(5000.0, 60.0)] * 150))
        assert [len(batch.ids) for batch in batches(made)] == [100, 50]

    def test_a_burst_that_lies_back_takes_the_pages_that_it_fills(self) -> None:
        made = situation(state(span(-600, 995)), 1000, sightings=seen(1000, *[(300.0, 5.0)] * 350))
        assert plan(made, POLICY).expected == 4

    def test_tasks_too_young_to_end_are_found_later_unless_their_beginning_is_news(self) -> None:
        made = situation(
            state(span(-600, 980)),
            1000,
            arrival_rate=50.0,
            price=100.0,
            allowed=1,
            overlap=2 * SECOND,
            fresh_at=at(980),
        )
        (waiting,) = windows(made)
        assert waiting.until is not None
        assert at(980) <= waiting.until < at(985)
        assert [each.until for each in windows(made, replace(POLICY, early=True))] == [None]

    def test_a_scope_without_a_start_is_not_planned(self) -> None:
        with pytest.raises(ValueError, match="start"):
            plan(situation(ScopeState(), 0), POLICY)

    def test_a_clock_that_was_set_back_does_not_stop_the_present(self) -> None:
        assert fresh(situation(state(span(-600, 1000)), 500)) == [span(470, 500)]

    def test_a_clock_set_back_before_the_beginning_does_not_either(self) -> None:
        (found,) = fresh(situation(state(span(-600, 1000)), -5000))
        assert found.high == at(-5000)


spans = st.tuples(st.integers(-600, 20_000), st.integers(1, 6000)).map(
    lambda pair: span(pair[0], pair[0] + pair[1])
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    now = draw(st.integers(0, 30_000))
    covered = [each for each in draw(st.lists(spans, max_size=6)) if each.high <= at(now)]
    groups = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 60, 130]), st.floats(0, 700), st.sampled_from([0.0, 0.3, 2.0, 5.0, 60.0])
            ),
            max_size=4,
        )
    )
    ages = [(age + number / 100, unseen) for count, age, unseen in groups for number in range(count)]
    return situation(
        state(*covered),
        now,
        sightings=seen(now, *ages),
        arrival_rate=draw(st.sampled_from([0.0, 0.01, 0.5, 5.0, 50.0, 200.0])),
        price=draw(st.sampled_from([0.05, 0.3, 2.0, 40.0])),
        allowed=draw(st.sampled_from([1, 2, 5, 100])),
        overlap=draw(st.sampled_from([2, 30, 600])) * SECOND,
        width=draw(st.sampled_from([NARROWEST, 10 * SECOND, 100 * SECOND, FIRST_WIDTH, WIDEST])),
        past=draw(st.sampled_from([1.0, 3.5])),
        second_looks=draw(st.sampled_from([-1.0, 0.5, 1.0, 30.0])),
        levels=draw(st.sampled_from([1, 3, 64])),
        fresh_at=draw(st.none() | st.floats(0, 10).map(lambda ago: at(now - ago))),
    )


policies = st.builds(
    Policy,
    interval=st.sampled_from([1, 5, 60]).map(lambda seconds: seconds * SECOND),
    horizon=st.sampled_from([60, 3600, 86_400]).map(lambda seconds: seconds * SECOND),
    early=st.booleans(),
)


def overdue(made: Situation, policy: Policy) -> bool:
    return made.fresh_at is None or made.now - made.fresh_at >= policy.interval


@pytest.mark.parametrize("horizon", [5, 60, 600, 86_400])
def test_records_are_kept_for_as_long_as_a_window_may_reach_back(horizon: int) -> None:
    longest = min(horizon, LONGEST_FREE) * SECOND
    assert memory(horizon * SECOND) >= longest + DEEPEST


@given(situations(), policies)
def test_a_fresh_window_is_read_at_least_once_an_interval(made: Situation, policy: Policy) -> None:
    made = replace(made, price=1e9)
    assert len(fresh(made, policy)) == overdue(made, policy)
    assert batches(made, policy) == [], "and nothing else that is not worth its price"


@given(situations(), policies)
def test_what_is_asked_by_id_is_worth_its_price_and_the_most_overdue_first(
    made: Situation, policy: Policy
) -> None:
    asked = batches(made, policy)
    ids = [task_id for batch in asked for task_id in batch.ids]
    assert len(ids) == len(set(ids))
    assert all(1 <= len(batch.ids) <= PAGE for batch in asked)
    assert all(len(batch.ids) == PAGE for batch in asked[:-1])
    gathered = [made.sightings[task_id].unseen(made.now) for task_id in ids]
    assert all(one >= other for one, other in pairwise(gathered))
    price = made.price * (EARLY if made.steady else 1.0)  # a steady flow's looks may come early
    for batch in asked:
        assert sum(made.sightings[task_id].unseen(made.now) for task_id in batch.ids) >= price * 0.999
    shown = [
        (read.interval.low, read.until or read.interval.high) for read in windows(made, policy) if read.fresh
    ]
    assert not any(low <= made.sightings[task_id].created_at < high for low, high in shown for task_id in ids)


@given(situations(), policies)
def test_no_more_is_asked_of_the_present_than_is_allowed(made: Situation, policy: Policy) -> None:
    found = plan(made, policy)
    if not overdue(made, policy):
        assert found.expected <= made.allowed or len(fresh(made, policy)) == 1
    if found.expected > made.allowed:
        assert batches(made, policy) == [], "only the window that is read anyway may take more"


@given(situations(), policies)
def test_the_fresh_window_continues_what_is_covered_and_ends_now_where_beginnings_are_news(
    made: Situation, policy: Policy
) -> None:
    for each in fresh(made, policy):
        gaps = made.state.coverage.gaps(at(-600), made.now) if made.now > at(-600) else ()
        edge = gaps[-1].low if gaps and gaps[-1].high == made.now else made.now
        assert each.low <= max(edge, made.now - max(made.width, made.overlap))
        assert each.high == made.now or not policy.early
        assert each.span <= max(made.width, made.overlap) + made.overlap + DEEPEST


@given(situations(), policies)
def test_no_window_of_the_past_is_wider_than_asked_for(made: Situation, policy: Policy) -> None:
    """But for the ladder's, which are read page by page: as much of them as must be is not wider."""
    past = [each for each in windows(made, policy) if not each.fresh]
    assert all(each.interval.span <= made.width + made.overlap for each in past if each.until is None)
    assert all(each.until - each.interval.low <= made.width for each in past if each.until is not None)


@given(situations(), policies)
def test_every_gap_is_read_within_a_bounded_number_of_cycles(made: Situation, policy: Policy) -> None:
    """And coverage reaches every instant."""
    width = max(made.width, 200 * SECOND)  # narrower ones are only slower to test
    # So that a page reaches further than an interval: nothing is left for later to fill it.
    made = replace(made, width=width, sightings={}, arrival_rate=min(made.arrival_rate, 0.01))
    gaps = made.state.coverage.gaps(at(-600), made.now)
    pieces = sum(ceil(gap.span / width) for gap in gaps)
    for _ in range(ceil(pieces / ceil(made.past)) + 3):
        made = execute(made, policy)
        made = replace(made, now=Micros(made.now + policy.interval))
    assert made.state.coverage.gaps(at(-600), Micros(made.now - 2 * policy.interval)) == ()


@given(situations(), policies, st.floats(-50, 100), st.floats(0.05, 30))
def test_the_next_cycle_comes_within_the_interval_as_soon_as_there_is_a_request(
    made: Situation, policy: Policy, credit: float, pace: float
) -> None:
    found = wait(made, policy, credit, pace)
    assert 0 < found <= max(policy.interval / SECOND, (1 - credit) / pace)
    assert found >= (1 - credit) / pace - 1e-9


@given(situations(), policies)
def test_the_next_cycle_comes_when_the_fresh_window_is_due(made: Situation, policy: Policy) -> None:
    if made.fresh_at is not None and not overdue(made, policy):
        assert wait(made, policy, 100.0, 1.0) <= (made.fresh_at + policy.interval - made.now) / SECOND + 1e-6


@pytest.mark.parametrize(
    ("rate", "seconds", "requests"),
    [(0, 5, 1), (0.012, 5, 1), (20, 5, 1), (20.2, 5, 2), (50, 5, 3), (200, 5, 10)],
)
def test_the_lower_bound(rate: float, seconds: float, requests: int) -> None:
    assert lower_bound(rate, seconds) == requests


@pytest.mark.parametrize(
    ("width", "span", "rows", "following"),
    [
        (3600, 3600, 0, 7200),
        (3600, 3600, 200, 7200),
        (3600, 3600, 201, 3600),
        (3600, 3600, 1000, 3600),
        (3600, 3600, 1001, 1800),
        (3600, 10, 0, 3600),  # a scrap of a window tells nothing of a whole one
        (3600, 120, 1001, 60),
        (1800, 3600, 1001, 1800),  # as another window of the same plan has said already
        (7200, 3600, 0, 7200),
        (1, 31, 5000, 1),
        (1, 1, 5000, 1),
        (WIDEST // SECOND, WIDEST // SECOND, 0, WIDEST // SECOND),
    ],
)
def test_the_width_follows_how_dense_the_past_is(width: int, span: int, rows: int, following: int) -> None:
    assert next_width(width * SECOND, span * SECOND, rows) == following * SECOND


widths = st.integers(NARROWEST, WIDEST)


@given(widths, st.integers(1, WIDEST), st.integers(0, 10**6))
def test_the_width_stays_within_its_bounds(width: int, span: int, rows: int) -> None:
    assert NARROWEST <= next_width(width, span, rows) <= WIDEST
    assert NARROWEST <= narrower(width, span) <= width
