"""Several daemons on one store: they share the shards and the attempts, and what one leaves the others take."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web
from redis.asyncio import Redis

from watcher.clock import SystemClock
from watcher.model import TERMINAL, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import holder_of

from .harness import eventually, listening, new_secret, running, settings_for, webhook
from .test_commands import command
from .truth import entries, until_all_published

SHARDS = 4
CONCURRENCY = 3


class Busy:
    """Answers after a moment, and knows how many it was answering at once."""

    now = 0
    most = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.05)
        finally:
            self.now -= 1
        return web.Response(status=204)


async def until_held_by(redis: Redis, *pids: int) -> None:
    """Each of these processes polls its even part of the shards, and nobody else any."""

    async def look() -> bool:
        nonces: Any = await redis.mget([Keys("watcher", number, SHARDS).lease for number in range(SHARDS)])
        held = Counter(int(holder_of(nonce.decode()).rpartition("/")[2]) for nonce in nonces if nonce)
        return held == dict.fromkeys(pids, SHARDS // len(pids))

    await eventually(look, f"{pids} never shared the shards")


async def test_shards_and_attempts_are_shared_taken_over_and_handed_over(directory: Path) -> None:
    clock = SystemClock()
    world = World(
        WorldSettings(rate=10, lifetime_scale=0.1, visibility_scale=0.01, entities=12),
        from_seconds(clock.time()),
    )
    store = EmbeddedServer(directory / "store")
    await store.start()
    places = [directory / "a", directory / "b"]
    for place in places:
        place.mkdir()
    busy = Busy()
    try:
        async with Sandbox(world, clock) as sandbox, listening(busy.answer) as endpoint:
            hooks = [webhook("shop", endpoint.url, new_secret(), concurrency=CONCURRENCY)]
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_REDIS__URL=store.url,
                WATCHER_REDIS__SHARDS=str(SHARDS),
                WATCHER_MONITE__ENTITIES=json.dumps([scope.key for scope in world.scopes[1:]]),
                WATCHER_WEBHOOKS=json.dumps(hooks),
            )
            async with (
                connect(store.url) as redis,
                running(settings, places[0]) as first,
                running(settings, places[1]) as second,
            ):
                await until_held_by(redis, first.pid, second.pid)
                code, out, _ = await command(settings, "status")
                assert code == 0
                assert all(f"/{each.pid}" in out for each in (first, second))

                # Split brain: the one that stood still believes for a moment that it holds what it has lost.
                first.signal(signal.SIGSTOP)
                await until_held_by(redis, second.pid)
                first.signal(signal.SIGCONT)
                await until_all_published(sandbox, store.url, SHARDS)
                assert await second.stop() == 0
                await until_held_by(redis, first.pid)
                await until_all_published(sandbox, store.url, SHARDS)
                found = [entry.event for entry in await entries(store.url, SHARDS)]
                ids = Counter(event.id for event in found)
                assert max(ids.values()) == 1
                wanted = {event.id for event in found if event.type.removeprefix("ocr_task.") in TERMINAL}

                async def delivered() -> bool:
                    return wanted <= set(endpoint.ids)

                await eventually(delivered, "something was never delivered")
            assert busy.most <= CONCURRENCY
    finally:
        await store.stop()
