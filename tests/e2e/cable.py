"""A connection that can be cut: what is sent then goes nowhere, and nobody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.pump import pump


class Cable:
    """Carries TCP connections to a port of this machine, as long as it is whole."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = asyncio.Event()
        self._whole.set()
        self.port = 0

    def cut(self) -> None:
        """Carry nothing until mended; connections stay open."""
        self._whole.clear()

    def mend(self) -> None:
        """Carry everything again, also what was sent meanwhile."""
        self._whole.set()

    async def carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError):
            await self._whole.wait()
            there, away = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                await asyncio.gather(*(pump(*way, self._whole.wait) for way in ((here, away), (there, back))))
            finally:
                away.close()
        back.close()


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
