"""Several real daemons on one store of their own: who polls which shard, and what happens when one is lost."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from tests.benchmarks.machine import Footprint, footprint, place
from watcher.demo.daemon import Daemon
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import TERM, holder_of

SHARDS: Final = 8

_PATIENCE_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.02
_JUST_RENEWED: Final = TERM - 0.2
"""Seconds that a lease has yet to run when it was renewed a moment ago."""


@dataclass(slots=True)
class Fleet:
    """Daemons that live, all with the same settings and on the same ``cores``."""

    redis: Redis
    directory: Path
    settings: Mapping[str, str]
    cores: frozenset[int]
    daemons: list[Daemon] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    async def add(self) -> None:
        """Start one more; it is not waited for."""
        directory = self.directory / str(next(self._numbers))
        directory.mkdir()
        daemon = Daemon(self.settings, directory)
        await daemon.start()
        place(daemon.pid, self.cores)
        self.daemons.append(daemon)

    async def holders(self) -> Counter[int]:
        """How many shards each process polls."""
        nonces: Any = await self.redis.mget([keys.lease for keys in self._shards()])
        return Counter(int(holder_of(nonce.decode()).rpartition("/")[2]) for nonce in nonces if nonce)

    async def until_shared(self) -> None:
        """Wait until all shards are polled, by all daemons alike."""
        wanted = {daemon.pid: SHARDS // len(self.daemons) for daemon in self.daemons}

        async def shared() -> bool:
            return await self.holders() == wanted

        await self._until(shared)

    async def events(self) -> int:
        """Events on the streams of all shards."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for keys in self._shards():
                pipe.xlen(keys.events)
            return sum(await pipe.execute())

    async def lose(self, how: signal.Signals) -> float:
        """Send the eldest a signal at the worst moment; the seconds until the others poll all that it polled.

        The worst is just after it renewed a lease.
        """
        lost = self.daemons[0]
        await self._until(self._just_renewed)
        self.daemons.remove(lost)
        began = time.monotonic()
        lost.signal(how)

        async def taken_over() -> bool:
            holders = await self.holders()
            return holders.total() == SHARDS and lost.pid not in holders

        try:
            await self._until(taken_over)
            return time.monotonic() - began
        finally:
            if how == signal.SIGSTOP:
                lost.signal(signal.SIGKILL)  # it stands still, and would do so for ever
            await lost.wait()

    def footprints(self) -> list[Footprint | None]:
        """Of each daemon."""
        return [footprint(daemon.pid) for daemon in self.daemons]

    async def _just_renewed(self) -> bool:
        async with self.redis.pipeline(transaction=False) as pipe:
            for keys in self._shards():
                pipe.get(keys.lease)
                pipe.pttl(keys.lease)
            answers = await pipe.execute()
        eldest = f"/{self.daemons[0].pid}"
        return any(
            nonce is not None and holder_of(nonce.decode()).endswith(eldest) and left >= 1000 * _JUST_RENEWED
            for nonce, left in zip(answers[::2], answers[1::2], strict=True)
        )

    async def _until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await look():
                for daemon in self.daemons:
                    daemon.check()
                await asyncio.sleep(_GLANCE_SECONDS)

    @staticmethod
    def _shards() -> list[Keys]:
        return [Keys("watcher", number, SHARDS) for number in range(SHARDS)]


@asynccontextmanager
async def running_fleet(
    replicas: int, settings: Mapping[str, str], cores: frozenset[int]
) -> AsyncIterator[Fleet]:
    """So many daemons on these cores that share the shards of a store of their own; it runs where this process does."""
    with tempfile.TemporaryDirectory(prefix="w-") as name:
        directory = Path(name)
        server = EmbeddedServer(directory / "store")
        await server.start()
        try:
            async with connect(server.url) as redis:
                shared = {"WATCHER_REDIS__URL": server.url, "WATCHER_REDIS__SHARDS": str(SHARDS)}
                fleet = Fleet(redis, directory, {**settings, **shared}, cores)
                try:
                    for _ in range(replicas):
                        await fleet.add()
                    await fleet.until_shared()
                    yield fleet
                finally:
                    for daemon in fleet.daemons:
                        await daemon.stop()
        finally:
            await server.stop()
