"""When a failed delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhooks.builders import NOW
from watcher.settings import RETRY_SCHEDULE
from watcher.webhooks.retry import RETRY_AFTER_CAP, next_attempt, retry_after_seconds

fractions = st.floats(0, 1)


def test_the_default_schedule_makes_ten_attempts_in_75_hours() -> None:
    moment, made = NOW, 0
    while (
        at := next_attempt(RETRY_SCHEDULE, made=made, now=moment, jitter=1.0, retry_after=None)
    ) is not None:
        moment, made = at, made + 1
    assert made == 10
    assert round((moment - NOW) / 3600, 1) == 75.6


@given(st.integers(0, 9), fractions, st.none() | st.floats(0, RETRY_AFTER_CAP))
def test_jitter_is_full_and_retry_after_is_a_floor(
    made: int, jitter: float, retry_after: float | None
) -> None:
    at = next_attempt(RETRY_SCHEDULE, made=made, now=NOW, jitter=jitter, retry_after=retry_after)
    assert at is not None
    assert at >= NOW + (retry_after or 0.0)
    assert at <= NOW + max(RETRY_SCHEDULE[made], retry_after or 0.0)
    if retry_after is None:
        assert at == pytest.approx(NOW + RETRY_SCHEDULE[made] * jitter)


def test_no_wait_that_is_asked_for_adds_an_attempt() -> None:
    assert next_attempt(RETRY_SCHEDULE, made=10, now=NOW, jitter=0.5, retry_after=60.0) is None
    assert next_attempt((0.0,), made=1, now=NOW, jitter=0.5, retry_after=None) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("0000000000000000060", 60.0),
        ("86400", 86_400.0),
        ("86401", RETRY_AFTER_CAP),
        ("9" * 5000, RETRY_AFTER_CAP),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),  # IMF-fixdate
        ("Friday, 15-Jan-27 08:01:00 GMT", 60.0),  # RFC 850
        ("Fri Jan 15 08:01:00 2027", 60.0),  # asctime
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2099 07:00:00 GMT", RETRY_AFTER_CAP),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert datetime.fromtimestamp(NOW, UTC).isoformat() == "2027-01-15T08:00:00+00:00"
    assert retry_after_seconds(value, now=NOW) == seconds


@given(st.integers(0, 86_400))
def test_a_date_asks_for_as_long_as_it_is_away(seconds: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(date, now=NOW) == seconds


@given(st.text(max_size=60))
def test_no_header_breaks_it(value: str) -> None:
    wait = retry_after_seconds(value, now=NOW)
    assert wait is None or 0 <= wait <= RETRY_AFTER_CAP
