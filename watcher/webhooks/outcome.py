"""What an attempt gave, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final, assert_never

import msgspec

from watcher.webhooks.retry import next_attempt, retry_after_seconds


class Reason(StrEnum):
    """Why an attempt ended as it did. A closed set, so that it can be a metric's label."""

    SUCCESS = "success"
    HTTP_3XX = "http_3xx"
    HTTP_408 = "http_408"
    HTTP_409 = "http_409"
    HTTP_410 = "http_410"
    HTTP_425 = "http_425"
    HTTP_429 = "http_429"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    DNS = "dns"
    ADDRESS_REFUSED = "address_refused"
    CONNECT = "connect"
    PROXY = "proxy"
    TLS = "tls"
    TIMEOUT = "timeout"
    WRITE = "write"
    READ = "read"
    PROTOCOL = "protocol"
    INTERNAL = "internal"
    EVENT_GONE = "event_gone"
    EVENT_MALFORMED = "event_malformed"


NEVER_SENT: Final = frozenset({Reason.EVENT_GONE, Reason.EVENT_MALFORMED})
"""Reasons for which there was no request at all."""

UNCOUNTED: Final = NEVER_SENT | {Reason.HTTP_410}
"""Reasons that use up no attempt of the schedule: a 410 says that nothing is wanted for now, not that this failed."""


class Attempt(msgspec.Struct, frozen=True):
    """One request to an endpoint.

    ``status`` is None where no answer came; where the reason is ``proxy``, it is the proxy's. ``retry_after`` is the
    header as it came. ``answer`` is the beginning of the answer's body; it may hold personal data and goes into a
    dead letter only. ``seconds`` is how long the attempt took.
    """

    reason: Reason
    seconds: float = 0.0
    status: int | None = None
    retry_after: str | None = None
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The endpoint has the event."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt is due at ``at`` (unix seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Dead:
    """No further attempt; the event goes to the dead letters."""


Outcome = Delivered | Retry | Dead


@dataclass(frozen=True, slots=True)
class Effect:
    """What an attempt says of the endpoint as a whole, beside the delivery.

    ``answered``: it is at work, whatever it thinks of the event; if it refuses everything for days, it has failed all
    the same. ``failed``: it counts among the failures in a
    row. ``hold_until``: nothing is to be sent before (unix seconds). ``busy``: nothing for a moment, it did not say how
    long. ``gone``: the endpoint wants no more, so it is paused.
    """

    answered: bool = False
    failed: bool = False
    hold_until: float | None = None
    busy: bool = False
    gone: bool = False

    @property
    def stops(self) -> bool:
        """Whether nothing more is to be sent now."""
        return self.gone or self.busy or self.hold_until is not None


NO_EFFECT: Final = Effect()
ANSWERED: Final = Effect(answered=True)
FAILED: Final = Effect(failed=True)
BUSY: Final = Effect(failed=True, busy=True)
_BUSY: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Statuses that speak of the endpoint's load, so that all of its deliveries wait (Standard Webhooks 1.0)."""


def reason_of(status: int) -> Reason:
    """The reason that an answer's status stands for. Only 2xx is a success; redirects are not followed."""
    if 200 <= status < 300:
        return Reason.SUCCESS
    match status:
        case HTTPStatus.REQUEST_TIMEOUT:
            return Reason.HTTP_408
        case HTTPStatus.CONFLICT:
            return Reason.HTTP_409
        case HTTPStatus.GONE:
            return Reason.HTTP_410
        case HTTPStatus.TOO_EARLY:
            return Reason.HTTP_425
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Reason.HTTP_429
    match status // 100:
        case 3:
            return Reason.HTTP_3XX
        case 4:
            return Reason.HTTP_4XX
        case 5:
            return Reason.HTTP_5XX
        case _:
            return Reason.HTTP_OTHER


def decide(attempt: Attempt, *, made: int, schedule: Sequence[float], now: float, jitter: float) -> Outcome:
    """What follows from an attempt, the last of ``made``. ``now`` is in unix seconds, ``jitter`` from 0 to 1.

    Whatever failed is tried again by the schedule, since most of what looks final (a 404 amid a deployment,
    a name that does not resolve) passes; only an event that is not there can never be sent. What met a 410 is
    due again at once, and that is when somebody lets the endpoint go on: it is kept, however often it happens.
    """
    match attempt.reason:
        case Reason.SUCCESS:
            return Delivered()
        case Reason.EVENT_GONE | Reason.EVENT_MALFORMED:
            return Dead()
        case Reason.HTTP_410:
            return Retry(now)
        case (
            Reason.HTTP_3XX
            | Reason.HTTP_408
            | Reason.HTTP_409
            | Reason.HTTP_425
            | Reason.HTTP_429
            | Reason.HTTP_4XX
            | Reason.HTTP_5XX
            | Reason.HTTP_OTHER
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
        ):
            wait = retry_after_seconds(attempt.retry_after, now=now)
            at = next_attempt(schedule, made=made, now=now, jitter=jitter, retry_after=wait)
            return Dead() if at is None else Retry(at)
        case _:
            assert_never(attempt.reason)


def effect_of(attempt: Attempt, *, now: float) -> Effect:
    """What an attempt says of its endpoint. ``now`` is in unix seconds.

    An answer that may be the event's fault (a 4xx that names no other cause) says only that it is at work; what is
    busy is held for as long as it asks, or for a moment; 410 pauses it.
    """
    match attempt.reason:
        case Reason.HTTP_410:
            return Effect(gone=True)
        case Reason.SUCCESS | Reason.HTTP_409 | Reason.HTTP_425 | Reason.HTTP_4XX:
            return ANSWERED
        case Reason.INTERNAL | Reason.EVENT_GONE | Reason.EVENT_MALFORMED:
            return NO_EFFECT
        case (
            Reason.HTTP_3XX
            | Reason.HTTP_408
            | Reason.HTTP_429
            | Reason.HTTP_5XX
            | Reason.HTTP_OTHER
            | Reason.DNS
            | Reason.ADDRESS_REFUSED
            | Reason.CONNECT
            | Reason.PROXY
            | Reason.TLS
            | Reason.TIMEOUT
            | Reason.WRITE
            | Reason.READ
            | Reason.PROTOCOL
        ):
            if attempt.status not in _BUSY:
                return FAILED
            wait = retry_after_seconds(attempt.retry_after, now=now)
            return Effect(failed=True, hold_until=now + wait) if wait else BUSY
        case _:
            assert_never(attempt.reason)
