"""How many deliveries a lane takes at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.webhooks.pace import Ahead, TokenBucket


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 500)), min_size=1, max_size=50),
)
def test_no_window_lets_more_through_than_rate_and_burst(rate: float, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate)
    now = 100.0
    sent: list[tuple[float, int]] = []
    for wait, wanted in steps:
        now += wait
        count = min(wanted, bucket.available(now))
        bucket.take(count)
        sent.append((now, count))
    for first, (begin, _) in enumerate(sent):
        total = 0
        for end, count in sent[first:]:
            total += count
            assert total <= rate * (end - begin) + bucket.capacity + 1e-3


@given(st.floats(0.01, 10_000))
def test_waiting_as_long_as_it_says_yields_a_token(rate: float) -> None:
    bucket = TokenBucket(rate)
    now = 5.0
    for _ in range(20):
        bucket.take(bucket.available(now))
        now += bucket.wait()
        assert bucket.available(now) >= 1


def test_a_slow_rate_is_kept_over_a_minute() -> None:
    bucket, now, sent = TokenBucket(0.5), 0.0, 0
    while now <= 60:
        got = bucket.available(now)
        bucket.take(got)
        sent += got
        now += 0.25
    assert sent == 31  # the first at once, then one every two seconds


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = TokenBucket(1)
    bucket.take(bucket.available(1.0))
    assert bucket.available(1.0) == 0
    assert bucket.available(0.5) == 0


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
