"""What a first run covers and tells, and how the policy becomes the planner's."""

from __future__ import annotations

import pytest

from watcher.model import SECOND, Micros, from_seconds
from watcher.polling.planner import Policy
from watcher.polling.scanner import LOOKBACK, PollPolicy, StartMode, first_start
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


@pytest.mark.parametrize(
    ("interval", "rate", "allowance"), [(5.0, 24.0, 6), (5.0, 1.0, 1), (0.2, 24.0, 1), (60.0, 24.0, 72)]
)
def test_the_past_may_have_a_part_of_the_budget(interval: float, rate: float, allowance: int) -> None:
    given = PollPolicy("all", frozenset(), interval=interval, requests_per_second=rate, horizon=60.0)
    assert given.planning == Policy(30 * SECOND, 60 * SECOND, allowance)
