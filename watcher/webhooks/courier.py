"""Carries one claimed delivery to its endpoint and says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, assert_never

import msgspec
import structlog

from watcher.clock import Clock
from watcher.events.envelope import EventFormatError, from_fields, thin, to_body
from watcher.metrics import Metrics
from watcher.model import Event
from watcher.settings import Endpoint
from watcher.steps import Step, reached
from watcher.webhooks.delivery import (
    REMEMBERED,
    Claim,
    Died,
    GiveBack,
    Overtaken,
    Past,
    Record,
    Retried,
    Settlement,
    Superseded,
)
from watcher.webhooks.outcome import (
    NEVER_SENT,
    UNCOUNTED,
    Attempt,
    Dead,
    Delivered,
    Effect,
    Outcome,
    Reason,
    Retry,
    decide,
    effect_of,
)
from watcher.webhooks.sender import Sender
from watcher.webhooks.signing import headers_of, signing_key

CLAIM_MARGIN: Final = 15.0
"""Seconds that a claim lasts beyond the endpoint's timeout. Did it end amid an attempt, two would send."""

_SETTLE_SECONDS: Final = 5.0
"""The part of the margin that is kept for writing the outcome down."""

_SUPERSEDED: Final = "superseded"
"""Stands among the outcomes of attempts, though there was none: what is passed over is counted, too."""


class Ready(msgspec.Struct, frozen=True):
    """A claimed delivery that lacks nothing but to be sent.

    ``problem`` is why it cannot be sent at all; then ``event`` may be None. ``time`` is the event's, in unix
    seconds. The headers hold the signature of the body at ``timestamp``.
    """

    claim: Claim
    event: Event | None
    problem: Reason | None = None
    time: float = 0.0
    body: bytes = b""
    timestamp: int = 0
    headers: Mapping[str, str] = {}


class Attempted(msgspec.Struct, frozen=True):
    """A delivery that was attempted, which ended at ``ended`` (unix seconds)."""

    ready: Ready
    attempt: Attempt
    ended: float

    @property
    def effect(self) -> Effect:
        """What it says of the endpoint."""
        return effect_of(self.attempt, now=self.ended)


