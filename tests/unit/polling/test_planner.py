"""What a cycle asks: the present always, the past soon, and no more requests than the alternatives."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros, TaskId
from watcher.polling import ladder
from watcher.polling.planner import (
    FIRST_WIDTH,
    NARROWEST,
    PAGE,
    REACHES,
    WIDEST,
    Adoption,
    Policy,
    Situation,
    Window,
    leftovers,
    lower_bound,
    memory,
    narrower,
    next_width,
    plan,
)
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Start
from watcher.state.scope import ScopeState

POLICY = Policy(overlap=30 * SECOND, horizon=86_400 * SECOND, allowance=6)
T0 = 1_800_000_000 * SECOND


def at(seconds: float) -> Micros:
    return Micros(T0 + round(seconds * SECOND))


def span(low: float, high: float) -> Interval:
    return Interval(at(low), at(high))


def state(
    *covered: Interval,
    begin: float = -600,
    adopted: bool = True,
    in_flight: dict[TaskId, Micros] | None = None,
) -> ScopeState:
    start = Start(at(0), at(0), at(begin))
    return ScopeState(start, Coverage.of(covered), adopted, in_flight=in_flight or {})


def situation(known: ScopeState, now: float, *, rate: float = 0.0, width: int = FIRST_WIDTH) -> Situation:
    return Situation(known, at(now), rate, width)


def windows(made: Situation, policy: Policy = POLICY) -> list[Interval]:
    """The windows of the plan that no rung asked for, the fresh one first."""
    reads = plan(made, policy).reads
    return [read.interval for read in reads if isinstance(read, Window) and read.rung is None]


def execute(made: Situation, policy: Policy = POLICY) -> ScopeState:
    after = made.state
    for read in plan(made, policy).reads:
        if isinstance(read, Window):
            after = replace(after, coverage=after.coverage.add(read.interval))
            if read.rung is not None:
                after = replace(after, ladder=ladder.climbed(after.ladder, read.rung))
        else:
            after = replace(after, adopted=True)
    return after


def waiting(count: int, age: float, now: float) -> dict[TaskId, Micros]:
    return {TaskId(f"{age}-{number}"): at(now - age) for number in range(count)}


class TestDirected:
    def test_a_first_cycle_reads_what_lies_before_it_and_adopts_what_is_in_flight(self) -> None:
        made = plan(situation(state(adopted=False), 0), POLICY)
        assert made.reads[:2] == (Window(span(-630, 0)), Adoption())
        assert made.name == "A"
        assert Adoption() not in plan(situation(state(adopted=True), 0), POLICY).reads

    def test_a_quiet_cycle_is_one_window_over_the_overlap(self) -> None:
        known = replace(state(span(-600, 10)), ladder={0: at(-200)})
        made = plan(situation(known, 15), POLICY)
        assert made.reads == (Window(span(-20, 15)),)
        assert (made.name, made.expected) == ("A", 1)

    def test_after_hours_away_the_present_comes_first_then_the_past_from_its_newest_part_on(self) -> None:
        # Six hours away, in windows of an hour; the oldest reaches over what was read just before.
        found = windows(situation(state(span(-600, 0)), 6 * 3600))
        hours = [(6, 5), (5, 4), (4, 3), (3, 2), (2, 1), (1, 0)]
        assert [each.high for each in found] == [at(newest * 3600) for newest, _ in hours]
        assert [each.low for each in found] == [
            at(oldest * 3600 - (30 if oldest == 0 else 0)) for _, oldest in hours
        ]

    def test_the_past_has_its_allowance_and_no_more(self) -> None:
        made = plan(situation(state(span(-600, 0)), 100 * 3600), POLICY)
        plain = [read for read in made.reads if isinstance(read, Window) and read.rung is None]
        assert len(plain) == 1 + POLICY.allowance

    def test_an_older_gap_waits_for_a_newer_one(self) -> None:
        covered = (span(-600, 0), span(100, 200), span(300, 10_000))
        found = windows(situation(state(*covered), 10_000, width=50 * SECOND), replace(POLICY, allowance=3))
        assert found == [span(9970, 10_000), span(250, 300), span(170, 250), span(50, 100)]

    def test_what_is_due_to_be_read_again_comes_last(self) -> None:
        made = plan(situation(state(), 1000, width=1000 * SECOND), POLICY)
        again = [read.rung.level for read in made.reads if isinstance(read, Window) and read.rung]
        assert again == [0, 1]
        assert [read.rung is None for read in made.reads if isinstance(read, Window)] == [
            True,
            True,
            False,
            False,
        ]

    def test_stragglers_are_asked_for_by_id_where_that_takes_fewer_requests(self) -> None:
        made = plan(situation(state(span(-600, 10), in_flight=waiting(90, 70, 15)), 15, rate=20.0), POLICY)
        assert (made.name, made.expected) == ("A", 8)

    def test_the_window_reaches_back_where_that_takes_fewer_requests(self) -> None:
        # Ninety tasks of 50 s: their ids would take a request, reaching 15 s further back takes none.
        made = situation(state(span(-600, 10), in_flight=waiting(90, 50, 15)), 15, rate=0.5)
        assert windows(made) == [span(-35, 15)]
        assert (plan(made, POLICY).name, plan(made, POLICY).expected) == ("B", 1)

    def test_a_scope_without_a_start_is_not_planned(self) -> None:
        with pytest.raises(ValueError, match="start"):
            plan(situation(ScopeState(), 0), POLICY)

    def test_a_clock_that_was_set_back_does_not_stop_the_present(self) -> None:
        assert windows(situation(state(span(-600, 1000)), 500)) == [span(470, 500)]

    def test_a_clock_set_back_before_the_beginning_does_not_either(self) -> None:
        (fresh,) = windows(situation(state(span(-600, 1000)), -5000))
        assert fresh.low <= at(-5030)
        assert fresh.high == at(-5000)


spans = st.tuples(st.integers(-600, 20_000), st.integers(1, 6000)).map(
    lambda pair: span(pair[0], pair[0] + pair[1])
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    now = draw(st.integers(0, 30_000))
    covered = [each for each in draw(st.lists(spans, max_size=6)) if each.high <= at(now)]
    ages = draw(st.lists(st.sampled_from([5, 20, 50, 100, 290, 700]), max_size=5))
    flight = {
        task_id: created
        for number, age in enumerate(ages)
        for task_id, created in waiting(draw(st.sampled_from([1, 60, 130])), age + number / 10, now).items()
    }
    width = draw(st.sampled_from([NARROWEST, 10 * SECOND, 100 * SECOND, FIRST_WIDTH, WIDEST]))
    rate = draw(st.sampled_from([0.0, 0.01, 0.5, 5.0, 50.0, 200.0]))
    return situation(state(*covered, in_flight=flight), now, rate=rate, width=width)


policies = st.builds(
    Policy,
    overlap=st.sampled_from([5, 30, 120]).map(lambda seconds: seconds * SECOND),
    horizon=st.sampled_from([60, 3600, 86_400]).map(lambda seconds: seconds * SECOND),
    allowance=st.integers(1, 8),
)


@given(situations(), policies)
def test_coverage_reaches_now(made: Situation, policy: Policy) -> None:
    after = execute(made, policy)
    fresh = windows(made, policy)[0]
    assert fresh.high == made.now
    assert after.coverage.gaps(fresh.low, made.now) == ()


@given(situations(), policies)
def test_the_fresh_window_holds_the_overlap_and_the_newest_gap_up_to_the_width(
    made: Situation, policy: Policy
) -> None:
    fresh = windows(made, policy)[0]
    assert fresh.low <= made.now - policy.overlap
    gaps = made.state.coverage.gaps(at(-600), made.now)
    if gaps and gaps[-1].high == made.now:
        assert fresh.low <= max(gaps[-1].low, made.now - made.width)
        if gaps[-1].low - policy.overlap >= made.now - made.width:
            assert fresh.low <= gaps[-1].low - policy.overlap


@given(situations(), policies)
def test_no_window_is_wider_than_asked_for(made: Situation, policy: Policy) -> None:
    fresh, *others = (read for read in plan(made, policy).reads if isinstance(read, Window))
    assert fresh.interval.high - fresh.interval.low <= max(made.width, policy.overlap) + REACHES[-1]
    assert all(
        each.interval.high - each.interval.low <= made.width + (0 if each.rung else policy.overlap)
        for each in others
    )


@given(situations(), policies)
def test_reaching_back_never_takes_more_requests_than_not(made: Situation, policy: Policy) -> None:
    """Plan A's price, worked out by itself: the window without any reach, and ids for all that is older."""
    gaps = made.state.coverage.gaps(at(-600), made.now) if made.now > at(-600) else ()
    edge = gaps[-1].low if gaps and gaps[-1].high == made.now else made.now
    floor = max(edge - policy.overlap, made.now - max(made.width, policy.overlap))
    older = sum(created < floor for created in made.state.in_flight.values())
    rows = made.arrival_rate * (made.now - floor) / SECOND
    plain = max(1, ceil(rows / PAGE)) + ceil(older / PAGE)
    chosen = plan(made, policy)
    low = windows(made, policy)[0].low
    assert chosen.expected <= plain
    assert (chosen.name == "A") == (low == floor)
    if chosen.name == "B":
        assert chosen.expected < plain
    else:
        assert chosen.expected == plain
    assert floor - low in REACHES


