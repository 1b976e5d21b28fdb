"""What deliveries that wait take: bytes of the store for each, and the memory of a daemon that has them all due."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from redis.asyncio import Redis

from tests.benchmarks.daemon_logs import logging_as_the_daemon
from tests.benchmarks.daemons import ready, settings_of
from tests.benchmarks.machine import Cores, footprint
from tests.benchmarks.receiver import Receiver, running_receiver
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.benchmarks.samples import START, events
from tests.benchmarks.store import erase, used_memory
from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.events.envelope import to_fields
from watcher.model import Event
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.settings import Endpoint
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.webhooks.group import ROOM, EventGroup
from watcher.webhooks.routing import Routed
from watcher.webhooks.stats import lane_stats

ALLOWED_MIB: Final = 8.0
"""Most that the greatest backlog may add to the daemon: a million of anything, kept there, would take more."""

_NAME: Final = "backlog"
_SECRET: Final = "whsec_" + "A" * 32
_AT_ONCE: Final = 1000
"""Events in one step: the server stands still for it."""
_QUIET_SECONDS: Final = 0.3
"""For the server to let go of what it holds only while it works."""
_PATIENCE_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.05

_FILL: Final = """
-- ARGV: the fields of some events, one JSON list of names and values each
for _, fields in ipairs(ARGV) do
  redis.call('XADD', KEYS[1], '*', unpack(cjson.decode(fields)))
end
"""


@dataclass(frozen=True, slots=True)
class Size:
    """The backlogs to measure with, the first of which says what a daemon takes anyway.

    ``posts`` are sent before the daemon is looked at, so that it is at its work.
    """

    deliveries: tuple[int, ...]
    posts: int


FULL: Final = Size(deliveries=(2000, 1_000_000), posts=1500)
QUICK: Final = Size(deliveries=(2000, 20_000), posts=1500)


@dataclass(frozen=True, slots=True)
class _Found:
    """Bytes of the store for one delivery, and MiB of the daemon; None where the system does not tell."""

    number: int
    stream: float
    waiting: float
    due: float
    daemon: float | None

    @property
    def row(self) -> tuple[Cell, ...]:
        return f"{self.number:,}", self.stream, self.waiting, self.due, self.daemon


async def run(size: Size, cores: Cores) -> Report:
    """Measure each backlog with a store and a daemon of its own, whose endpoint answers at once."""
    found = [await _measure(number, size.posts, cores) for number in size.deliveries]
    least, most = found[0], found[-1]
    targets: tuple[Target, ...] = ()
    reading = (
        f"a delivery takes {_alone(least):.0f} bytes, beside its event's on the stream; with {ROOM:,} due an endpoint "
        f"lags, and what comes then takes none: of {most.number:,} each takes {most.waiting + most.due:.1f}"
    )
    if least.daemon is not None and most.daemon is not None:
        more = most.daemon - least.daemon
        text = f"{most.number:,} due make the daemon at most {ALLOWED_MIB:g} MiB larger than {least.number:,}"
        targets = (Target(f"{text}: {more:+.1f}", more <= ALLOWED_MIB),)
    return Report(
        title="deliveries that wait: bytes of the store for each, and the daemon that sends them",
        columns=(
            Column("deliveries"),
            Column("bytes of the stream's entry", ",.0f"),
            Column("bytes waiting", ",.1f"),
            Column("bytes due", ",.1f"),
            Column("the daemon's own MiB", ".1f"),
        ),
        rows=tuple(one.row for one in found),
        reading=reading,
        targets=targets,
    )


def _alone(found: _Found) -> float:
    """Bytes of one that does not lag."""
    return (found.waiting + found.due) * found.number / min(found.number, ROOM)


async def _measure(number: int, posts: int, cores: Cores) -> _Found:
    with (
        tempfile.TemporaryDirectory(prefix="watcher-") as name,
        logging_as_the_daemon(Path(name) / "log", [_SECRET]),
    ):
        server = EmbeddedServer(Path(name))
        with cores.starting_servers():
            await server.start()
        try:
            async with connect(server.url) as redis, running_receiver(cores) as receiver:
                # Of a million events the file would hold a gigabyte, and tell nothing of the memory.
                await redis.config_set("appendonly", "no")
                stream, waiting, due = await _stored(redis, receiver, number)
                daemon = await _daemon(server.url, receiver, min(posts, number), Path(name))
        finally:
            await server.stop()
    return _Found(number, stream / number, waiting / number, due / number, daemon)


async def _stored(redis: Redis, receiver: Receiver, number: int) -> tuple[float, float, float]:
    """Bytes of the stream, of what waits and of what is due, having made so many deliveries."""
    keys = Keys()
    # First a few that are forgotten again: the memory of the scripts is no delivery's.
    await _publish(redis, keys, _AT_ONCE)
    await _accept(redis, keys, receiver)
    await erase(redis)
    empty = await _settled(redis)
    await _publish(redis, keys, number)
    stream = await _settled(redis) - empty
    await _accept(redis, keys, receiver)
    both = await _settled(redis) - empty - stream
    have = (await lane_stats(redis, keys, _NAME)).depth
    if have != number:
        raise RuntimeError(f"of {number} deliveries {have} wait")
    # What both take is known to the byte; how it is shared is what the server says of each.
    waiting = float(await redis.memory_usage(keys.waiting(_NAME), samples=0) or 0)
    due = float(await redis.memory_usage(keys.due(_NAME), samples=0) or 0)
    share = both / (waiting + due)
    return stream, waiting * share, due * share


async def _publish(redis: Redis, keys: Keys, number: int) -> None:
    """Put so many events on the stream, the same thousand again and again: their bytes are what counts."""
    fill = redis.register_script(_FILL)
    some = [_listed(event) for event in events(_AT_ONCE)]
    for at in range(0, number, _AT_ONCE):
        await fill(keys=[keys.events], args=some[: number - at])


def _listed(event: Event) -> bytes:
    texts = (part for pair in to_fields(event).items() for part in pair)
    return msgspec.json.encode([part.decode() if isinstance(part, bytes) else part for part in texts])


async def _accept(redis: Redis, keys: Keys, receiver: Receiver) -> None:
    """Make deliveries of everything that is on the stream, as the daemon does."""
    endpoints: Sequence[Endpoint] = (Endpoint(name=_NAME, url=receiver.url, secrets=(_SECRET,)),)
    group = EventGroup(redis, keys, "benchmark")
    await group.join()
    while entries := await group.read(count=_AT_ONCE, block_ms=1):
        routed = [Routed(entry_id, (0,)) for entry_id, _ in entries]
        await group.accept(routed, group.places(endpoints), now=SystemClock().time())


async def _daemon(store: str, receiver: Receiver, posts: int, directory: Path) -> float | None:
    """The memory of no file, in MiB, of a daemon that has sent so many of them."""
    async with Sandbox(World(WorldSettings(rate=0, entities=0), START), SystemClock()) as sandbox:
        settings = settings_of(_NAME, receiver.url, sandbox.base_url)
        daemon = Daemon({**settings, "WATCHER_REDIS__URL": store}, directory)
        await daemon.start()
        try:
            pid = await ready(daemon)
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while await receiver.posts() < posts:
                    daemon.check()
                    await asyncio.sleep(_GLANCE_SECONDS)
            after = footprint(pid)
        finally:
            await daemon.stop()
    return None if after is None else after.own


async def _settled(redis: Redis) -> int:
    await asyncio.sleep(_QUIET_SECONDS)
    return await used_memory(redis)
