"""Two daemons at work on one API with one budget: neither knows of the other but through the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.model import from_seconds
from watcher.polling.pacer import LOAD
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.embedded import EmbeddedServer

from .harness import eventually, running, said, settings_for

RATE = 10


class Stalls:
    """How late this process was at worst: its API counts what has come meanwhile as come at once."""

    worst = 0.0

    async def watch(self) -> None:
        clock = SystemClock()
        while True:
            began = clock.monotonic()
            await asyncio.sleep(0.001)
            self.worst = max(self.worst, clock.monotonic() - began)


@asynccontextmanager
async def stalls() -> AsyncIterator[Stalls]:
    seen = Stalls()
    watching = asyncio.create_task(seen.watch())
    try:
        yield seen
    finally:
        watching.cancel()


async def until_said(daemon: Daemon, event: str, times: int) -> None:
    async def look() -> bool | None:
        daemon.check()
        return True if len(said(daemon, event)) >= times else None

    await eventually(look, f"{event} was not said {times} times")


async def test_two_daemons_that_both_want_more_than_the_budget_never_exceed_it_together(
    directory: Path,
) -> None:
    clock = SystemClock()
    world = World(WorldSettings(rate=5, lifetime_scale=0.1, entities=12), from_seconds(clock.time()))
    store = EmbeddedServer(directory / "store")
    await store.start()
    places = [directory / "a", directory / "b"]
    for place in places:
        place.mkdir()
    try:
        async with Sandbox(world, clock) as sandbox, stalls() as late:
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_REDIS__URL=store.url,
                WATCHER_REDIS__SHARDS="2",
                WATCHER_MONITE__REQUESTS_PER_SECOND=str(RATE),
                WATCHER_MONITE__ENTITIES=json.dumps([scope.key for scope in world.scopes[1:]]),
                WATCHER_POLL__INTERVAL="0.2",
            )
            async with running(settings, places[0]) as first, running(settings, places[1]) as second:
                for daemon in (first, second):  # one of them takes both at first, and then gives one up
                    await until_said(daemon, "lease.acquired", 1)
                asked = [len(said(each, "monite.request")) for each in (first, second)]
                served = sandbox.requests_served.total

                async def enough() -> bool | None:
                    return True if sandbox.requests_served.total >= served + 5 * RATE else None

                await eventually(enough, "the daemons stand still")
                shares = [
                    len(said(each, "monite.request")) - before
                    for each, before in zip((first, second), asked, strict=True)
                ]
            assert sandbox.requests_served.most_in(1.0) >= RATE * LOAD, "the budget is made use of"
            assert sandbox.requests_served.most_in(max(0.1, 1.0 - late.worst)) <= RATE, "and never exceeded"
            assert min(shares) >= RATE, "both had their turn"
            assert sandbox.requests_served.by_status[429] == 0
    finally:
        await store.stop()
