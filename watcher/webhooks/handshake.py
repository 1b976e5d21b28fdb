"""The handshake by which an endpoint permits that it is sent to, and how fast. Pure.

It is the abuse protection of CloudEvents' HTTP 1.1 Web Hooks (1.0.2, section 4). Rates are in deliveries a second
here, and in requests a minute on the wire.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from watcher.webhooks.outcome import Attempt, Reason
from watcher.webhooks.retry import retry_after_seconds

ORIGIN_HEADER: Final = "webhook-request-origin"
"""Sent with the question, and with every delivery after it."""
_RATE_HEADER: Final = "webhook-request-rate"

RENEWED_AFTER: Final = 86_400.0
"""Seconds after which a permission is asked for again, so that one that was withdrawn does not last for ever."""

_FIRST: Final = 5.0
_LONGEST: Final = 300.0
_SHORTEST: Final = 1.0
"""Seconds between two questions; the shortest keeps chance from asking at once."""

_FASTEST: Final = 10_000.0
"""Deliveries a second; a permission for more is no bound, and as a number might be one that nobody can count with."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the request itself, and the headers ``WebHook-Allowed-Origin`` and ``-Rate`` as they came."""

    attempt: Attempt
    allowed_origin: str | None = None
    allowed_rate: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """It may be sent to, so many deliveries a second at most; None: as many as there are."""

    rate: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """It has answered, and its answer permits nothing; ``why`` says what it lacks."""

    why: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nothing was learned, as it is away or too busy; what it permitted before still holds."""

    why: str


Verdict = Granted | Refused | Unanswered


def question(origin: str, rate: float | None) -> Mapping[str, str]:
    """The headers that ask whether this origin may send, and ``rate`` deliveries a second if that is bounded."""
    wanted = {} if rate is None else {_RATE_HEADER: str(max(1, math.ceil(rate * 60)))}
    return {ORIGIN_HEADER: origin, **wanted}


def judge(reply: Reply, origin: str) -> Verdict:
    """What a reply to this origin's question says."""
    attempt = reply.attempt
    match attempt.reason:
        case Reason.SUCCESS:
            return _granted(reply, origin)
        case Reason.HTTP_3XX | Reason.HTTP_409 | Reason.HTTP_410 | Reason.HTTP_4XX | Reason.HTTP_OTHER:
            return Refused(_told(attempt))
        case (
            Reason.HTTP_408
            | Reason.HTTP_425
            | Reason.HTTP_429
            | Reason.HTTP_5XX
            | Reason.DNS
            | Reason.ADDRESS_REFUSED
            | Reason.CONNECT
            | Reason.PROXY
            | Reason.TLS
            | Reason.TIMEOUT
            | Reason.WRITE
            | Reason.READ
            | Reason.PROTOCOL
            | Reason.INTERNAL
            | Reason.EVENT_GONE
            | Reason.EVENT_MALFORMED
        ):
            return Unanswered(_told(attempt))
        case _:
            assert_never(attempt.reason)


def slowest(*rates: float | None) -> float | None:
    """The least of these rates, of which None is no bound."""
    return min((rate for rate in rates if rate is not None), default=None)


def ask_again_after(
    verdict: Verdict, *, failures: int, jitter: float, retry_after: str | None, now: float
) -> float:
    """Seconds until the question is asked again, of which ``failures`` in a row have permitted nothing.

    ``jitter``, from 0 to 1, is the part that is waited of a time that doubles with each ("full jitter"); never less
    than the ``Retry-After`` header asks for. ``now`` is in unix seconds.
    """
    if isinstance(verdict, Granted):
        return RENEWED_AFTER
    longest = min(_LONGEST, _FIRST * 2.0 ** min(max(failures - 1, 0), 30))
    return max(_SHORTEST, longest * jitter, retry_after_seconds(retry_after, now=now) or 0.0)


def _granted(reply: Reply, origin: str) -> Verdict:
    if reply.allowed_origin is None:
        return Refused("its answer to OPTIONS has no WebHook-Allowed-Origin")
    if reply.allowed_origin.strip().lower() not in (origin.lower(), "*"):
        return Refused(f"its WebHook-Allowed-Origin is neither {origin} nor *")
    rate = "*" if reply.allowed_rate is None else reply.allowed_rate.strip()
    if rate == "*":
        return Granted(None)
    if not (rate.isascii() and rate.isdigit() and float(rate)):
        return Refused("its WebHook-Allowed-Rate is neither a whole number above 0 nor *")
    return Granted(min(float(rate) / 60, _FASTEST))


def _told(attempt: Attempt) -> str:
    if attempt.status is None:
        return f"no answer to OPTIONS ({attempt.reason.value})"
    who = "the proxy" if attempt.reason is Reason.PROXY else "it"
    return f"{who} answers OPTIONS with {attempt.status}"
