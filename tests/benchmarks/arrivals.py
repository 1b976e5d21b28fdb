"""When requests came, as surely as a process can tell that may have been held up when they did."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from watcher.clock import SystemClock
from watcher.sandbox import Served

_TICK_SECONDS: Final = 0.001
_SURE: Final = 2
"""Ticks before the one that follows an arrival: whatever had come by then was taken in before it."""


@dataclass(slots=True)
class Arrivals:
    """Requests by the moment when they were taken in, and the moments at which this process was certainly awake.

    What comes while a process stands still is taken in at once after it; it may have come over all that time.
    """

    taken_in: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)

    def note(self, served: Served) -> None:
        """A request has been answered."""
        self.taken_in.append(served.at)

    def most_in(self, seconds: float) -> int:
        """The most requests that certainly came in one and the same window of this length, wherever it begins."""
        latest = sorted(self.taken_in)
        earliest = [self._earliest(moment) for moment in latest]
        return max(
            (
                bisect_left(latest, begin + seconds) - bisect_left(earliest, begin)
                for begin in dict.fromkeys(earliest)
            ),
            default=0,
        )

    def _earliest(self, taken_in: float) -> float:
        place = bisect_right(self.ticks, taken_in)
        return self.ticks[max(0, place - _SURE)] if self.ticks else taken_in


@asynccontextmanager
async def watched_arrivals() -> AsyncIterator[Arrivals]:
    """Notes when this process is awake, until left."""
    arrivals, clock = Arrivals(), SystemClock()

    async def tick() -> None:
        while True:
            arrivals.ticks.append(clock.time())
            await asyncio.sleep(_TICK_SECONDS)

    ticking = asyncio.create_task(tick(), name="ticks")
    try:
        yield arrivals
    finally:
        ticking.cancel()
