"""A connection that can be cut, or slow: what is sent then goes nowhere, or comes late, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.pump import pump


class Cable:
    """Carries TCP connections to a port of this machine, as long as it is whole."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self.mend()
        self.port = 0
        self.lateness = 0.0
        """Seconds by which answers come late."""

    def cut(self, *, answers_only: bool = False) -> None:
        """Carry nothing until mended, or nothing back; connections stay open."""
        self._back.clear()
        if not answers_only:
            self._there.clear()

    def mend(self) -> None:
        """Carry everything again, also what was sent meanwhile."""
        self._there.set()
        self._back.set()

    async def carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError):
            await self._there.wait()
            there, away = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                await asyncio.gather(pump(here, away, self._there.wait), pump(there, back, self._back.wait))
            finally:
                away.close()
        back.close()

    async def _until_answered(self) -> None:
        await self._back.wait()
        await asyncio.sleep(self.lateness)  # the fault itself


@asynccontextmanager
async def cable_to(port: int) -> AsyncIterator[Cable]:
    """A cable, whole at first."""
    cable = Cable(port)
    server = await asyncio.start_server(cable.carry, "127.0.0.1", 0)
    cable.port = server.sockets[0].getsockname()[1]
    try:
        yield cable
    finally:
        cable.mend()
        server.close()
