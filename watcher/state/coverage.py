"""Coverage: the set of ``created_at`` intervals that were read completely. Pure.

Intervals are half open, ``[low, high)``, like the windows that are read. A set, not one cursor: whatever was
not read stays a gap, and gaps are read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from watcher.model import Micros
from watcher.state.records import RecordError


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open span of instants. Never empty."""

    low: Micros
    high: Micros

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"an interval must not be empty: [{self.low}, {self.high})")

    @property
    def span(self) -> int:
        """Its length in microseconds."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Coverage:
    """Disjoint intervals in rising order, no two of them touching."""

    intervals: tuple[Interval, ...] = ()

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> Coverage:
        """The union of any intervals."""
        merged: list[Interval] = []
        for interval in sorted(intervals, key=lambda each: each.low):
            if merged and interval.low <= merged[-1].high:
                merged[-1] = Interval(merged[-1].low, max(merged[-1].high, interval.high))
            else:
                merged.append(interval)
        return cls(tuple(merged))

    def add(self, interval: Interval) -> Coverage:
        """This set with one more interval."""
        return Coverage.of((*self.intervals, interval))

    def gaps(self, low: Micros, high: Micros) -> tuple[Interval, ...]:
        """What of ``[low, high)`` is not covered, in rising order."""
        found: list[Interval] = []
        at = low
        for interval in self.intervals:
            if interval.high <= at:
                continue
            if interval.low >= high:
                break
            if interval.low > at:
                found.append(Interval(at, interval.low))
            at = interval.high
        if at < high:
            found.append(Interval(at, high))
        return tuple(found)

    def holds(self, instant: Micros) -> bool:
        """Whether an instant is covered."""
        return any(interval.low <= instant < interval.high for interval in self.intervals)

    def covered(self, interval: Interval) -> int:
        """How much of an interval is covered, in microseconds."""
        return interval.span - sum(gap.span for gap in self.gaps(interval.low, interval.high))

    def watermark(self, low: Micros) -> Micros:
        """The instant up to which everything from ``low`` on is covered; ``low`` if nothing is."""
        for interval in self.intervals:
            if interval.low <= low < interval.high:
                return interval.high
        return low

    def encode(self) -> bytes:
        """The set as JSON: a list of pairs."""
        return msgspec.json.encode([(each.low, each.high) for each in self.intervals])

    @classmethod
    def decode(cls, record: bytes) -> Coverage:
        """Read a set back.

        Raises:
            RecordError: it is not one.
        """
        try:
            pairs = msgspec.json.decode(record, type=list[tuple[int, int]])
            return cls.of(Interval(Micros(low), Micros(high)) for low, high in pairs)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RecordError("not the coverage of a scope") from error
