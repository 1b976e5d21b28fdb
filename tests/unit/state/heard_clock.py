"""A clock that tests can listen to: they act when somebody has begun to wait, and not before."""

from __future__ import annotations

import asyncio

from tests.fakes import FakeClock


class HeardClock(FakeClock):
    """Tells of every wait that begins on it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self.waits.put_nowait(seconds)
        await super().sleep(seconds)

    async def wait_out(self, seconds: float) -> None:
        """Wait until somebody waits for exactly so long, and let that time pass."""
        while await self.waits.get() != seconds:
            pass
        await self.advance(seconds)
