"""When a delivery that failed is tried again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_CAP: Final = 86_400.0
"""Longest ``Retry-After`` that is honoured, in seconds: no endpoint puts itself off for a year by mistake."""


def next_attempt(
    schedule: Sequence[float], *, made: int, now: float, jitter: float, retry_after: float | None
) -> float | None:
    """Moment of the attempt that follows ``made`` failed ones, or None where the schedule has no more.

    ``schedule[n]`` are the seconds between attempt n and the one before it. Of these, the fraction ``jitter``
    (0 to 1) is waited ("full jitter": uniform over the whole delay, which spreads a herd best), and in any
    case the ``retry_after`` seconds that the endpoint asked for. ``now`` and the result are unix seconds.
    """
    if made >= len(schedule):
        return None
    return now + max(schedule[made] * jitter, retry_after or 0.0)


def retry_after_seconds(value: str | None, *, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, at most 24 hours; None where it is not to be read.

    It holds seconds or an HTTP date in any of its three forms (RFC 9110, 10.2.3). ``now`` is in unix seconds.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_CAP)  # not int(), which refuses thousands of digits
    try:
        moment = parsedate_to_datetime(text)
        wait = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), RETRY_AFTER_CAP)
