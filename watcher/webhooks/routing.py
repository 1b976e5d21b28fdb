"""Which endpoints an event is for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

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
    """A stream entry and the positions of the endpoints it is for, among those configured.

    ``task`` names the event's task among all scopes' where one of these endpoints keeps the order; else it is empty.
    """

    entry_id: str
    endpoints: tuple[int, ...]
    task: str = ""


class Router:
    """Tells the endpoints that want an event."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        # Few kinds of events make up nearly all.
        @lru_cache(_REMEMBERED)
        def positions(
            type_: str, entity_id: str | None, document_type: str | None
        ) -> tuple[tuple[int, ...], bool]:
            found = tuple(
                position
                for position, endpoint in enumerate(endpoints)
                if endpoint.matches(type_, entity_id, document_type)
            )
            return found, any(endpoints[position].order == "task" for position in found)

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
        endpoints, ordered = self._positions(type_, about.entity_id, about.document_type)
        return Routed(entry_id, endpoints, _task(about.entity_id, fields[b"subject"]) if ordered else "")

    def word(self, entry_id: str, fields: Mapping[bytes, bytes]) -> str | None:
        """An entry that one of the endpoints wants, as scripts take it: its id, then `=` and its task if it has one."""
        try:
            routed = self.route(entry_id, fields)
        except EventFormatError:
            return None
        if not routed.endpoints:
            return None
        return f"{entry_id}={routed.task}" if routed.task else entry_id


def _task(entity_id: str | None, subject: bytes) -> str:
    """One word, whatever the ids are made of."""
    return f"{quote(entity_id or '-', safe='')}/{quote(subject, safe='')}"
