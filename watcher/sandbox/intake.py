"""The writing half of the API: documents handed in, tokens given.

Two names have a meaning, so that a developer can see every outcome: a file whose name begins with ``error``
is not recognised, and a host that ends in ``.invalid`` (RFC 2606) cannot be reached.
"""

from __future__ import annotations

from itertools import count
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from aiohttp import BodyPartReader, web

from watcher.model import DOCUMENT_TYPES, ERROR, SECOND
from watcher.sandbox import tokens
from watcher.sandbox.answers import Answer, Refusal, as_json, detail, error, unprocessable
from watcher.sandbox.call import Call
from watcher.sandbox.parameters import Parameters
from watcher.sandbox.rows import task_row
from watcher.sandbox.world import World

LARGEST_FILE: Final = 20 * 1024 * 1024
"""Bytes; the documented maximum."""

_SUFFIXES: Final = frozenset({".pdf", ".png", ".jpg", ".jpeg"})
_GRANTS: Final = ("client_credentials", "entity_user")


class Intake:
    """Answers ``POST /ocr_tasks``, ``POST /ocr_tasks/upload_from_file`` and ``POST /auth/token``."""

    def __init__(self, world: World, token_seconds: int) -> None:
        self._world = world
        self._token_seconds = token_seconds
        self._given = count()

    async def from_url(self, call: Call) -> Answer:
        """202 with a new task for the document at ``file_url``."""
        body = await _json_object(call.request)
        parts = _http_url(body.get("file_url"))
        faults = []
        if parts is None:
            faults.append(detail("body", "file_url", "invalid or missing URL", "value_error.url"))
        document_type = body.get("document_type")
        if document_type is not None and document_type not in DOCUMENT_TYPES:
            faults.append(
                detail("body", "document_type", "not a valid enumeration member", "type_error.enum")
            )
        if parts is None or faults:
            raise Refusal(unprocessable(*faults))
        if (parts.hostname or "").endswith(".invalid"):
            raise Refusal(error(424, "The file could not be fetched."))
        return self._accept(call, PurePosixPath(parts.path).name, document_type)

    async def from_file(self, call: Call) -> Answer:
        """202 with a new task for the uploaded ``file``."""
        read = Parameters(call.request.query)
        document_type = read.choice("document_type", DOCUMENT_TYPES)
        read.check()
        if call.request.content_type != "multipart/form-data":
            raise Refusal(error(415, "The file must be sent as multipart/form-data."))
        name, size = await _uploaded(call.request)
        if size == 0:
            raise Refusal(error(400, "The file is empty."))
        return self._accept(call, name, document_type)

    async def token(self, call: Call) -> Answer:
        """A bearer token for any client credentials that are not empty or ``invalid``."""
        body = await _json_object(call.request)
        faults = [
            detail("body", name, "field required", "value_error.missing")
            for name in ("grant_type", "client_id", "client_secret")
            if not isinstance(body.get(name), str)
        ]
        if not faults and body["grant_type"] not in _GRANTS:
            faults.append(detail("body", "grant_type", "not a valid enumeration member", "type_error.enum"))
        if faults:
            raise Refusal(unprocessable(*faults))
        tokens.check_credentials(body["client_id"], body["client_secret"])
        ends_at = call.now / SECOND + self._token_seconds
        token = tokens.give(self._world.settings.seed, next(self._given), body["client_id"], ends_at)
        return as_json({"access_token": token, "expires_in": self._token_seconds, "token_type": "Bearer"})

    def _accept(self, call: Call, name: str, document_type: str | None) -> Answer:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix and suffix not in _SUFFIXES:
            raise Refusal(error(415, "The file must be a PDF, PNG or JPG."))
        scope = call.scope()
        outcome = ERROR if name.lower().startswith(ERROR) else None
        task = self._world.create(scope, call.now, document_type, outcome)
        call.rows = 1
        return as_json(task_row(task, task.created_at), 202)


def _http_url(url: object) -> SplitResult | None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return None
    return parts if parts and parts.scheme in ("http", "https") and parts.hostname else None


async def _json_object(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refusal(error(415, "The body must be application/json."))
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        fault = detail("body", "__root__", "not a JSON object", "value_error.jsondecode")
        raise Refusal(unprocessable(fault)) from None


async def _uploaded(request: web.Request) -> tuple[str, int]:
    """The name and the bytes of the part ``file``; its content is read and forgotten."""
    try:
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                size = 0
                while chunk := await part.read_chunk():
                    size += len(chunk)
                    if size > LARGEST_FILE:
                        raise Refusal(error(413, "The file is larger than 20 MB."))
                return part.filename or "", size
    except ValueError:
        pass  # not multipart after all: the same as without the part
    raise Refusal(unprocessable(detail("body", "file", "field required", "value_error.missing")))
