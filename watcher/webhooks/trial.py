"""A signed event that tells of nothing, sent to an endpoint to see whether it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from watcher.clock import Clock
from watcher.events.envelope import to_body
from watcher.model import Event, EventId, TaskId, from_seconds, to_iso
from watcher.settings import Endpoint
from watcher.webhooks.handshake import Granted, Refused, Unanswered
from watcher.webhooks.outcome import Attempt
from watcher.webhooks.permission import ask_once
from watcher.webhooks.sender import HttpSender
from watcher.webhooks.signing import headers_of, signing_key
from watcher.webhooks.unanswered import why_unanswered

TYPE: Final = "watcher.test"


@dataclass(frozen=True, slots=True)
class Trial:
    """An attempt, and why it brought no answer, in words; nothing where one came."""

    attempt: Attempt
    why: str


async def try_endpoint(endpoint: Endpoint, clock: Clock) -> Trial | Refused | Unanswered:
    """Send one, past the endpoint's queue, with the addresses, time limit and signatures of any delivery.

    Where it has to permit that first, it is asked, and without a permission nothing is sent.

    Raises:
        ConfigurationError: the endpoint's certificate file cannot be used.
    """
    if endpoint.origin is not None:
        verdict = await ask_once(endpoint, endpoint.origin, clock)
        if not isinstance(verdict, Granted):
            return verdict
    now = clock.time()
    event = Event(
        id=EventId(str(uuid4())),
        type=TYPE,
        source="ocr-watcher",
        subject=TaskId(endpoint.name),
        time=to_iso(from_seconds(now)),
        data=b'{"message":"a test, asked for by an operator"}',
    )
    body = to_body(event)
    keys = tuple(signing_key(secret.get_secret_value()) for secret in endpoint.secrets)
    sender = HttpSender(endpoint, clock)
    try:
        attempt = await sender.send(body, headers_of(keys, event.id, int(now), body))
        return Trial(attempt, why_unanswered(attempt.reason, sender.cause, endpoint))
    finally:
        await sender.close()
