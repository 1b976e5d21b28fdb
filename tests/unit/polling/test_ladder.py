"""The ladder: what is read again, at what age, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.state.coverage import Interval

OVERLAP = 30 * SECOND
HORIZON = 3600 * SECOND
DAY = 86_400 * SECOND


@dataclass
class Climb:
    """A simulated daemon that reads whatever is due, cycle by cycle, all within ``horizon``."""

    begin: int = 0
    horizon: int = HORIZON
    width: int = 10 * HORIZON
    marks: dict[int, Micros] = field(default_factory=dict)
    read: list[tuple[int, ladder.Rung]] = field(default_factory=list)

    def cycle(self, now: int) -> int:
        due = list(
            ladder.due(
                self.marks,
                now=Micros(now),
                begin=Micros(self.begin),
                overlap=OVERLAP,
                horizon=self.horizon,
                width=self.width,
            )
        )
        for rung in due:
            self.marks = ladder.climbed(self.marks, rung)
            self.read.append((now, rung))
        return len(due)

    def of(self, level: int) -> list[tuple[int, Interval]]:
        return [(now, rung.window) for now, rung in self.read if rung.level == level]


@pytest.mark.parametrize(
    ("overlap", "horizon", "expected"),
    [
        (30, 86_400, (120, 480, 1920, 7680, 30_720, 86_400)),
        (30, 3600, (120, 480, 1920, 3600)),
        (30, 480, (120, 480)),
        (30, 120, (120,)),
        (30, 60, (60,)),
        (30, 1, (1,)),
    ],
)
def test_ages_rise_by_the_ratio_and_end_with_the_horizon(
    overlap: int, horizon: int, expected: tuple[int, ...]
) -> None:
    assert ladder.ages(overlap, horizon) == expected


steps = st.lists(st.integers(1, 300 * SECOND), min_size=1, max_size=60)


@given(steps, st.integers(1200, 20_000), st.integers(0, 9000 * SECOND), st.data())
def test_a_row_late_by_less_than_a_levels_age_is_read_at_that_age_or_later(
    seconds: list[int], width: int, created_at: int, data: st.DataObject
) -> None:
    climb = Climb(width=width * SECOND)
    now = 0
    for step in [*seconds, *data.draw(st.permutations([250 * SECOND] * 50 + [97 * SECOND] * 30))]:
        now += step
        climb.cycle(now)
    for level, age in enumerate(ladder.ages(OVERLAP, HORIZON)):
        span = min(age, HORIZON // ladder.RATIO)
        if created_at < now - age - span - 300 * SECOND:
            seen = [at for at, window in climb.of(level) if window.low <= created_at < window.high]
            assert len(seen) == 1, "a level reads each row again once"
            assert seen[0] >= created_at + age


@given(st.lists(st.integers(1, 3 * HORIZON), min_size=1, max_size=30), st.integers(1, 3 * HORIZON))
def test_nothing_older_than_the_memory_is_read_again(seconds: list[int], width: int) -> None:
    """Not even after long absences: its record may be forgotten, and it would be told a second time."""
    climb = Climb(width=width)
    now = 0
    for step in seconds:
        now += step
        climb.cycle(now)
    assert all(rung.window.low >= at - ladder.memory(HORIZON) for at, rung in climb.read)
    assert all(rung.window.high - rung.window.low <= width for _, rung in climb.read)


@given(st.lists(st.integers(1, HORIZON), max_size=20), st.integers(1, HORIZON))
def test_a_level_reads_on_from_where_it_ended(seconds: list[int], width: int) -> None:
    climb = Climb(width=width)
    now = 0
    for step in seconds:
        now += step
        climb.cycle(now)
    for level in range(len(ladder.ages(OVERLAP, HORIZON))):
        windows = [window for _, window in climb.of(level)]
        assert all(one.high <= other.low for one, other in pairwise(windows))


def test_a_level_without_a_mark_begins_where_coverage_does() -> None:
    climb = Climb(begin=1000 * SECOND)
    assert climb.cycle(1239 * SECOND) == 0
    assert climb.cycle(1240 * SECOND) == 1
    assert climb.read[0][1] == ladder.Rung(0, Interval(Micros(1000 * SECOND), Micros(1120 * SECOND)))
    assert climb.marks == {0: 1120 * SECOND}


def test_a_rung_moves_only_its_own_level() -> None:
    rung = ladder.Rung(1, Interval(Micros(5), Micros(9)))
    before = {0: Micros(7), 1: Micros(5)}
    assert ladder.climbed(before, rung) == {0: 7, 1: 9}
    assert before == {0: 7, 1: 5}


def test_each_level_costs_one_more_download_of_every_row_and_few_requests() -> None:
    """Once all six levels are at work: 40 reads an hour."""
    climb = Climb(horizon=DAY, width=30 * DAY)
    for now in range(0, 4 * 86_400, 30):
        climb.cycle(now * SECOND)
    last_two_days = [window for at, rung in climb.read if at > 2 * DAY for window in (rung.window,)]
    spans = sum(window.high - window.low for window in last_two_days)
    assert spans / (2 * DAY) == pytest.approx(len(ladder.ages(OVERLAP, DAY)), rel=0.05)
    assert len(last_two_days) / 48 == pytest.approx(40, rel=0.05)
