"""The number of shards is changed under load: nothing is missing, nothing comes twice, what waited arrives."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from tests.servers import free_port
from watcher.clock import SystemClock
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, Entry, follow
from watcher.model import TERMINAL, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.layout import shards_of

from .harness import (
    eventually,
    get,
    listening,
    new_secret,
    ops_url,
    running,
    settings_for,
    until_ready,
    webhook,
)
from .test_commands import command

WHOLE = Keys("watcher")


async def unwell(_: web.Request) -> web.Response:
    return web.Response(status=500)


async def well(_: web.Request) -> web.Response:
    return web.Response(status=204)


async def kept(url: str, *places: Keys) -> list[Entry]:
    async with connect(url) as redis:
        return [
            each for keys in places for each in [e async for e in follow(redis, keys, BEGINNING, wait=False)]
        ]


@pytest.mark.timeout(180)
async def test_nothing_is_lost_or_told_twice_and_what_waited_arrives(directory: Path) -> None:
    clock = SystemClock()
    world = World(
        WorldSettings(rate=10, lifetime_scale=0.1, visibility_scale=0.01, entities=9),
        from_seconds(clock.time()),
    )
    everywhere = [WHOLE, *shards_of("watcher", 3)]
    places = directory / "a", directory / "b"
    for place in places:
        place.mkdir()
    store = EmbeddedServer(directory / "store", free_port())
    await store.start()
    try:
        async with Sandbox(world, clock) as sandbox, listening(unwell) as endpoint:
            hooks = [webhook("shop", endpoint.url, new_secret(), retry_schedule=[0, 1, 60, 120])]
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_REDIS__URL=store.url,
                WATCHER_MONITE__ENTITIES=json.dumps([scope.key for scope in world.scopes[1:]]),
                WATCHER_WEBHOOKS=json.dumps(hooks),
            )
            three = {**settings, "WATCHER_REDIS__SHARDS": "3"}

            async def all_published() -> list[Entry]:
                """What has ended by now stands on some stream, and nothing on two."""
                now = from_seconds(clock.time())
                ended = {
                    (str(task.id), task.outcome)
                    for task in world.truth(now)
                    if task.ended_by(now) and task.scope.entity_id is not None
                }

                async def look() -> list[Entry] | None:
                    found = await kept(store.url, *everywhere)
                    data = [read_data(entry.event) for entry in found]
                    return found if ended <= {(each.task_id, each.status) for each in data} else None

                found = await eventually(look, "something that ended was never published")
                assert max(Counter(entry.event.id for entry in found).values()) == 1
                return found

            async with running(settings, places[0]) as daemon:
                await until_ready(daemon)

                async def enough() -> bool:
                    return len(await kept(store.url, WHOLE)) > 50

                await eventually(enough, "the simulated API stands still")
                code, _, err = await command(settings, "reshard", "--to", "3", "--yes")
                assert (code, f"/{daemon.pid}" in err) == (1, True), err
                code, out, err = await command(settings, "reshard", "--to", "3", "--dry-run")
                assert (code, "9 of 9 scopes change their place, from 1 to 3 shards" in out) == (0, True), err
                code, _, err = await command(three, "status")
                assert (code, "watcher reshard --to 3" in err) == (1, True), err

            code, out, err = await command(settings, "reshard", "--to", "3", "--yes")
            assert (code, "moved 9 scopes" in out) == (0, True), err
            old = {entry.event.id for entry in await kept(store.url, WHOLE)}
            code, _, err = await command(settings, "run")
            assert (code, "spread over 3 shards and WATCHER_REDIS__SHARDS says 1" in err) == (1, True), err

            async with running(three, places[1]) as daemon:
                await until_ready(daemon)
                found = await all_published()
                assert {entry.event.id for entry in await kept(store.url, WHOLE)} == old
                code, out, _ = await command(three, "status", "--json")
                status = json.loads(out)
                assert [each["tag"] for each in status["retired"]] == ["{watcher}"]
                waiting = status["endpoints"]["shop"]["depth"]
                assert waiting > len(old) / 2
                metrics = (await get(f"{await ops_url(daemon)}/metrics"))[1]
                assert 'watcher_lease_held{shard="{watcher}"} 1.0' in metrics
                endpoint.answer = well
                del endpoint.ids[:]
                code, out, _ = await command(three, "endpoints", "resume", "shop")
                assert code == 0
                wanted = {
                    entry.event.id
                    for entry in found
                    if entry.event.type.removeprefix("ocr_task.") in TERMINAL
                }

                async def delivered() -> bool:
                    return wanted <= set(endpoint.ids)

                await eventually(delivered, "something that waited was never delivered")
    finally:
        await store.stop()


@pytest.mark.timeout(180)
async def test_an_embedded_store_is_run_for_it_also_after_a_kill(directory: Path, sandbox: Sandbox) -> None:
    settings = settings_for(sandbox.base_url, directory)
    two = {**settings, "WATCHER_REDIS__SHARDS": "2"}
    code, _, err = await command(settings, "reshard", "--to", "2", "--yes")
    assert (code, "nothing is stored in namespace watcher yet" in err) == (1, True), err
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        code, _, err = await command(settings, "reshard", "--to", "2", "--yes")
        assert (code, f"another watcher (process {daemon.pid} " in err) == (1, True), err
        await daemon.kill()
    code, out, err = await command(settings, "reshard", "--to", "2", "--yes")
    assert (code, "moved 1 scopes" in out) == (0, True), err
    code, out, _ = await command(settings, "reshard", "--to", "2")
    assert (code, "there are 2 shards already" in out) == (0, True)
    async with running(two, directory / "store") as daemon:
        await until_ready(daemon)
        code, out, err = await command(two, "status", "--json")
        assert code == 0, err
        found = json.loads(out)
        assert [(each["scope"], each["lag"] is not None) for each in found["scopes"]] == [("-", True)]
        assert [each["tag"] for each in found["retired"]] == ["{watcher}"]
        code, out, _ = await command(two, "tail", "--from", "beginning", "--no-follow", "--json")
        events = [json.loads(line)["id"] for line in out.splitlines()]
        assert len(events) == len(set(events)) > 0


@pytest.mark.timeout(180)
async def test_a_scope_that_was_reset_beside_its_daemon_is_found_and_moved(
    directory: Path, sandbox: Sandbox
) -> None:
    """What ends while no daemon runs is published after the move: its start was not lost on the way."""
    world, clock = sandbox.world, SystemClock()
    settings = settings_for(sandbox.base_url, directory, WATCHER_POLL__START="baseline")
    two = {**settings, "WATCHER_REDIS__SHARDS": "2"}

    async def watched() -> list[str] | None:
        code, out, err = await command(settings, "status", "--json")
        assert code == 0, err
        return [each["scope"] for each in json.loads(out)["scopes"] if each["lag"] is not None]

    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        for _ in range(2):
            code, _, err = await command(settings, "reset", "-", "--yes")
            assert code == 0, err
            assert await eventually(watched, "the scope was never watched again") == ["-"]
        left = from_seconds(clock.time())

    async def ended() -> set[str] | None:
        now = from_seconds(clock.time())
        tasks = {str(task.id) for task in world.truth(now) if left < task.created_at and task.ended_by(now)}
        return tasks if len(tasks) > 10 else None

    lost = await eventually(ended, "the simulated API stands still")
    code, out, err = await command(settings, "reshard", "--to", "2", "--yes")
    assert (code, "moved 1 scopes" in out) == (0, True), err
    async with running(two, directory / "store") as daemon:

        async def published() -> bool:
            code, out, err = await command(two, "tail", "--from", "beginning", "--no-follow", "--json")
            assert code == 0, err
            return lost <= {json.loads(line)["subject"] for line in out.splitlines()}

        await until_ready(daemon)
        await eventually(published, "what ended while no daemon ran was never published")
