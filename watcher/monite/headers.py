"""What the head of an answer says besides its status. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from watcher.model import SECOND, Micros, from_datetime
from watcher.monite.messages import clean

MAX_LABEL: Final = 128
"""Characters of a request id that are kept."""

_REMAINING: Final = ("ratelimit-remaining", "x-ratelimit-remaining-second")
_LIMIT: Final = ("ratelimit-limit", "x-ratelimit-limit-second")

# Nine digits are thirty years; with more it is no duration, and int() would balk at thousands of them.
_is_seconds = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?").fullmatch
_is_count = re.compile(r"[0-9]{1,9}").fullmatch


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer.

    ``retry_after`` is in seconds from its arrival; ``remaining`` counts the requests that the API's own
    limiter still allows, of ``limit`` in all; ``moved_to`` is the origin that a redirect names.
    """

    status: int
    date: Micros | None = None
    retry_after: float | None = None
    remaining: int | None = None
    limit: int | None = None
    request_id: str | None = None
    process_time: str | None = None
    moved_to: str | None = None

    @property
    def good(self) -> bool:
        """Whether the API did what it was asked (2xx)."""
        return 200 <= self.status < 300


def read_head(status: int, headers: Mapping[str, str], now: Micros) -> Head:
    """What these headers say; what cannot be read counts as absent. ``now`` is our own wall time.

    Names are looked up in lower case.
    """
    date = _date(headers.get("date"))
    return Head(
        status=status,
        date=date,
        # Measured on the API's own clock where it tells it. Its cut-off fraction makes the wait longer, never
        # shorter.
        retry_after=_retry_after(headers.get("retry-after"), now if date is None else date),
        remaining=_least(headers, _REMAINING),
        limit=_least(headers, _LIMIT),
        request_id=_label(headers.get("x-request-id")),
        process_time=_label(headers.get("x-process-time")),
        moved_to=_origin(headers.get("location")) if 300 <= status < 400 else None,
    )


def _retry_after(text: str | None, now: Micros) -> float | None:
    """Seconds to wait: RFC 9110, 10.2.3 knows whole seconds and a date; fractions are understood as well."""
    if text is None:
        return None
    if _is_seconds(text.strip()):
        return float(text)
    instant = _date(text)
    return None if instant is None else max(0.0, (instant - now) / SECOND)


def _date(text: str | None) -> Micros | None:
    if text is None:
        return None
    try:
        return from_datetime(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _least(headers: Mapping[str, str], names: Sequence[str]) -> int | None:
    stated = [headers.get(name, "").strip() for name in names]
    return min((int(text) for text in stated if _is_count(text)), default=None)


def _label(text: str | None) -> str | None:
    return None if text is None else clean(text)[:MAX_LABEL].strip() or None


def _origin(location: str | None) -> str | None:
    try:
        parts = urlsplit(location or "")
        return clean(f"{parts.scheme}://{parts.hostname}") if parts.scheme and parts.hostname else None
    except ValueError:
        return None
