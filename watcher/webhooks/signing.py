"""Standard Webhooks 1.0 signatures. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, no secret
PRIVATE_KEY_PREFIX: Final = "whsk_"
_SEED: Final = 32
"""Bytes of an ed25519 private key; some write the public key behind it, which makes it twice as long."""

Key = bytes | Ed25519PrivateKey
"""What signs: a key for HMAC-SHA256, or a private one."""


def signing_key(secret: str) -> Key:
    """The key that a ``whsec_…`` secret or a ``whsk_…`` private key stands for: base64, padded or not.

    Raises:
        ValueError: it has another prefix, is not base64, or of no right length. The message does not show it.
    """
    for prefix in (SECRET_PREFIX, PRIVATE_KEY_PREFIX):
        encoded = secret.removeprefix(prefix)
        if encoded != secret:
            break
    else:
        raise ValueError("a signing secret does not begin with whsec_ or whsk_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError(f"a signing secret is not base64 after {prefix}") from None
    if prefix == PRIVATE_KEY_PREFIX:
        if len(key) not in (_SEED, 2 * _SEED):
            raise ValueError("a signing secret is no ed25519 private key after whsk_")
        return Ed25519PrivateKey.from_private_bytes(key[:_SEED])
    if not key:
        raise ValueError("a signing secret is empty after whsec_")
    return key


def public_key(key: Ed25519PrivateKey) -> str:
    """What receivers verify with: ``whpk_`` and base64 of the public key (Standard Webhooks 1.0)."""
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def signature(keys: Sequence[Key], message_id: str, timestamp: int, body: bytes) -> str:
    """Value of ``webhook-signature``: one for each key, in their order, separated by spaces.

    ``timestamp`` is in unix seconds. Source: Standard Webhooks 1.0, "Signature scheme": ``v1,`` and HMAC-SHA256, or
    ``v1a,`` and ed25519, of ``id.timestamp.body``; a receiver accepts when any is right, so keys can be rotated.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join([_signed(key, content) for key in keys])


def _signed(key: Key, content: bytes) -> str:
    if isinstance(key, bytes):
        return "v1," + base64.b64encode(_digest(key, content)).decode()
    return "v1a," + base64.b64encode(key.sign(content)).decode()


def headers_of(keys: Sequence[Key], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
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