@given(situations(), policies)
def test_every_gap_is_read_within_a_bounded_number_of_cycles(made: Situation, policy: Policy) -> None:
    width = max(made.width, 200 * SECOND)  # narrower ones are only slower to test
    gaps = made.state.coverage.gaps(at(-600), made.now)
    pieces = sum(ceil((gap.high - gap.low) / width) for gap in gaps)
    made = replace(made, width=width)
    for _ in range(ceil(pieces / policy.allowance) + 2):
        made = replace(made, state=execute(made, policy), now=Micros(made.now + 5 * SECOND))
    assert made.state.coverage.gaps(at(-600), Micros(made.now - 5 * SECOND)) == ()


@given(situations(), policies)
def test_nothing_is_read_whose_records_may_be_forgotten(made: Situation, policy: Policy) -> None:
    """Records are forgotten once they are older than the watermark by ``memory``."""
    watermark = made.state.coverage.watermark(at(-600))
    reads = [read.interval for read in plan(made, policy).reads if isinstance(read, Window)]
    assert all(each.low >= min(watermark, made.now) - memory(policy) for each in reads)


@given(st.dictionaries(st.integers(0, 10_000).map(lambda n: TaskId(str(n))), st.integers(0, 50).map(Micros)))
def test_leftovers_are_what_was_not_seen_in_full_batches_the_oldest_first(
    in_flight: dict[TaskId, Micros],
) -> None:
    seen = {task_id for task_id in in_flight if int(task_id) % 3 == 0}
    batches = list(leftovers(in_flight, seen))
    asked = [task_id for batch in batches for task_id in batch]
    assert sorted(asked) == sorted(in_flight.keys() - seen)
    assert [in_flight[each] for each in asked] == sorted(in_flight[each] for each in asked)
    assert all(len(batch) == PAGE for batch in batches[:-1])


def test_two_hundred_and_one_leftovers_are_three_requests() -> None:
    in_flight = {TaskId(str(number)): Micros(number) for number in range(201)}
    assert [len(batch) for batch in leftovers(in_flight, set())] == [100, 100, 1]
    assert list(leftovers(in_flight, in_flight.keys())) == []


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
