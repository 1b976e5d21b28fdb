"""Which endpoints an event is for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from watcher.events.envelope import EventFormatError
from watcher.settings import Endpoint

_ATTRIBUTES: Final = frozenset({b"id", b"type", b"source", b"subject", b"time", b"data"})
_REMEMBERED: Final = 4096


class _Subject(msgspec.Struct):
    """What routing needs of an event's data; the rest is passed over."""

    entity_id: str | None
    document_type: str | None


_decode = msgspec.json.Decoder(_Subject).decode


class Routed(msgspec.Struct, frozen=True):
    """A stream entry and the positions of the endpoints it is for, among those configured."""

    entry_id: str
    endpoints: tuple[int, ...]


class Router:
    """Tells the endpoints that want an event."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        # Few kinds of events make up nearly all.
        @lru_cache(_REMEMBERED)
        def positions(type_: str, entity_id: str | None, document_type: str | None) -> tuple[int, ...]:
            return tuple(
                position
                for position, endpoint in enumerate(endpoints)
                if endpoint.matches(type_, entity_id, document_type)
            )

        self._positions = positions

    def route(self, entry_id: str, fields: Mapping[bytes, bytes]) -> Routed:
        """The endpoints that want the event of a stream entry.

        Raises:
            EventFormatError: the entry is not one of the watcher's events.
        """
        if missing := _ATTRIBUTES - fields.keys():
            raise EventFormatError(f"it has no {b', '.join(sorted(missing)).decode()}")
        try:
            about = _decode(fields[b"data"])
            type_ = fields[b"type"].decode()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EventFormatError("its data or its type are not what the watcher writes") from error
        return Routed(entry_id, self._positions(type_, about.entity_id, about.document_type))
