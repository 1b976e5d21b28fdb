"""A signed event that tells of nothing, sent to an endpoint to see whether it answers."""

from __future__ import annotations

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

TYPE: Final = "watcher.test"


async def try_endpoint(endpoint: Endpoint, clock: Clock) -> Attempt | Refused | Unanswered:
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
        return await sender.send(body, headers_of(keys, event.id, int(now), body))
    finally:
        await sender.close()
