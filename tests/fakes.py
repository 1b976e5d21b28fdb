"""Stand-ins for what tests must own. There is no fake store: stores in tests are real servers."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class FakeClock:
    """A clock that moves only when told; ``sleep`` waits until it has been moved far enough."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def time(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    def move(self, seconds: float) -> None:
        """Move without letting anybody run."""
        self._elapsed += seconds

    async def advance(self, seconds: float) -> None:
        """Move, waking each sleeper at its own moment and letting it run."""
        end = self._elapsed + seconds
        while True:
            await settle()
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers or self._sleepers[0][0] > end:
                break
            due, _, woken = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            woken.set_result(None)
        self._elapsed = end
        await settle()


class EagerClock(FakeClock):
    """A clock on which every sleep is over at once, having moved the time by its length."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        super().__init__(start)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.move(max(0.0, seconds))
        await asyncio.sleep(0)


async def settle(turns: int = 20) -> None:
    """Let everything that is ready to run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)
