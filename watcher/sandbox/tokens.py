"""Bearer tokens. One that the sandbox gives says itself whose it is and when it ends; nothing is stored."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from watcher.sandbox.answers import EXPIRED, Refusal, error
from watcher.sandbox.draws import uuid_for

_GIVEN: Final = re.compile(r"sandbox\.([0-9a-f]{16})\.([0-9]+)\.[0-9a-f-]{36}")
_INVALID: Final = "invalid"


def give(seed: int, number: int, client_id: str, ends_at: float) -> str:
    """The ``number``-th token, for this client, good until ``ends_at`` (unix seconds)."""
    client = blake2b(client_id.encode(), digest_size=8).hexdigest()
    return f"sandbox.{client}.{round(ends_at * 1000)}.{uuid_for(seed, 'token', number)}"


def bearer(authorization: str | None) -> str:
    """The token in an ``Authorization`` header, or the empty text."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def client_of(token: str) -> str:
    """Whose requests count together: all tokens given to one client are the same client."""
    match = _GIVEN.fullmatch(token)
    return match[1] if match else token


def check(token: str, now: float) -> None:
    """Raise the 401 `Refusal` for a token that is empty, ``invalid`` or over; every other one is taken."""
    if not token:
        raise Refusal(error(401, "Authentication credentials were not provided."))
    if token == _INVALID:
        raise Refusal(error(401, "The token is invalid."))
    match = _GIVEN.fullmatch(token)
    if match and int(match[2]) <= now * 1000:
        raise Refusal(error(401, EXPIRED))


def check_credentials(client_id: str, client_secret: str) -> None:
    """Raise the 401 `Refusal` for credentials that are empty or ``invalid``."""
    if not (client_id and client_secret) or _INVALID in (client_id, client_secret):
        raise Refusal(error(401, "The client credentials are invalid."))
