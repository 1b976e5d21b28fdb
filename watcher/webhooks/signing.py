"""Standard Webhooks 1.0 signatures. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, no secret


def signing_key(secret: str) -> bytes:
    """The key that a ``whsec_…`` secret stands for: base64, padded or not, after the prefix.

    Raises:
        ValueError: it has another prefix, is not base64 or is empty. The message does not show it.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    if encoded == secret:
        raise ValueError("a signing secret does not begin with whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError("a signing secret is not base64 after whsec_") from None
    if not key:
        raise ValueError("a signing secret is empty after whsec_")
    return key


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Value of ``webhook-signature``: one ``v1,<base64>`` for each key, in their order, separated by spaces.

    ``timestamp`` is in unix seconds. Source: Standard Webhooks 1.0, "Signature scheme": HMAC-SHA256 of
    ``id.timestamp.body``; a receiver accepts when any of the signatures is right, so keys can be rotated.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join("v1," + base64.b64encode(_digest(key, content)).decode() for key in keys)


def headers_of(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that make a body a signed webhook. ``timestamp`` is in unix seconds."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(keys, message_id, timestamp, body),
    }


def _digest(key: bytes, content: bytes) -> bytes:
    code = _keyed(key).copy()
    code.update(content)
    return code.digest()


@lru_cache(maxsize=1024)
def _keyed(key: bytes) -> hmac.HMAC:
    """The code with its key worked in, which takes most of the time of a short message."""
    return hmac.new(key, digestmod=hashlib.sha256)
