"""The API's JSON, read no further than the watcher needs. Pure.

``recognized_data`` is skipped over, not parsed, and kept as the bytes that came. Unknown fields are ignored.
Anything else that is not as documented spoils the whole page (``InvalidPage``): half a page is no page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from watcher.model import EntityId, Micros, Task, TaskId, from_datetime
from watcher.monite.errors import InvalidPage, Unavailable

T = TypeVar("T")

LAST_INSTANT: Final = Micros(2**53)
"""Where microseconds stop being exact as a double, the store's number: in the year 2255."""

MAX_STATUS: Final = 64
"""Characters of a status. An undocumented one may be anything printable: it must not stop its scope."""

MAX_PAGE_TOKEN: Final = 4096
"""Characters of a page token; a longer one would not fit into a URL."""

DEFAULT_LIFETIME: Final = 600.0
"""Seconds, for a token that came without ``expires_in``, which OAuth 2.0 only recommends (RFC 6749, 5.1)."""

_is_id = re.compile(r"[!-~]{1,128}").fullmatch
_is_token = re.compile(r"[!-~]{1,16384}").fullmatch  # it becomes a header


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of a listing of tasks; ``next_token`` is None on the last one."""

    tasks: tuple[Task, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as one row of the API said it was."""

    id: EntityId
    status: str | None


@dataclass(frozen=True, slots=True)
class EntityPage:
    """One page of a listing of entities; ``next_token`` is None on the last one."""

    entities: tuple[Entity, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token and for how many seconds from now it is good."""

    value: str = field(repr=False)
    lifetime_seconds: float


class _TaskRow(msgspec.Struct):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    document_type: str | None = None
    recognized_data: msgspec.Raw = msgspec.Raw(b"null")


class _TaskRows(msgspec.Struct):
    data: list[_TaskRow]
    next_pagination_token: str | None = None


class _EntityRow(msgspec.Struct):
    id: str
    status: str | None = None


class _EntityRows(msgspec.Struct):
    data: list[_EntityRow]
    next_pagination_token: str | None = None


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFETIME


_task_rows = msgspec.json.Decoder(_TaskRows).decode
_task_row = msgspec.json.Decoder(_TaskRow).decode
_entity_rows = msgspec.json.Decoder(_EntityRows).decode
_token_answer = msgspec.json.Decoder(_TokenAnswer).decode


def decode_tasks(body: bytes, page_token: str | None = None) -> TaskPage:
    """The page of tasks in an answer to a request that carried ``page_token``.

    Raises ``InvalidPage`` for JSON that breaks the schema, ``Unavailable`` for what is no JSON.
    """
    rows = _decode(_task_rows, body)
    tasks = tuple([_task(row) for row in rows.data])
    return TaskPage(tasks, _next_token(rows.next_pagination_token, page_token))


def decode_task(body: bytes, task_id: TaskId) -> Task:
    """The task in an answer to a request for this one. Raises as ``decode_tasks``, and for any other task."""
    task = _task(_decode(_task_row, body))
    if task.id != task_id:
        raise InvalidPage("the API answers with another task than was asked for")
    return task


def decode_entities(body: bytes, page_token: str | None = None) -> EntityPage:
    """The page of entities in an answer. Raises as ``decode_tasks``."""
    rows = _decode(_entity_rows, body)
    entities = tuple([Entity(EntityId(_checked_id(row.id)), row.status) for row in rows.data])
    return EntityPage(entities, _next_token(rows.next_pagination_token, page_token))


def decode_token(body: bytes) -> AccessToken:
    """The token in an answer of ``POST /auth/token``. Raises as ``decode_tasks``."""
    answer = _decode(_token_answer, body)
    if not is_header_safe(answer.access_token):
        raise InvalidPage("the API's access token is not one line of printable characters")
    if not answer.expires_in > 0:
        raise InvalidPage("the API's access token has a lifetime that is not positive")
    return AccessToken(answer.access_token, answer.expires_in)


def is_header_safe(token: str) -> bool:
    """Whether a token can stand in an ``Authorization`` header."""
    return _is_token(token) is not None


def _decode(decoder: Callable[[bytes], T], body: bytes) -> T:
    # msgspec's texts name types and places ("Expected `str`, got `int` - at `$.data[...].id`"), never values.
    try:
        answer = decoder(body)
        body.decode()  # what is skipped over is not checked for being UTF-8, and will be passed on
    except msgspec.ValidationError as error:
        raise InvalidPage(f"the API's answer does not validate: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unavailable("the API's answer is not JSON", reason="not_json") from None
    return answer


def _task(row: _TaskRow) -> Task:
    if not (0 < len(row.status) <= MAX_STATUS and row.status.isprintable()):
        raise InvalidPage("the API's answer does not validate: a status that is not short printable text")
    recognized = bytes(row.recognized_data)  # a copy, so that the page can be freed
    return Task(
        id=TaskId(_checked_id(row.id)),
        status=row.status,
        created_at=_instant(row.created_at),
        updated_at=_instant(row.updated_at),
        document_type=row.document_type,
        recognized_data=None if recognized == b"null" else recognized,
    )


def _checked_id(text: str) -> str:
    if not _is_id(text):
        raise InvalidPage(
            "the API's answer does not validate: an id that is not 1 to 128 printable characters"
        )
    return text


def _instant(moment: datetime) -> Micros:
    instant = from_datetime(moment)
    if not 0 <= instant <= LAST_INSTANT:
        raise InvalidPage("the API's answer does not validate: a time stamp before 1970 or after 2255")
    return instant


def _next_token(token: str | None, asked: str | None) -> str | None:
    if token is None:
        return None
    if not token or len(token) > MAX_PAGE_TOKEN:
        raise InvalidPage("the API's answer does not validate: a page token of no sensible length")
    if token == asked:
        raise InvalidPage("the API's answer does not validate: a page that names itself as the next")
    return token
