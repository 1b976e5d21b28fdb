"""What the API says when it refuses, in one short line that gives nothing away. Pure.

Its error bodies come in several shapes (``{"error": {"type", "message"}}``, ``{"detail": [...]}``,
``{"message"}``), and gateways answer in HTML or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

MAX_LENGTH: Final = 200
"""Characters of a message that are kept."""

MAX_DETAILS: Final = 3
"""Faults of one request that are told; the rest is only counted."""

SHORTEST_SECRET: Final = 4
"""Anything shorter than this is a word, not a secret, and is not looked for."""

# A token that we do not know of, such as one that the API made up itself. An id (36 characters) passes.
_OPAQUE: Final = re.compile(r"[\w+/=.~-]{40,}", re.ASCII)
_HIDDEN: Final = "[hidden]"


def error_message(status: int, body: bytes, secrets: Iterable[str] = ()) -> str:
    """The API's own message in an error body, or the status's meaning where there is none.

    ``secrets`` are what the request carried: none of them, and nothing that looks like a token, is repeated.
    """
    return clean(_said(body), secrets) or _phrase(status)


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """The text as one trimmed line without secrets and control characters."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be part of another
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, _HIDDEN)
    text = _OPAQUE.sub(_HIDDEN, text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def says_token_expired(message: str) -> bool:
    """Whether a 400 means that the access token has run out ("The token has been expired.")."""
    text = message.lower()
    return "token" in text and "expired" in text and "pagination" not in text


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no message"


def _said(body: bytes) -> str:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode(errors="replace").strip()
        return "" if text.startswith("<") else text  # of a page in HTML the status says more
    if isinstance(answer, str):
        return answer
    return _of_object(answer) if isinstance(answer, dict) else ""


def _of_object(answer: Mapping[str, object]) -> str:
    match answer:
        case {"error": {"message": str(message), "type": str(kind)}}:
            return f"{message} ({kind})"
        case {"error": {"message": str(message)}}:
            return message
        case {"error_description": str(message)}:
            return message
        case {"error": str(message)}:
            return message
        case {"detail": str(message)}:
            return message
        case {"detail": list(details)}:
            told = [_detail(detail) for detail in details[:MAX_DETAILS]]
            more = len(details) - MAX_DETAILS
            return "; ".join([*(text for text in told if text), *([f"{more} more"] if more > 0 else [])])
        case {"message": str(message)}:
            return message
        case _:
            return ""


def _detail(detail: object) -> str:
    match detail:
        case {"msg": str(message), "loc": list(place)}:
            return f"{'.'.join(str(step) for step in place)}: {message}"
        case {"msg": str(message)}:
            return message
        case _:
            return ""
