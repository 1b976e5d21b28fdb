"""The daemon as a process on a cluster or below sentinels, whose master dies while it works."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from tests.servers import HOST, Node, binaries, cluster, healthy, owner, replicated, role, sentinel_url
from watcher.clock import SystemClock
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, follow
from watcher.model import Scope, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.keys import Keys

from .harness import eventually, listening, new_secret, running, said, settings_for, until_ready, webhook
from .truth import entries, until_all_published

SHARDS: Final = 4

Transition = tuple[str, str]
"""A task, and the type of the event that told of it."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where a store is, its master, and whether another has taken that one's place."""

    url: str
    master: Node
    promoted: Callable[[], bool]


@contextmanager
def a_cluster() -> Iterator[Store]:
    with cluster(binaries()[0], 3, 1) as nodes:
        alive = nodes[1:]
        slots = [key_slot(Keys("watcher", shard, SHARDS).lease.encode()) for shard in range(SHARDS)]

        def promoted() -> bool:
            return all(map(healthy, alive)) and all(owner(alive, slot) for slot in slots)

        # One of the nodes it is told of dies, too.
        yield Store(
            f"redis+cluster://{','.join(f'{HOST}:{each.port}' for each in nodes[:2])}", nodes[0], promoted
        )


@contextmanager
def sentinels() -> Iterator[Store]:
    with replicated(binaries()[0], sentinels=2) as (master, replica, watching):
        yield Store(sentinel_url(watching), master, lambda: role(replica) == "master")


@pytest.mark.xdist_group("failover")
@pytest.mark.parametrize("store", [a_cluster, sentinels])
async def test_a_master_that_dies_stops_nothing_for_long(
    directory: Path, store: Callable[[], AbstractContextManager[Store]]
) -> None:
    clock = SystemClock()
    wanted = WorldSettings(rate=10, lifetime_scale=0.1, visibility_scale=0.01, entities=20)
    world = World(wanted, from_seconds(clock.time()))
    with store() as place:
        async with (
            Sandbox(world, clock) as sandbox,
            listening() as endpoint,
            aclosing(connect(place.url)) as redis,
        ):
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_MONITE__ENTITIES="all",
                WATCHER_REDIS__URL=place.url,
                WATCHER_REDIS__SHARDS=str(SHARDS),
                WATCHER_REDIS__WAIT_REPLICAS="0",
                WATCHER_WEBHOOKS=json.dumps([webhook("one", endpoint.url, new_secret())]),
            )
            del settings["WATCHER_REDIS__DATA_DIR"]
            async with running(settings, directory) as daemon:
                await until_ready(daemon)
                await until_told(sandbox, redis, endpoint.ids)
                place.master.kill()

                async def promoted() -> bool:
                    return place.promoted()

                await eventually(promoted, "no replica was promoted")
                await until_ready(daemon)
                await until_told(sandbox, redis, endpoint.ids)
                assert [line.get("exception", line) for line in said(daemon, "worker.died")] == []
                weak = {line["setting"] for line in said(daemon, "store.weak")}
                assert {"appendonly", "min-replicas-to-write"} <= weak


@pytest.mark.xdist_group("failover")
async def test_what_a_failover_forgets_is_told_again_by_the_same_ids(
    directory: Path, sandbox: Sandbox
) -> None:
    """The replica that is promoted has not had the last writes, though the master acknowledged them."""
    with replicated(binaries()[0], sentinels=2) as (master, replica, watching):
        url = sentinel_url(watching)
        async with listening() as endpoint:
            settings = settings_for(
                sandbox.base_url,
                directory,
                WATCHER_REDIS__URL=url,
                WATCHER_WEBHOOKS=json.dumps([webhook("one", endpoint.url, new_secret())]),
            )
            del settings["WATCHER_REDIS__DATA_DIR"]
            async with running(settings, directory) as daemon:
                await until_ready(daemon)
                await until_all_published(sandbox, url)
                with master.client() as client:
                    client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
                    client.client_kill_filter(_type="replica")
                kept = await ids_on(replica)

                async def written() -> dict[Transition, str] | None:
                    only = {what: name for what, name in (await ids_on(master)).items() if what not in kept}
                    return only if len(only) >= 5 and set(only.values()) <= set(endpoint.ids) else None

                forgotten = await eventually(written, "nothing more was written and delivered")
                master.kill()

                async def promoted() -> bool:
                    return role(replica) == "master"

                await eventually(promoted, "the replica was not promoted")
                assert not forgotten.keys() & (await ids_on(replica)).keys()
                await until_ready(daemon)
                await until_all_published(sandbox, url)
                assert forgotten.items() <= (await ids_on(replica)).items()

                async def repeated() -> bool:
                    return all(endpoint.ids.count(name) > 1 for name in forgotten.values())

                await eventually(repeated, "what was told again was not delivered again")
        names: dict[Transition, set[str]] = {}
        for name, body in zip(endpoint.ids, endpoint.bodies, strict=True):
            told = json.loads(body)
            names.setdefault((told["data"]["task_id"], told["type"]), set()).add(name)
        assert [what for what, found in names.items() if len(found) > 1] == []


async def ids_on(server: Node) -> dict[Transition, str]:
    """The event of each transition on a server's stream."""
    found = [entry.event for entry in await entries(server.url)]
    return {(read_data(event).task_id, event.type): event.id for event in found}


async def until_told(sandbox: Sandbox, redis: Redis, delivered: list[str]) -> None:
    """Everything that has ended by now is on the streams and delivered; no id stands on a stream twice."""
    now = from_seconds(SystemClock().time())

    async def ended() -> set[str] | None:
        tasks = {
            str(task.id) for task in sandbox.world.truth(now) if task.ended_by(now) and task.scope != Scope()
        }
        return tasks if len(tasks) > 10 else None

    expected = await eventually(ended, "the simulated API stands still")
    ids: list[str] = []

    async def told() -> bool | None:
        events = [
            entry.event
            for shard in range(SHARDS)
            async for entry in follow(redis, Keys("watcher", shard, SHARDS), BEGINNING, wait=False)
        ]
        ids[:] = [event.id for event in events]
        wanted = {event.id for event in events if read_data(event).task_id in expected}
        found = {read_data(event).task_id for event in events}
        return True if expected <= found and wanted <= set(delivered) else None

    await eventually(told, "something that ended was never told")
    assert [name for name, times in Counter(ids).items() if times > 1] == []
