"""What happened, gathered into groups of which each becomes one notification, and when each is due. Pure.

``now`` is in seconds on a clock that never steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from watcher.model import Micros

GATHER: Final = 10.0
"""Seconds from the first occurrence to the notification, so that a burst becomes one message."""
GAP: Final = 300.0
"""Least seconds between two notifications of one kind: what happens in between is told in one."""

LISTED: Final = 10
"""Task ids, and names in a tally, that are kept; of the others only the number."""


class Kind(StrEnum):
    """What people are told of. Each kind has groups and notifications of its own."""

    ERROR = "error"
    UNKNOWN_STATUS = "unknown_status"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event that people are to be told of. ``entry_id`` is its id on the stream."""

    kind: Kind
    entry_id: str
    task_id: str
    document_type: str | None
    entity_id: str | None
    status: str
    at: Micros


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each name came; for names beyond the first few only how often any of them came."""

    counts: Mapping[str | None, int] = field(default_factory=dict)
    others: int = 0

    def add(self, name: str | None) -> Tally:
        """With one more."""
        if name in self.counts or len(self.counts) < LISTED:
            return Tally({**self.counts, name: self.counts.get(name, 0) + 1}, self.others)
        return Tally(self.counts, self.others + 1)


@dataclass(frozen=True, slots=True)
class Group:
    """Occurrences of one kind that are told together, in bounded space however many they are.

    ``first_entry`` is the stream id of the oldest of them; ``since`` and ``until`` are the first and the last
    moment at which one happened.
    """

    kind: Kind
    first_entry: str
    count: int
    task_ids: tuple[str, ...]
    document_types: Tally
    entities: Tally
    statuses: Tally
    since: Micros
    until: Micros

    @classmethod
    def of(cls, one: Occurrence) -> Group:
        """A group of one."""
        return cls(
            kind=one.kind,
            first_entry=one.entry_id,
            count=1,
            task_ids=(one.task_id,),
            document_types=Tally().add(one.document_type),
            entities=Tally().add(one.entity_id),
            statuses=Tally().add(one.status),
            since=one.at,
            until=one.at,
        )

    def add(self, one: Occurrence) -> Group:
        """With one more, which came later on the stream."""
        return replace(
            self,
            count=self.count + 1,
            task_ids=(*self.task_ids, one.task_id)[:LISTED],
            document_types=self.document_types.add(one.document_type),
            entities=self.entities.add(one.entity_id),
            statuses=self.statuses.add(one.status),
            since=min(self.since, one.at),
            until=max(self.until, one.at),
        )


@dataclass(frozen=True, slots=True)
class Series:
    """The notifications of one kind: the group that gathers, if any, and when the last one was accepted."""

    group: Group | None = None
    opened_at: float = 0.0
    told_at: float | None = None

    def add(self, one: Occurrence, now: float) -> Series:
        """With one more to tell of, which opens a group if none gathers."""
        if self.group is None:
            return replace(self, group=Group.of(one), opened_at=now)
        return replace(self, group=self.group.add(one))

    def due(self, now: float) -> Group | None:
        """The group, once it has gathered long enough and the last notification is long enough ago."""
        if self.group is None or now < self.opened_at + GATHER:
            return None
        return None if self.told_at is not None and now < self.told_at + GAP else self.group

    def told(self, now: float) -> Series:
        """After the group's notification was accepted."""
        return Series(told_at=now)

    def begun_again(self) -> Series:
        """Without what has gathered, which will be read once more."""
        return Series(told_at=self.told_at)
