"""How many deliveries a lane takes at a time."""

from __future__ import annotations

import pytest

from watcher.webhooks.pace import MOST, Ahead, Portion


def test_claims_are_held_ahead_for_a_tenth_of_a_second() -> None:
    ahead = Ahead(0.0, claimed=Portion(MOST))
    assert ahead.size(0.001) == 0
    for _ in range(100):
        ahead.sent()
    assert ahead.size(0.1) == 100
    assert ahead.size(0.11) == 100  # too short to measure anew
    assert ahead.size(0.2) == 0  # nothing was sent since


@pytest.mark.parametrize(("sent", "seconds", "size"), [(8, 15.0, 0), (1000, 1.0, 100), (100_000, 1.0, 128)])
def test_a_slow_endpoint_has_none_ahead_and_a_fast_one_is_bounded(
    sent: int, seconds: float, size: int
) -> None:
    ahead = Ahead(0.0, claimed=Portion(MOST))
    for _ in range(sent):
        ahead.sent()
    assert ahead.size(seconds) == size


@pytest.mark.parametrize(
    ("number", "size", "fit"),
    [
        (10, 10 * 600, MOST),
        (1, 0, MOST),
        (128, 128 * 131_072, 64),
        (10, 10 * 2**20, 8),
        (3, 3 * 5 * 2**20, 1),
        (1, 2**30, 1),
    ],
)
def test_as_many_are_taken_as_fit_into_eight_mebibytes(number: int, size: int, fit: int) -> None:
    portion = Portion()
    assert portion.number == 16, "nobody knows yet"
    portion.came(number, size)
    assert portion.number == fit
    portion.came(0, 0)
    assert portion.number == fit


def test_a_lane_holds_no_more_than_fits_of_what_was_claimed_or_accepted_last() -> None:
    ahead = Ahead(0.0)
    for _ in range(1000):
        ahead.sent()
    assert (ahead.portion, ahead.size(1.0), ahead.at_once) == (16, 16, 8)
    ahead.claimed.came(16, 16 * 600)
    assert (ahead.portion, ahead.size(1.0), ahead.at_once) == (MOST, 100, 50)
    ahead.accepted.came(1, 2 * 2**20)
    assert (ahead.portion, ahead.size(1.0), ahead.at_once) == (4, 4, 2)
    ahead.accepted.came(100, 60_000)
    ahead.claimed.came(4, 8 * 2**20)
    assert (ahead.portion, ahead.size(1.0)) == (4, 4)


@pytest.mark.parametrize(("sent", "at_once"), [(0, 1), (7, 1), (80, 4), (1000, 50), (100_000, 64)])
def test_outcomes_are_gathered_for_a_twentieth_of_a_second(sent: int, at_once: int) -> None:
    ahead = Ahead(0.0, claimed=Portion(MOST))
    for _ in range(sent):
        ahead.sent()
    ahead.size(1.0)
    assert ahead.at_once == at_once
