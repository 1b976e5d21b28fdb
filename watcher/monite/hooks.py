"""Monite's own webhooks: is one genuine, and which task does it tell of? Pure.

The form is that of the schema ``EventResourceForWebhookClient`` (API version 2024-05-25): ``action``,
``object_type``, ``object``, ``entity_id``. Older versions wrote ``object_id`` in place of ``object``.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

import msgspec

from watcher.model import Hint

SIGNATURE_HEADER: Final = "Monite-Signature"
TOLERANCE: Final = 300.0
"""Seconds that a signature's time stamp may lie from now, either way: how long a copied request can be replayed."""

_OBJECT_TYPE: Final = "ocr_task"


class SignatureRefused(ValueError):  # noqa: N818 - says what happened, not a fault of the code
    """The signature is missing, unreadable, too old or not right; the message says which."""


class HookFormatError(ValueError):
    """The body is not a webhook as Monite documents it."""


def verify(header: str | None, body: bytes, secret: str, now: float) -> None:
    """See that a body was signed with the secret not long before or after ``now`` (unix seconds).

    Source: Monite's documentation, "Webhook signatures": ``t=<unix seconds>,v1=<hex>``, an HMAC-SHA256 of ``t.body``
    with the secret as it is, ``whsec_`` included. Of several ``v1`` any may be right, and other schemes are
    passed over, so that Monite may add some.

    Raises:
        SignatureRefused: it was not.
    """
    if not header:
        raise SignatureRefused(f"the header {SIGNATURE_HEADER} is missing")
    parts = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(stamps) != 1 or not given or not (stamps[0].isascii() and stamps[0].isdigit()):
        raise SignatureRefused(f"the header {SIGNATURE_HEADER} is not t=<unix seconds>,v1=<hex>")
    right = _digest(secret, stamps[0], body).encode()
    if not any(hmac.compare_digest(right, each.encode("utf-8", "replace")) for each in given):
        raise SignatureRefused("the signature does not match")
    # A number of that many digits is no time, and int() may refuse it.
    if len(stamps[0]) > 12 or abs(now - int(stamps[0])) > TOLERANCE:
        raise SignatureRefused(f"the signature is more than {TOLERANCE:g} s from now")


def decode_hook(body: bytes) -> Hint | None:
    """The task that a webhook tells of; None where it tells of something that is not an OCR task.

    Raises:
        HookFormatError: it is not a webhook of Monite's.
    """
    try:
        hook: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HookFormatError("the body is not a JSON object") from None
    action, object_type = hook.get("action"), hook.get("object_type")
    if not isinstance(action, str) and not isinstance(object_type, str):
        raise HookFormatError("neither action nor object_type says what this is about")
    if object_type != _OBJECT_TYPE and not str(action).startswith(f"{_OBJECT_TYPE}."):
        return None
    entity_id = hook.get("entity_id")
    task_id = _object_id(hook)
    if not isinstance(task_id, str):
        raise HookFormatError("there is no id in object")
    if not isinstance(entity_id, str | None):
        raise HookFormatError("entity_id is not text")
    try:
        return Hint.of(task_id, entity_id, "monite")
    except ValueError as error:
        raise HookFormatError(str(error)) from None


def _object_id(hook: dict[str, Any]) -> object:
    about = hook.get("object")
    within = about.get("id") if isinstance(about, dict) else about
    return hook.get("object_id") if within is None else within


def _digest(secret: str, timestamp: str, body: bytes) -> str:
    content = b"%b.%b" % (timestamp.encode(), body)
    return hmac.digest(secret.encode(), content, hashlib.sha256).hex()
