"""A scope's progress, and how it is written as the fields of one hash. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from watcher.model import Micros, TaskId
from watcher.state.coverage import Coverage
from watcher.state.records import RecordError, Start

_ADOPTED: Final = b"1"
_NEVER: Final = Micros(0)


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A scope's progress.

    ``start`` is None until the scope is first watched. ``adopted`` says that what was in flight then has been
    listed. ``ladder`` holds, per level, the instant before which every row was read again. ``in_flight`` maps
    what has not ended to its created_at. ``backfilled`` are the intervals that backfills have read and told.
    Records of tasks created before ``forgotten`` may have been forgotten; the step that forgets them moves it.
    """

    start: Start | None = None
    coverage: Coverage = field(default_factory=Coverage)
    adopted: bool = False
    ladder: Mapping[int, Micros] = field(default_factory=dict)
    in_flight: Mapping[TaskId, Micros] = field(default_factory=dict)
    backfilled: Coverage = field(default_factory=Coverage)
    forgotten: Micros = _NEVER

    def encode(self) -> dict[str, bytes]:
        """The fields of the scope's hash; empty where there is nothing to say. ``in_flight`` lies apart.

        ``forgotten`` is not among them: it is moved where records are forgotten, and nowhere else.
        """
        return {
            "start": self.start.encode() if self.start else b"",
            "coverage": self.coverage.encode() if self.coverage.intervals else b"",
            "backfilled": self.backfilled.encode() if self.backfilled.intervals else b"",
            "adopted": _ADOPTED if self.adopted else b"",
            "ladder": msgspec.json.encode(dict(sorted(self.ladder.items()))) if self.ladder else b"",
        }

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes], in_flight: Mapping[TaskId, Micros]) -> ScopeState:
        """Read the fields of a scope's hash back.

        Raises:
            RecordError: they are not the watcher's.
        """
        start, coverage, steps = (fields.get(name) for name in (b"start", b"coverage", b"ladder"))
        backfilled, forgotten = fields.get(b"backfilled"), fields.get(b"forgotten")
        return cls(
            start=Start.decode(start) if start else None,
            coverage=Coverage.decode(coverage) if coverage else Coverage(),
            adopted=fields.get(b"adopted") == _ADOPTED,
            ladder=_decode_ladder(steps) if steps else {},
            in_flight=in_flight,
            backfilled=Coverage.decode(backfilled) if backfilled else Coverage(),
            forgotten=_decode_instant(forgotten) if forgotten else _NEVER,
        )


def _decode_ladder(record: bytes) -> dict[int, Micros]:
    try:
        levels = msgspec.json.decode(record, type=dict[int, int])
    except msgspec.MsgspecError as error:
        raise RecordError("not the ladder of a scope") from error
    return {level: Micros(at) for level, at in levels.items()}


def _decode_instant(record: bytes) -> Micros:
    try:
        return Micros(int(record))
    except ValueError as error:
        raise RecordError("not an instant") from error
