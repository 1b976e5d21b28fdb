"""How many deliveries a lane takes at a time."""

from __future__ import annotations

import pytest

from watcher.webhooks.pace import Ahead


def test_claims_are_held_ahead_for_a_tenth_of_a_second() -> None:
    ahead = Ahead(0.0)
    assert ahead.size(0.001) == 0
    for _ in range(100):
        ahead.sent()
    assert ahead.size(0.1) == 100
    assert ahead.size(0.11) == 100  # too short to measure anew
    assert ahead.size(0.2) == 0  # nothing was sent since


@pytest.mark.parametrize(("sent", "seconds", "size"), [(8, 15.0, 0), (1000, 1.0, 100), (100_000, 1.0, 256)])
def test_a_slow_endpoint_has_none_ahead_and_a_fast_one_is_bounded(
    sent: int, seconds: float, size: int
) -> None:
    ahead = Ahead(0.0)
    for _ in range(sent):
        ahead.sent()
    assert ahead.size(seconds) == size


@pytest.mark.parametrize(("sent", "at_once"), [(0, 1), (7, 1), (80, 2), (1000, 25), (100_000, 64)])
def test_outcomes_are_gathered_for_a_fortieth_of_a_second(sent: int, at_once: int) -> None:
    ahead = Ahead(0.0)
    for _ in range(sent):
        ahead.sent()
    ahead.size(1.0)
    assert ahead.at_once == at_once
