"""What a first run covers and tells, and how the policy becomes the planner's."""

from __future__ import annotations

import pytest

from watcher.model import SECOND, Micros, from_seconds
from watcher.polling.policy import LOOKBACK, PollPolicy, StartMode, first_start
from watcher.polling.situation import Policy
from watcher.state.records import Start

NOW = from_seconds(1_800_000_000)


def policy(start: StartMode = "baseline", stalled_after: float = 300.0) -> PollPolicy:
    return PollPolicy(start, frozenset({"success"}), stalled_after=stalled_after)


def ago(seconds: float) -> Micros:
    return Micros(NOW - round(seconds * SECOND))


@pytest.mark.parametrize(("stalled_after", "lookback"), [(300.0, LOOKBACK), (3600.0, 3600.0)])
def test_a_baseline_tells_of_nothing_before_it_and_looks_back_a_little(
    stalled_after: float, lookback: float
) -> None:
    start = first_start(policy(stalled_after=stalled_after), NOW, earliest=ago(10**8))
    assert start == Start(NOW, NOW, ago(lookback))


def test_all_begins_before_the_oldest_row() -> None:
    assert first_start(policy("all"), NOW, earliest=ago(10**8)) == Start(NOW, 0, ago(10**8 + 30))


def test_all_of_nothing_begins_now() -> None:
    assert first_start(policy("all"), NOW, earliest=ago(-5)) == Start(NOW, 0, ago(30))


def test_a_time_begins_there() -> None:
    assert first_start(policy(ago(9000)), NOW, earliest=ago(10**8)) == Start(NOW, ago(9000), ago(9000))


def test_a_time_to_come_covers_from_now_on() -> None:
    assert first_start(policy(ago(-60)), NOW, earliest=NOW) == Start(NOW, ago(-60), NOW)


@pytest.mark.parametrize(("kinds", "early"), [({"success"}, False), ({"success", "processing"}, True)])
def test_the_planner_is_told_in_microseconds_and_whether_a_beginning_is_news(
    kinds: set[str], early: bool
) -> None:
    given = PollPolicy("all", frozenset(kinds), interval=0.2, horizon=60.0)
    assert given.planning == Policy(interval=200_000, horizon=60 * SECOND, early=early)
