"""Several daemons on one store: they share the shards and the attempts, and what one leaves the others take."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis
from yarl import URL

from tests.servers import free_port
from watcher.clock import SystemClock
from watcher.fleet.sight import BLIND, FIRST
from watcher.model import TERMINAL, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import TERM, holder_of

from .cable import cable_to
from .harness import (
    PATIENCE,
    Endpoint,
    eventually,
    listening,
    new_secret,
    running,
    said,
    settings_for,
    until_not_ready,
    until_ready,
    webhook,
)
from .test_commands import command
from .truth import entries, until_all_published

SHARDS = 4
CONCURRENCY = 3
LATE = 0.3
"""Seconds by which a slow store's answers come late: some hundred times what they take otherwise."""


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


async def until_held_by(redis: Redis, *pids: int, patience: float = PATIENCE) -> None:
    """Each of these processes polls its even part of the shards, and nobody else any."""

    async def look() -> bool:
        nonces: Any = await redis.mget([Keys("watcher", number, SHARDS).lease for number in range(SHARDS)])
        held = Counter(int(holder_of(nonce.decode()).rpartition("/")[2]) for nonce in nonces if nonce)
        return held == dict.fromkeys(pids, SHARDS // len(pids))

    await eventually(look, f"{pids} never shared the shards", patience)


@dataclass(frozen=True)
class Site:
    """What the replicas share; each has a place of its own."""

    sandbox: Sandbox
    store: EmbeddedServer
    redis: Redis
    endpoint: Endpoint
    busy: Busy
    settings: dict[str, str]
    places: tuple[Path, Path]
    port: int

    async def nothing_is_missing(self) -> None:
        """All that has ended by now stands on the stream once and has been delivered."""
        await until_all_published(self.sandbox, self.store.url, SHARDS)
        found = [entry.event for entry in await entries(self.store.url, SHARDS)]
        assert max(Counter(event.id for event in found).values()) == 1
        wanted = {event.id for event in found if event.type.removeprefix("ocr_task.") in TERMINAL}

        async def delivered() -> bool:
            return wanted <= set(self.endpoint.ids)

        await eventually(delivered, "something was never delivered")


@asynccontextmanager
async def prepared(directory: Path) -> AsyncIterator[Site]:
    clock, busy, port = SystemClock(), Busy(), free_port()
    world = World(
        WorldSettings(rate=10, lifetime_scale=0.1, visibility_scale=0.01, entities=12),
        from_seconds(clock.time()),
    )
    places = directory / "a", directory / "b"
    for place in places:
        place.mkdir()
    store = EmbeddedServer(directory / "store", port)
    await store.start()
    try:
        async with (
            Sandbox(world, clock) as sandbox,
            listening(busy.answer) as endpoint,
            connect(store.url) as redis,
        ):
            hooks = [webhook("shop", endpoint.url, new_secret(), concurrency=CONCURRENCY)]
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_REDIS__URL=store.url,
                WATCHER_REDIS__SHARDS=str(SHARDS),
                WATCHER_MONITE__ENTITIES=json.dumps([scope.key for scope in world.scopes[1:]]),
                WATCHER_WEBHOOKS=json.dumps(hooks),
            )
            yield Site(sandbox, store, redis, endpoint, busy, settings, places, port)
    finally:
        await store.stop()


async def test_shards_and_attempts_are_shared_taken_over_and_handed_over(directory: Path) -> None:
    async with prepared(directory) as site:
        async with running(site.settings, site.places[0]) as first:
            async with running(site.settings, site.places[1]) as second:
                await until_held_by(site.redis, first.pid, second.pid)
                code, out, _ = await command(site.settings, "status")
                assert code == 0
                assert all(f"/{each.pid}" in out for each in (first, second))

                # Split brain: the one that stood still believes for a moment that it holds what it has lost.
                first.signal(signal.SIGSTOP)
                await until_held_by(site.redis, second.pid)
                first.signal(signal.SIGCONT)
                await until_all_published(site.sandbox, site.store.url, SHARDS)
                assert await second.stop() == 0
                await until_held_by(site.redis, first.pid)
            await site.nothing_is_missing()
        assert site.busy.most <= CONCURRENCY


@pytest.mark.soak
@pytest.mark.parametrize("answers_only", [False, True])
async def test_a_replica_that_is_cut_off_from_the_store_is_done_without_and_comes_back(
    directory: Path, answers_only: bool
) -> None:
    async with prepared(directory) as site, cable_to(site.port) as cable:
        behind = {**site.settings, "WATCHER_REDIS__URL": f"redis://127.0.0.1:{cable.port}"}
        async with running(behind, site.places[0]) as first, running(site.settings, site.places[1]) as second:
            await until_held_by(site.redis, first.pid, second.pid)
            cable.cut(answers_only=answers_only)
            await until_held_by(site.redis, second.pid)
            await until_not_ready(first, "store")
            await site.nothing_is_missing()
            cable.mend()
            await until_held_by(site.redis, first.pid, second.pid)
            await until_ready(first)
            await site.nothing_is_missing()


@pytest.mark.soak
async def test_a_replica_to_which_the_store_answers_late_keeps_its_part(directory: Path) -> None:
    async with prepared(directory) as site, cable_to(site.port) as cable:
        behind = {**site.settings, "WATCHER_REDIS__URL": f"redis://127.0.0.1:{cable.port}"}
        async with running(behind, site.places[0]) as first, running(site.settings, site.places[1]) as second:
            await until_held_by(site.redis, first.pid, second.pid)
            ended = [len(said(each, "lease.ended")) for each in (first, second)]
            cable.lateness = LATE
            for _ in range(3):
                await asyncio.sleep(TERM / 2)  # nothing is to happen, however long one waits
                await until_held_by(site.redis, first.pid, second.pid, patience=1.0)
                await site.nothing_is_missing()
            assert [len(said(each, "lease.ended")) for each in (first, second)] == ended


@pytest.mark.soak
@pytest.mark.parametrize("answers_only", [False, True])
async def test_a_replica_that_is_cut_off_from_the_api_leaves_the_polling_to_the_other(
    directory: Path, answers_only: bool
) -> None:
    async with prepared(directory) as site:
        url = URL(site.sandbox.base_url)
        async with cable_to(url.port or 0) as cable:
            behind = {**site.settings, "WATCHER_MONITE__BASE_URL": str(url.with_port(cable.port))}
            async with (
                running(behind, site.places[0]) as first,
                running(site.settings, site.places[1]) as second,
            ):
                await until_held_by(site.redis, first.pid, second.pid)
                cable.cut(answers_only=answers_only)
                # Not only after each scope by itself has found out: meanwhile one request tries for all.
                await until_held_by(site.redis, second.pid, patience=1.5 * BLIND)
                await site.nothing_is_missing()
                cable.mend()
                await until_held_by(site.redis, first.pid, second.pid, patience=2 * FIRST)
                await site.nothing_is_missing()
