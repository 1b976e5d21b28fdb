"""Pagination tokens: a sealed copy of the first query and of the place where the page begins.

Nothing is kept on the server, so a token lives as long as the seed of the world; clients must not rely on it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from hmac import compare_digest
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_SEAL_BYTES: Final = 6


class BadPageToken(ValueError):  # noqa: N818 - names the thing, as the API's message does
    """The text is not a token that was given for this kind of listing."""


def seal(seed: int, state: object) -> str:
    """The state as an opaque token that fits a URL."""
    body = msgspec.msgpack.encode(state)
    token = urlsafe_b64encode(_seal(seed, type(state), body) + body)
    return token.rstrip(b"=").decode()


def unseal(seed: int, token: str, type_: type[T]) -> T:
    """The state that `seal` was given. Raises `BadPageToken` for every other text."""
    try:
        raw = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        mark, body = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if compare_digest(mark, _seal(seed, type_, body)):
            return msgspec.msgpack.decode(body, type=type_)
    except (Base64Error, UnicodeEncodeError, ValueError):
        pass
    raise BadPageToken("not a token of this listing")


def _seal(seed: int, type_: type[object], body: bytes) -> bytes:
    return blake2b(body, digest_size=_SEAL_BYTES, key=f"{seed}:{type_.__name__}".encode()).digest()
