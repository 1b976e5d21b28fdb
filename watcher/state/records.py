"""What is remembered of a task and of a scope, and how it is written in Redis. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from watcher.model import Micros

_SEPARATOR: Final = b"|"


class RecordError(ValueError):
    """A record in the store is not what the watcher writes."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a task.

    ``updated_at`` guards against a stale answer: an older row never overrides a newer one. ``published``
    holds the kinds of event already told in this ``revision``, so that none is told twice.
    """

    status: str
    revision: int
    updated_at: Micros
    published: frozenset[str] = frozenset()

    def encode(self) -> bytes:
        """The record as short text, such as ``success|0|1800000000000000|success``; mostly some 60 bytes at most.

        A status may be any printable text, so that what is neither a letter, a digit nor one of ``_.-~/`` is written
        as in a URL.
        """
        kinds = ",".join(sorted(self.published))
        return f"{quote(self.status)}|{self.revision}|{self.updated_at}|{kinds}".encode()

    @classmethod
    def decode(cls, record: bytes) -> Known:
        """Read a record back.

        Raises:
            RecordError: it is not one.
        """
        try:
            status, revision, updated_at, kinds = record.split(_SEPARATOR)
            return cls(
                unquote(status.decode(), errors="strict"),
                int(revision),
                Micros(int(updated_at)),
                frozenset(kinds.decode().split(",")) if kinds else frozenset(),
            )
        except ValueError as error:
            raise RecordError(f"not a record of a task: {record[:80]!r}") from error


class Start(msgspec.Struct, frozen=True):
    """A scope's first-run rule, fixed when the scope is first watched.

    A task that had already ended when first seen is told if it was created at or after ``publish_since``, or
    ended at or after ``started_at``; otherwise it is adopted in silence. Coverage begins at ``cover_from``.
    """

    started_at: int
    publish_since: int
    cover_from: int

    def encode(self) -> bytes:
        """The rule as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, record: bytes) -> Start:
        """Read a rule back.

        Raises:
            RecordError: it is not one.
        """
        try:
            return msgspec.json.decode(record, type=cls)
        except msgspec.MsgspecError as error:
            raise RecordError("not a first-run rule of a scope") from error
