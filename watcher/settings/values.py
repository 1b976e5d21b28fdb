"""Checks of single values, and the types built on them. Pure, but for certificates, whose files are read.

A check returns the value in its one normal form or raises ``ValueError`` with two halves, ``what is wrong;
how to mend it``. No message shows a value that is or may hold a secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from watcher.model import DOCUMENT_TYPES, DOCUMENTED, EVENT_PREFIX, STALLED, VANISHED, EntityId, from_datetime

EVENT_TYPES: Final = tuple(EVENT_PREFIX + kind for kind in sorted(DOCUMENTED | {STALLED, VANISHED}))
"""Every event type that has a meaning of its own; others carry a status that the API has not documented."""

Seconds = Annotated[float, Field(json_schema_extra={"unit": "seconds"})]
"""A duration; the unit is told in faults."""


def from_json(text: str) -> object:
    """The value of a JSON text. A fault tells the place and never shows the text, which may hold secrets."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        place = f"line {fault.lineno}, column {fault.colno}"
    except RecursionError:
        place = "nested too deeply"
    raise ValueError(f"not JSON ({place}); mend it there, with double quotes around every name and text")


def listed(value: object) -> object:
    """Text as the list that it stands for: JSON if it begins like it, else parts separated by commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith(("[", "{", '"')):
        return from_json(text)
    return [part.strip() for part in text.split(",")]


def json_listed(value: object) -> object:
    """Text as the JSON list that it holds."""
    return from_json(value) if isinstance(value, str) else value


def urls_listed(value: object) -> object:
    """Text as a JSON list, or as URLs separated by white space or by commas that a scheme follows."""
    if isinstance(value, str) and not value.strip().startswith("["):
        return [part for part in re.split(r"[\s,]+(?=[\w+-]+://)|\s+", value.strip()) if part]
    return listed(value)


def one_word(value: SecretStr) -> SecretStr:
    """A secret that stands in a header: visible ASCII characters only."""
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError(
            "is empty or holds a space, a line break or a character outside ASCII; give the bare value"
        )
    return value


def client_id(value: str) -> str:
    """A client's id: visible ASCII characters only."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("holds a space, a line break or a character outside ASCII; give the bare id")
    return value


def api_version(value: str) -> str:
    """A version of the API, which is a date."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        with suppress(ValueError):
            return datetime.fromisoformat(value).date().isoformat()
    raise ValueError(f"{value[:80]!r} is not a version of the API; give a date such as 2024-05-25")


def signing_secret(value: SecretStr) -> SecretStr:
    """What signs webhooks (Standard Webhooks 1.0).

    ``whsec_`` and base64 of 24 to 64 bytes, or ``whsk_`` and base64 of an ed25519 private key.
    """
    mend = "make one with: echo whsec_$(openssl rand -base64 32)"
    text = value.get_secret_value()
    prefix = next((each for each in ("whsec_", "whsk_") if text.startswith(each)), None)
    if prefix is None:
        raise ValueError(f"does not begin with whsec_; {mend}")
    try:
        size = len(base64.b64decode(text.removeprefix(prefix), validate=True))
    except (binascii.Error, ValueError):
        size = None
    if size is None:
        raise ValueError(f"is not base64 after {prefix}; {mend}")
    if prefix == "whsk_" and size not in (32, 64):
        raise ValueError(
            f"decodes to {size} bytes where an ed25519 private key has 32, or 64 with the public one; "
            "make one with: echo whsk_$(openssl rand -base64 32)"
        )
    if prefix == "whsec_" and not 24 <= size <= 64:
        raise ValueError(f"decodes to {size} bytes where Standard Webhooks asks for 24 to 64; {mend}")
    return value


def entity_id(value: str) -> EntityId:
    """The id of an entity, a UUID, written as the API writes it."""
    try:
        return EntityId(str(UUID(value)))
    except ValueError:
        raise ValueError(f"{value[:80]!r} is not a UUID; give the entity's id as the API shows it") from None


def watched_entities(value: object) -> object:
    """``all``, or a list of different entity ids."""
    if isinstance(value, str) and value.strip().strip('"') == "all":
        return "all"
    ids = listed(value)
    if not isinstance(ids, list | tuple) or not all(isinstance(one, str) for one in ids):
        raise ValueError('is neither a list of ids nor "all"; give ["id", ...] or all')
    if "all" in ids:
        raise ValueError('"all" stands among other ids; give all by itself, or only ids')
    return unrepeated(tuple(entity_id(one) for one in ids))


def unrepeated(values: tuple[EntityId, ...]) -> tuple[EntityId, ...]:
    """Ids of which none is listed twice."""
    times = Counter(values)
    if twice := next((one for one in values if times[one] > 1), None):
        raise ValueError(f"{twice} is listed twice; list each id once")
    return values


def document_types(value: object) -> object:
    """Document types, or ``all``, which is the same as none named."""
    kinds = listed(value)
    return [] if kinds in ("all", ["all"]) else kinds


def document_type(value: str) -> str:
    """One of the API's document types."""
    if value not in DOCUMENT_TYPES:
        raise ValueError(f"{value[:80]!r} is not known; give {', '.join(DOCUMENT_TYPES)} or leave it out")
    return value