class Courier:
    """Attempts deliveries to one endpoint, in three steps of which only the middle one waits.

    Preparing and concluding are done for many at a time: a step that is still in the processor's caches
    takes a third of what it takes between two requests. ``jitter`` gives a fraction from 0 to 1, anew each time.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sender: Sender,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._endpoint = endpoint
        self._keys = tuple(signing_key(secret.get_secret_value()) for secret in endpoint.secrets)
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._delay = metrics.delivery_delay
        # Kept: finding a counter by its labels takes longer than to count.
        self._attempts = cache(partial(metrics.delivery_attempts.labels, endpoint.name))
        self._log = structlog.get_logger().bind(endpoint=endpoint.name)

    @property
    def claim_seconds(self) -> float:
        """How long a claim must last."""
        return self._endpoint.timeout + CLAIM_MARGIN

    def prepare(self, claim: Claim) -> Ready:
        """Read the event and sign it."""
        if not claim.fields:
            return Ready(claim, None, Reason.EVENT_GONE)
        event = None
        try:
            event = from_fields(claim.fields)
            time = _seconds(event.time)
            body = to_body(event)
            if len(body) > self._endpoint.max_bytes:
                body = to_body(thin(event))
        except EventFormatError:
            return Ready(claim, event, Reason.EVENT_MALFORMED)
        timestamp = int(self._clock.time())
        headers = headers_of(self._keys, event.id, timestamp, body)
        return Ready(claim, event, None, time, body, timestamp, headers)

    async def attempt(self, ready: Ready) -> Attempted | GiveBack:
        """Attempt a delivery once; not when its claim could end meanwhile, having lain here too long."""
        now = self._clock.time()
        if now + self._endpoint.timeout + _SETTLE_SECONDS > ready.claim.ends / 1000:
            return GiveBack()
        if ready.event is None or ready.problem is not None:
            return Attempted(ready, Attempt(ready.problem or Reason.EVENT_GONE), now)
        headers = ready.headers
        if int(now) != ready.timestamp:
            headers = headers_of(self._keys, ready.event.id, int(now), ready.body)
        reached(Step.DELIVERY_SIGNED)
        attempt = await self._sender.send(ready.body, headers)
        reached(Step.DELIVERY_ANSWERED)
        return Attempted(ready, attempt, self._clock.time())

    def conclude(self, attempted: Attempted) -> Settlement:
        """Decide what follows from an attempt; count it and tell of it."""
        claim, attempt, ended = attempted.ready.claim, attempted.attempt, attempted.ended
        earlier = 0 if claim.record is None else claim.record.count
        made = earlier if attempt.reason in UNCOUNTED else earlier + 1
        schedule = self._endpoint.retry_schedule
        outcome = decide(attempt, made=made, schedule=schedule, now=ended, jitter=self._jitter())
        self._attempts(attempt.reason).inc()
        self._tell(attempted, earlier + (attempt.reason not in NEVER_SENT), outcome)
        match outcome:
            case Delivered():
                self._delay.observe(max(0.0, ended - attempted.ready.time))
                return Settlement(claim, outcome)
            case Retry(at):
                return Settlement(claim, Retried(at, _record(attempted, made)), attempted.effect)
            case Dead():
                died = Died(_record(attempted, made), attempt.answer)
                return Settlement(claim, died, attempted.effect)
            case _:
                assert_never(outcome)

    def pass_over(self, overtaken: Overtaken) -> Settlement:
        """Count a delivery that is not to be sent any more, and tell of it."""
        claim = overtaken.claim
        self._attempts(_SUPERSEDED).inc()
        self._log.info(
            "delivery.superseded",
            event_id=claim.fields.get(b"id", b"").decode(errors="replace") or None,
            type=claim.fields.get(b"type", b"").decode(errors="replace") or None,
            entry_id=claim.entry_id,
            superseded_by=overtaken.by or None,
        )
        return Settlement(claim, Superseded())

    def _tell(self, attempted: Attempted, number: int, outcome: Outcome) -> None:
        """The canonical line of an attempt. The answer is not in it: it may hold personal data."""
        claim, event, attempt = attempted.ready.claim, attempted.ready.event, attempted.attempt
        facts: dict[str, Any] = {
            "event_id": None if event is None else event.id,
            "type": None if event is None else event.type,
            "entry_id": claim.entry_id,
            "attempt": number,
            "reason": attempt.reason.value,
            "status": attempt.status,
            "duration_ms": round(attempt.seconds * 1000, 1),
        }
        if claim.asked:
            facts["replayed"] = True
        match outcome:
            case Delivered():
                self._log.info("delivery.attempted", outcome="delivered", **facts)
            case Retry(at):
                wait = round(at - attempted.ended, 1)
                self._log.warning("delivery.attempted", outcome="retry", retry_in=wait, **facts)
            case Dead():
                self._log.error("delivery.attempted", outcome="dead", **facts)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError as error:
        raise EventFormatError("its time is not ISO 8601") from error


def _record(attempted: Attempted, made: int) -> Record:
    last = int(attempted.ended * 1000)
    earlier, attempt = attempted.ready.claim.record, attempted.attempt
    history = () if earlier is None else earlier.history
    if attempt.reason not in NEVER_SENT:
        answer = attempt.answer.decode(errors="replace")
        duration = round(attempt.seconds * 1000)
        history = (*history, Past(last, duration, attempt.status, attempt.reason, answer))
    return Record(
        count=made,
        first=last if earlier is None or not earlier.count else earlier.first,
        last=last,
        status=attempt.status,
        reason=attempt.reason,
        asked=attempted.ready.claim.asked,
        history=history[-REMEMBERED:],
    )
