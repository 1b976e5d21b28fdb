"""The ladder: what is read again, at what age, in which order, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.polling.flight import PAGE
from watcher.polling.learned import Thrift
from watcher.state.coverage import Interval

OVERLAP = 30 * SECOND
HORIZON = 3600 * SECOND
DAY = 86_400 * SECOND
ALL = 64


@dataclass
class Climb:
    """A simulated daemon that reads whatever is due, cycle by cycle, all within ``horizon``.

    Rows are created evenly, as many as fill a page in ``page``.
    """

    begin: int = 0
    horizon: int = HORIZON
    page: int = 10 * HORIZON
    pages: int = 1
    most: int = 30 * DAY
    levels: int = ALL
    marks: dict[int, Micros] = field(default_factory=dict)
    read: list[tuple[int, ladder.Rung]] = field(default_factory=list)

    @property
    def ages(self) -> tuple[int, ...]:
        return ladder.ages(OVERLAP, self.horizon, self.levels)

    def due(self, now: int) -> list[ladder.Rung]:
        return ladder.due(
            self.marks,
            now=Micros(now),
            begin=Micros(self.begin),
            ages=self.ages,
            horizon=self.horizon,
            page=self.page,
            pages=self.pages,
            most=self.most,
        )

    def reached(self, rung: ladder.Rung) -> Interval:
        """What is read of a rung: whole pages, up to the one that reaches where it may end."""
        low, high = rung.window.low, rung.window.high
        pages = max(0, rung.until - low) // self.page + 1
        return Interval(low, min(high, Micros(low + pages * self.page)))

    def cycle(self, now: int, most: int = ALL) -> int:
        due = self.due(now)[:most]
        for rung in due:
            rung = replace(rung, window=self.reached(rung))
            self.marks = ladder.climbed(self.marks, rung)
            self.read.append((now, rung))
        return len(due)

    def of(self, age: int) -> list[tuple[int, Interval]]:
        return [(now, rung.window) for now, rung in self.read if rung.level == age // SECOND]


@pytest.mark.parametrize(
    ("overlap", "horizon", "expected"),
    [
        (30, 86_400, (64, 256, 1024, 4096, 16_384, 65_536, 86_400)),
        (64, 86_400, (256, 1024, 4096, 16_384, 65_536, 86_400)),
        (600, 3600, (1024, 3600)),
        (30, 256, (64, 256)),
        (30, 64, (64,)),
        (30, 60, (60,)),
        (600, 300, (300,)),
        (30, 1, (1,)),
    ],
)
def test_ages_come_from_one_grid_above_the_overlap_and_end_with_the_horizon(
    overlap: int, horizon: int, expected: tuple[int, ...]
) -> None:
    assert ladder.ages(overlap * SECOND, horizon * SECOND, ALL) == tuple(age * SECOND for age in expected)


@given(st.integers(0, 10**5), st.integers(1, 10**6), st.integers(1, 20))
def test_fewer_levels_are_some_of_all_of_them_and_always_the_last(
    overlap: int, horizon: int, levels: int
) -> None:
    every = ladder.ages(overlap * SECOND, horizon * SECOND, ALL)
    some = ladder.ages(overlap * SECOND, horizon * SECOND, levels)

    assert len(some) == min(levels, len(every))
    assert set(some) <= set(every)
    assert list(some) == sorted(set(some))
    assert some[-1] == horizon * SECOND


@pytest.mark.parametrize(
    ("rate", "spending", "levels"),
    [(0.0, 0.2, 64), (1.0, 0.5, 5), (5.0, 0.6, 1), (20.0, 0.5, 1), (1.0, 0.0, 1)],
)
def test_there_are_as_many_levels_as_the_share_pays_for(rate: float, spending: float, levels: int) -> None:
    assert ladder.levels_affordable(rate, spending) == levels


steps = st.lists(st.integers(1, 300 * SECOND), min_size=1, max_size=60)


@given(steps, st.integers(1200, 20_000), st.integers(0, 9000 * SECOND), st.data())
def test_a_row_late_by_less_than_a_levels_age_is_read_at_that_age_or_later(
    seconds: list[int], page: int, created_at: int, data: st.DataObject
) -> None:
    climb = Climb(page=page * SECOND)
    now = 0
    for step in [*seconds, *data.draw(st.permutations([250 * SECOND] * 50 + [97 * SECOND] * 30))]:
        now += step
        climb.cycle(now)
    for age in climb.ages:
        span = min(age, HORIZON // ladder.RATIO)
        if created_at < now - age - span - 300 * SECOND:
            seen = [at for at, window in climb.of(age) if window.low <= created_at < window.high]
            assert len(seen) == 1, "a level reads each row again once"
            assert seen[0] >= created_at + age


@given(st.lists(st.integers(1, 3 * HORIZON), min_size=1, max_size=30), st.integers(1, 3 * HORIZON))
def test_nothing_older_than_the_memory_is_read_again(seconds: list[int], page: int) -> None:
    """Not even after long absences: its record may be forgotten, and it would be told a second time."""
    climb = Climb(page=page // 2 + 1, most=page)
    now = 0
    for step in seconds:
        now += step
        climb.cycle(now)
    assert all(rung.window.low >= at - ladder.memory(HORIZON) for at, rung in climb.read)
    assert all(rung.window.span <= page + climb.page for _, rung in climb.read)


@given(st.lists(st.tuples(st.integers(1, HORIZON), st.integers(1, 6)), max_size=20), st.integers(1, HORIZON))
def test_a_level_reads_on_from_where_it_ended_also_when_levels_come_and_go(
    cycles: list[tuple[int, int]], page: int
) -> None:
    climb = Climb(page=page)
    now = 0
    for step, levels in cycles:
        now += step
        climb.levels = levels
        climb.cycle(now)
    for age in ladder.ages(OVERLAP, HORIZON, ALL):
        assert all(one.high <= other.low for (_, one), (_, other) in pairwise(climb.of(age)))


def test_a_level_that_was_away_goes_on_from_its_mark() -> None:
    climb = Climb()
    climb.cycle(3000 * SECOND)
    marks = dict(climb.marks)
    climb.levels = 1
    climb.cycle(3100 * SECOND)
    assert climb.marks == marks
    climb.levels = ALL
    rungs = {rung.level: rung.window.low for rung in climb.due(3500 * SECOND)}
    assert rungs[64] == marks[64]
    assert rungs[256] == marks[256]


def test_a_level_without_a_mark_begins_where_coverage_does() -> None:
    climb = Climb(begin=1000 * SECOND)
    assert climb.cycle(1127 * SECOND) == 0
    assert climb.cycle(1128 * SECOND) == 1
    assert climb.read[0][1] == ladder.Rung(
        64, Interval(Micros(1000 * SECOND), Micros(1064 * SECOND)), Micros(1000 * SECOND)
    )
    assert climb.marks == {64: 1064 * SECOND}


def test_what_may_have_been_forgotten_is_not_read_again_whatever_the_mark_says() -> None:
    climb = Climb(marks={64: Micros(500 * SECOND)}, begin=1000 * SECOND)
    climb.cycle(1200 * SECOND)
    assert {rung.window.low for _, rung in climb.read} == {1000 * SECOND}


def test_a_rung_moves_only_its_own_level() -> None:
    rung = ladder.Rung(256, Interval(Micros(5), Micros(9)), Micros(5))
    before = {64: Micros(7), 256: Micros(5)}
    assert ladder.climbed(before, rung) == {64: 7, 256: 9}
    assert before == {64: 7, 256: 5}


def test_a_window_is_read_once_it_fills_a_page_and_by_as_many_pages_as_are_enough() -> None:
    page = 10 * SECOND
    climb = Climb(page=page)
    now = 64 * SECOND + 35 * SECOND
    (rung,) = climb.due(now)
    assert (rung.window, rung.until) == (Interval(Micros(0), Micros(35 * SECOND)), 0)
    assert climb.reached(rung).span == page
    climb.pages = 4
    assert climb.reached(*climb.due(now)).span == 3 * page
    climb.marks = {64: Micros(26 * SECOND)}
    assert climb.due(now) == []


@pytest.mark.parametrize(("behind", "until"), [(900, 0), (1000, 100), (1700, 300)])
def test_all_that_presses_is_read_up_to_a_span(behind: int, until: int) -> None:
    climb = Climb(page=10 * SECOND, most=300 * SECOND, levels=1)
    (rung,) = climb.due((3600 + behind) * SECOND)
    assert rung.until == until * SECOND


def test_the_level_most_behind_for_its_age_comes_first() -> None:
    now = 100_000 * SECOND
    climb = Climb(marks={64: Micros(now - 200 * SECOND), 3600: Micros(now - (3600 + 3 * 900) * SECOND)})
    climb.marks |= {level: Micros(now - level * SECOND) for level in (256, 1024)}
    assert [rung.level for rung in climb.due(now)] == [64, 3600]  # 136 of 64 s; 1800 of 900 s
    climb.marks[64] = Micros(now - 150 * SECOND)
    assert [rung.level for rung in climb.due(now)] == [3600, 64]


def test_only_the_last_level_presses_once_it_is_more_than_a_window_behind() -> None:
    def presses(level: int, behind: int) -> bool:
        low = Micros(DAY - level * SECOND - behind * SECOND)
        rung = ladder.Rung(level, Interval(low, Micros(low + SECOND)), low)
        return ladder.pressing(rung, now=Micros(DAY), horizon=HORIZON)

    assert not presses(3600, 900)
    assert presses(3600, 901)
    assert not presses(1024, 10_000)


@pytest.mark.parametrize(
    ("rate", "horizon"),
    [(0.05, HORIZON), (0.2, DAY), (2.0, HORIZON), (5.0, HORIZON), (20.0, HORIZON), (200.0, HORIZON)],
)
def test_a_share_of_the_requests_never_leaves_a_row_unread(rate: float, horizon: int) -> None:
    """Where many rows arrive, the share may not even pay for the last level: it is read all the same."""
    thrift, climb, interval = Thrift(), Climb(horizon=horizon), 5.0 if rate < 1 else 2.0
    climb.page, now = round(PAGE / rate * SECOND), 0
    present = max(1, round(rate * 3 / 90))
    while now < 3 * horizon:
        now += round(interval * SECOND)
        climb.levels = ladder.levels_affordable(rate, thrift.spending)
        climb.pages = max(1, int(thrift.credit))
        rungs = climb.due(now)[:1]
        again = 0
        if rungs and (thrift.credit >= 1 or ladder.pressing(rungs[0], now=Micros(now), horizon=horizon)):
            again = ceil(rate * climb.reached(rungs[0]).span / SECOND / PAGE)
            climb.cycle(now, 1)
        thrift = thrift.spent(present=present, again=again, seconds=interval)
    last = [window for _, window in climb.of(horizon)]
    assert last[0].low == 0
    assert all(one.high == other.low for one, other in pairwise(last)), "nothing is passed over"
    assert last[-1].high >= now - horizon - 2 * (horizon // ladder.RATIO)


def test_each_level_costs_one_more_download_of_every_row_and_few_requests() -> None:
    """Once all seven levels are at work: some 78 reads an hour, 56 of them the youngest level's."""
    climb = Climb(horizon=DAY, page=30 * DAY)
    for now in range(0, 4 * 86_400, 30):
        climb.cycle(now * SECOND)
    last_two_days = [rung.window for at, rung in climb.read if at > 2 * DAY]
    spans = sum(window.span for window in last_two_days)
    assert spans / (2 * DAY) == pytest.approx(len(climb.ages), rel=0.05)
    assert len(last_two_days) / 48 == pytest.approx(
        sum(3600 / (30 * ceil(min(age // SECOND, 21_600) / 30)) for age in climb.ages), rel=0.05
    )
