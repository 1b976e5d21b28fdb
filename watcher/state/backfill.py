"""A backfill: what somebody asked to have read again, and how far the lease's holder has come with it.

A command writes the request, the holder of the shard's lease performs it. Progress moves in the same fenced
step as the records and events of each window, so a backfill goes on where it stopped, whoever holds the lease.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from watcher.model import EntityId, Scope
from watcher.state.records import RecordError


class Request(msgspec.Struct, frozen=True):
    """What to read: the tasks of ``scopes`` created in ``[low, high)``, at ``rate`` requests a second at most.

    ``until_now`` says that no end was given: ``high`` is then the time at which it was asked.
    """

    low: int
    high: int
    scopes: tuple[str, ...]
    rate: Annotated[float, msgspec.Meta(gt=0)]
    until_now: bool = False

    def same_as(self, other: Request) -> bool:
        """Whether both ask for the same, however fast and whenever they were asked."""
        ends = self.until_now if other.until_now else not self.until_now and self.high == other.high
        return self.low == other.low and self.scopes == other.scopes and ends

    def encode(self) -> bytes:
        """The request as JSON."""
        return msgspec.json.encode(self)

    def scope(self, place: int) -> Scope:
        """The scope at a place of the list."""
        key = self.scopes[place]
        return Scope(None if key == "-" else EntityId(key))


class Progress(msgspec.Struct, frozen=True):
    """How far a backfill has come: everything of the scopes before ``place``, and of that one up to ``at``.

    ``width`` is the span of the next window in microseconds. ``refused`` counts the scopes that the API did
    not let be read, or that are no longer watched. ``trouble`` says why it stands still; empty while it does not.
    """

    at: int
    width: int
    place: int = 0
    rows: int = 0
    requests: int = 0
    published: int = 0
    refused: int = 0
    trouble: str = ""

    def encode(self) -> bytes:
        """The progress as JSON; the store compares it as text."""
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class Job:
    """A request and how far it has come."""

    request: Request
    progress: Progress

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return self.progress.place >= len(self.request.scopes)

    @property
    def share_done(self) -> float:
        """How much of it has been read, by spans of created_at: from 0 to 1."""
        if self.done:
            return 1.0
        part = (self.progress.at - self.request.low) / (self.request.high - self.request.low)
        return (self.progress.place + part) / len(self.request.scopes)


def decode(request: object, progress: object) -> Job | None:
    """Read the fields of a backfill's hash back; None where there is none.

    Raises:
        RecordError: they are not the watcher's.
    """
    if not isinstance(request, bytes) or not isinstance(progress, bytes):
        return None
    try:
        return Job(msgspec.json.decode(request, type=Request), msgspec.json.decode(progress, type=Progress))
    except msgspec.MsgspecError as error:
        raise RecordError("not a backfill, which `watcher backfill --stop` removes") from error


def begun(request: Request, width: int) -> Job:
    """A job of which nothing has been done."""
    return Job(request, Progress(at=request.low, width=width))
