"""What ``watcher backfill`` makes of its command line."""

from __future__ import annotations

import math

import pytest

from watcher.cli.backfill import SHARE, read_words
from watcher.errors import ConfigurationError
from watcher.model import EntityId, Micros, Scope, from_seconds

NOW = from_seconds(1_800_000_000.0)


def test_without_an_end_it_goes_up_to_now_and_takes_a_share_of_the_budget() -> None:
    asked = read_words(NOW, 24.0, "2026-01-01", None, (), None)
    assert (asked.high, asked.until_now, asked.rate) == (NOW, True, 24 * SHARE)


def test_an_end_yet_to_come_is_now() -> None:
    """So the same command, given again, asks for the same."""
    asked = read_words(NOW, 24.0, "2026-01-01", "2999-01-01", (), None)
    again = read_words(Micros(NOW + 1), 24.0, "2026-01-01", "2999-01-01", (), None)
    assert asked.request([Scope()], 1).same_as(again.request([Scope()], 1))


def test_shards_that_work_at_the_same_time_share_the_rate() -> None:
    asked = read_words(NOW, 24.0, "2026-01-01", None, (), 8.0)
    requests = [asked.request([Scope(EntityId(str(number)))], 4) for number in range(4)]
    assert sum(request.rate for request in requests) == 8.0


def test_nothing_is_older_than_the_epoch() -> None:
    assert read_words(NOW, 24.0, "0001-01-01T00:00+14:00", None, (), None).low == 0


@pytest.mark.parametrize(
    ("since", "until", "rate", "fault"),
    [
        (None, None, None, "--from: say where to begin"),
        ("soon", None, None, "--from: 'soon' is not a time"),
        ("2026-01-02", "2026-01-01", None, "--from: 2026-01-02 is not before 2026-01-01"),
        ("2998-01-01", "2999-01-01", None, "--from: 2998-01-01 is not before now"),
        ("2026-01-01", None, math.inf, "--rate: inf is not a number"),
    ],
)
def test_what_is_wrong_is_said(since: str | None, until: str | None, rate: float | None, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        read_words(NOW, 24.0, since, until, (), rate)
