"""What a store says of its durability, and waiting for its replicas."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import redis as sync_redis
from structlog.testing import capture_logs

from tests.fakes import EagerClock
from tests.integration.conftest import Server
from tests.servers import Node, cluster, linked, replicated, wait
from tests.unit.webhooks.builders import endpoint, event, publish
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.world import World, arrived, until
from watcher.clock import SystemClock
from watcher.model import Scope
from watcher.ops.checks import Finding, run_checks
from watcher.settings import Settings
from watcher.state.connection import connect
from watcher.state.durability import weaknesses
from watcher.state.inspection import inspect, warn
from watcher.state.keys import Keys
from watcher.state.replicas import Replicas
from watcher.state.store import Store

pytestmark = [pytest.mark.every_server, pytest.mark.xdist_group("replicas"), pytest.mark.timeout(120)]

KEYS = Keys("r")


@pytest.fixture(scope="module")
def pair(binary: Path) -> Iterator[tuple[Node, Node]]:
    with replicated(binary) as (master, replica, _):
        yield master, replica


async def test_what_a_server_says_is_read(pair: tuple[Node, Node]) -> None:
    async with aclosing(connect(pair[0].url)) as redis, aclosing(connect(pair[1].url)) as other:
        (master,), (replica,) = await inspect(redis), await inspect(other)
    assert (master.master, master.replicas) == (True, 1)
    assert master.config is not None
    assert master.config["appendonly"] == "no"
    assert not replica.master
    assert {each.setting for each in weaknesses([master], failover=False)} == {
        "appendonly",
        "min-replicas-to-write",
    }


async def test_the_daemon_says_each_weakness_once_and_check_shows_it(redis_url: str) -> None:
    async with aclosing(connect(redis_url)) as redis:
        with capture_logs() as logs:
            await warn(redis, EagerClock(), failover=False, wait_replicas=0)
    (only,) = logs
    assert (only["event"], only["setting"], only["value"]) == ("store.weak", "appendonly", "no")
    shown: list[Finding] = []
    settings = Settings.model_validate(
        {"monite": {"base_url": "http://127.0.0.1:9", "token": "x"}, "redis": {"url": redis_url}}
    )
    await run_checks(settings, shown.append)
    assert [each.text.partition(":")[0] for each in shown if each.doubt] == ["appendonly is no"]


async def test_check_fails_where_the_store_takes_no_writes(pair: tuple[Node, Node]) -> None:
    shown: list[Finding] = []
    settings = Settings.model_validate(
        {"monite": {"base_url": "http://127.0.0.1:9", "token": "x"}, "redis": {"url": pair[1].url}}
    )
    found = await run_checks(settings, shown.append)
    (store,) = [each for each in shown if each.name == "store"]
    assert (store.good, store.doubt, store in found) == (False, False, True)
    assert store.text.endswith(
        "answers, but takes no writes: it is a replica; point WATCHER_REDIS__URL at its master"
    )


async def test_where_it_may_not_be_asked_it_says_so(redis_url: str, redis_server: Server) -> None:
    with sync_redis.Redis.from_url(redis_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "few", "on", "nopass", "~*", "+@all", "-config", "-info")
        try:
            async with aclosing(connect(f"unix://few:x@{redis_server.socket}")) as redis:
                (reading,) = await inspect(redis)
        finally:
            admin.acl_deluser("few")
    assert (reading.replicas, reading.config) == (None, None)
    assert [each.setting for each in weaknesses([reading], failover=False)] == ["CONFIG GET"]


async def test_every_master_of_a_cluster_is_asked_and_waited_for(binary: Path) -> None:
    with cluster(binary) as nodes:
        async with aclosing(connect(f"redis+cluster://127.0.0.1:{nodes[0].port}")) as redis:
            readings = await inspect(redis)
            assert {each.server for each in readings} == {f"127.0.0.1:{each.port}" for each in nodes}
            told = {each.setting: each.servers for each in weaknesses(readings, failover=True)}
            assert {len(servers) for servers in told.values()} == {3}
            for shard in range(4):
                assert await Replicas(redis, Keys("r", shard, 4), 1).acknowledged(0.01) == 0


async def test_nothing_is_delivered_before_a_replica_has_it(pair: tuple[Node, Node]) -> None:
    """The replica stands still: it is connected, and acknowledges nothing."""
    master, replica = pair
    async with aclosing(connect(master.url)) as redis, receiving() as receiver:
        world = World(redis, SystemClock(), KEYS)
        with capture_logs() as logs:
            async with world.running(endpoint(url=receiver.url), wait_replicas=1):
                await publish(redis, event(1), keys=KEYS)
                await receiver.received(1)
                await world.settled()
                replica.process.send_signal(signal.SIGSTOP)
                try:
                    await publish(redis, event(2), keys=KEYS)

                    async def said() -> bool:
                        return any(each["event"] == "webhooks.replicas_missing" for each in logs)

                    await until(said)
                    assert await world.waiting() == []
                    assert arrived(receiver) == {event(1).id: 1}
                    await Store(redis, KEYS).register(Scope())  # polling goes on
                    assert await Store(redis, KEYS).scopes() == (Scope(),)
                finally:
                    replica.process.send_signal(signal.SIGCONT)
                await receiver.received(2)
                await world.settled()
        with replica.client() as client:
            assert client.xlen(KEYS.events) == 2
    assert arrived(receiver) == {event(1).id: 1, event(2).id: 1}
    assert [each["event"] for each in logs].count("webhooks.replicas_missing") == 1
    assert "webhooks.replicas_back" in [each["event"] for each in logs]


async def test_a_replica_that_is_gone_is_waited_for_and_nothing_is_lost(pair: tuple[Node, Node]) -> None:
    master, replica = pair
    keys = Keys("gone")
    async with aclosing(connect(master.url)) as redis, receiving() as receiver:
        world = World(redis, SystemClock(), keys)
        with replica.client() as client:
            client.execute_command("REPLICAOF", "NO", "ONE")
        with capture_logs() as logs:
            webhooks = world.replica(endpoint(url=receiver.url), wait_replicas=1)
            task = asyncio.create_task(webhooks.run())
            await publish(redis, event(1), keys=keys)

            async def said() -> bool:
                return any(each["event"] == "webhooks.replicas_missing" for each in logs)

            await until(said)
            await webhooks.stop(0.1)  # a stop is not held up
            await task
            assert arrived(receiver) == {}
            with replica.client() as client:
                client.replicaof("127.0.0.1", master.port)
            wait(lambda: linked(replica), lambda: "the replica finds no master")
            async with world.running(endpoint(url=receiver.url), wait_replicas=1):
                await receiver.received(1)
                await world.settled()
    assert arrived(receiver) == {event(1).id: 1}
