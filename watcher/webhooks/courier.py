"""Carries one claimed delivery to its endpoint and says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from typing import Final, assert_never

import structlog

from watcher.clock import Clock
from watcher.events.envelope import EventFormatError, from_fields, to_body
from watcher.metrics import Metrics
from watcher.model import Event
from watcher.settings import Endpoint
from watcher.webhooks.outcome import NEVER_SENT, Attempt, Dead, Delivered, Outcome, Reason, Retry, decide
from watcher.webhooks.queue import Claim, Died, GiveBack, Record, Retried, Settlement
from watcher.webhooks.sender import Sender
from watcher.webhooks.signing import signature, signing_key

CLAIM_MARGIN: Final = 15.0
"""Seconds that a claim lasts beyond the endpoint's timeout. Did it end amid an attempt, two would send."""

_SETTLE_SECONDS: Final = 5.0
"""The part of the margin that is kept for writing the outcome down."""


class Courier:
    """Attempts deliveries to one endpoint. ``jitter`` gives a fraction from 0 to 1, anew each time."""

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

    async def deliver(self, claim: Claim) -> Settlement:
        """Attempt a delivery once."""
        started = self._clock.time()
        if started + self._endpoint.timeout + _SETTLE_SECONDS > claim.ends / 1000:
            # It lay waiting here too long: the claim could end amid the attempt.
            return Settlement(claim, GiveBack())
        event, time = None, started
        try:
            if claim.fields:
                event = from_fields(claim.fields)
                time = _seconds(event.time)
                attempt = await self._send(event, started)
            else:
                attempt = Attempt(Reason.EVENT_GONE)
        except EventFormatError:
            attempt = Attempt(Reason.EVENT_MALFORMED)
        now = self._clock.time()
        earlier = 0 if claim.record is None else claim.record.count
        made = earlier if attempt.reason in NEVER_SENT else earlier + 1
        schedule = self._endpoint.retry_schedule
        outcome = decide(attempt, made=made, schedule=schedule, now=now, jitter=self._jitter())
        self._attempts(attempt.reason).inc()
        self._tell(claim, event, attempt, made, outcome, now)
        match outcome:
            case Delivered():
                self._delay.observe(max(0.0, now - time))
                return Settlement(claim, outcome)
            case Retry(at):
                return Settlement(claim, Retried(at, _record(claim, attempt, made, now)))
            case Dead():
                return Settlement(claim, Died(_record(claim, attempt, made, now), attempt.answer))
            case _:
                assert_never(outcome)

    async def _send(self, event: Event, now: float) -> Attempt:
        body = to_body(event)
        timestamp = int(now)
        return await self._sender.send(
            body,
            {
                "webhook-id": event.id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature(self._keys, event.id, timestamp, body),
            },
        )

    def _tell(
        self, claim: Claim, event: Event | None, attempt: Attempt, made: int, outcome: Outcome, now: float
    ) -> None:
        """The canonical line of an attempt. The answer is not in it: it may hold personal data."""
        facts = {
            "event_id": None if event is None else event.id,
            "type": None if event is None else event.type,
            "entry_id": claim.entry_id,
            "attempt": made,
            "reason": attempt.reason.value,
            "status": attempt.status,
            "duration_ms": round(attempt.seconds * 1000, 1),
        }
        match outcome:
            case Delivered():
                self._log.info("delivery.attempted", outcome="delivered", **facts)
            case Retry(at):
                self._log.warning("delivery.attempted", outcome="retry", retry_in=round(at - now, 1), **facts)
            case Dead():
                self._log.error("delivery.attempted", outcome="dead", **facts)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError as error:
        raise EventFormatError("its time is not ISO 8601") from error


def _record(claim: Claim, attempt: Attempt, made: int, now: float) -> Record:
    last = int(now * 1000)
    first = last if claim.record is None else claim.record.first
    return Record(made, first, last, attempt.status, attempt.reason)