def event_type(value: str) -> str:
    """An event type in full. The prefix ``ocr_task.`` may be left out."""
    name = value if "." in value else EVENT_PREFIX + value
    if name not in EVENT_TYPES:
        raise ValueError(f"{value[:80]!r} is not known; give {', '.join(EVENT_TYPES)}")
    return name


def event_pattern(value: str) -> str:
    """Event types as an endpoint names them: ``*`` stands for one segment between dots.

    A status that the API has not documented may be named too, so only what looks like a slip is refused.
    """
    pattern = value if "." in value else EVENT_PREFIX + value
    if not re.fullmatch(r"(\*|[\w-]+)(\.(\*|[\w-]+))+", pattern):
        raise ValueError(
            f"{value[:80]!r} is not an event type; give one such as ocr_task.success or ocr_task.*"
        )
    if not matches_pattern(EVENT_PREFIX + "any", pattern.rsplit(".", 1)[0] + ".any"):
        raise ValueError(f"{value[:80]!r} matches no event; all types have two parts, the first is ocr_task")
    near = get_close_matches(pattern, EVENT_TYPES, n=1, cutoff=0.9)
    if near and pattern not in EVENT_TYPES:
        raise ValueError(f"{value[:80]!r} is not known; did you mean {near[0]}?")
    return pattern


def matches_pattern(name: str, pattern: str) -> bool:
    """Whether an event type fits a pattern, segment by segment between dots."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(w in ("*", part) for part, w in zip(parts, wanted, strict=True))


def start(value: object) -> object:
    """``baseline``, ``all`` or a moment; one without an offset is taken as UTC."""
    if value in ("baseline", "all"):
        return value
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        instant = from_datetime(moment)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or instant < 0:
        raise ValueError(
            f"{str(value)[:80]!r} is neither baseline, all nor a time since 1970; give one, "
            "a time as in 2026-01-31T08:00:00Z"
        )
    return instant


def namespace(value: str) -> str:
    """The prefix of the store's keys, written there between braces."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError(
            f"{value[:80]!r} cannot be a key prefix; give 1 to 64 letters, digits, dots, hyphens, underscores"
        )
    return value


def host(value: str) -> str:
    """A host name or an address to listen on."""
    if not re.fullmatch(r"[A-Za-z0-9.:%_-]+", value):
        raise ValueError(f"{value[:80]!r} is not a host to listen on; give 127.0.0.1, 0.0.0.0, :: or a name")
    return value


def is_loopback(value: str) -> bool:
    """Whether only this machine can reach a listener on this host."""
    try:
        return ip_address(value).is_loopback
    except ValueError:
        return value.lower() == "localhost"


def absolute(value: Path) -> Path:
    """The absolute path; ``~`` stands for the home directory."""
    if not str(value).isprintable():
        raise ValueError("holds a control character; give the path without it")
    try:
        return value.expanduser().absolute()
    except RuntimeError:
        raise ValueError(
            f"{str(value)!r} names a home directory that is not known; give it in full"
        ) from None
    except OSError:
        raise ValueError(f"{value} is relative, and the working directory is gone; give it in full") from None


def directory(value: Path) -> Path:
    """The absolute path of a directory that is there or may come to be."""
    path = absolute(value)
    try:
        usable = path.is_dir() or not path.exists()
    except OSError as fault:
        raise ValueError(f"{path} cannot be used ({fault.strerror}); give the path of a directory") from None
    if not usable:
        raise ValueError(f"{path} is not a directory; give the path of one")
    return path


def certificates(value: Path) -> Path:
    """A PEM file that holds certificates."""
    return _pem(value, "CERTIFICATE")


def certificate_and_key(value: Path) -> Path:
    """A PEM file that holds a certificate and its private key, not encrypted."""
    return _pem(_pem(value, "CERTIFICATE"), "PRIVATE KEY")


def _pem(value: Path, block: Literal["CERTIFICATE", "PRIVATE KEY"]) -> Path:
    path = absolute(value)
    try:
        text = path.read_text("ascii", "replace")
    except OSError as fault:
        raise ValueError(f"{path} cannot be read ({fault.strerror}); give the path of a PEM file") from None
    # An encrypted key would make the TLS library ask for its password on the terminal.
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in text or "Proc-Type: 4,ENCRYPTED" in text:
        raise ValueError(
            f"{path} holds an encrypted key; give it without a password, readable by the daemon only"
        )
    if not re.search(rf"-----BEGIN (TRUSTED |RSA |EC )?{block}-----", text):
        raise ValueError(
            f"{path} holds no {block.lower()}; give a PEM file with -----BEGIN {block}----- in it"
        )
    return path


Word = Annotated[SecretStr, AfterValidator(one_word)]
SigningSecret = Annotated[SecretStr, AfterValidator(signing_secret)]
WatchedEntities = Annotated[tuple[EntityId, ...] | Literal["all"], BeforeValidator(watched_entities)]
Entities = Annotated[
    tuple[Annotated[EntityId, AfterValidator(entity_id)], ...],
    BeforeValidator(listed),
    AfterValidator(unrepeated),
]
DocumentTypes = Annotated[
    tuple[Annotated[str, AfterValidator(document_type)], ...], BeforeValidator(document_types)
]
EventTypes = Annotated[tuple[Annotated[str, AfterValidator(event_type)], ...], BeforeValidator(listed)]
EventPatterns = Annotated[tuple[Annotated[str, AfterValidator(event_pattern)], ...], BeforeValidator(listed)]
