"""The master that sentinels name, before and after it dies."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from tests.servers import HOST, free_port, replicated, role, sentinel_url, wait
from tests.unit.webhooks.builders import endpoint, event, publish
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.world import World, arrived, publish_once_it_is_back, until
from watcher.clock import SystemClock
from watcher.errors import StoreUnavailable
from watcher.state.connection import MOST_CONNECTIONS, connect
from watcher.state.keys import Keys
from watcher.state.lease import Lease
from watcher.state.store import Store, store_errors

pytestmark = [pytest.mark.every_server, pytest.mark.xdist_group("sentinel"), pytest.mark.timeout(120)]

KEYS = Keys("s")


async def test_the_master_is_followed_to_another_server(binary: Path) -> None:
    with replicated(binary, sentinels=2) as (master, replica, sentinels), capture_logs() as logs:
        async with aclosing(connect(sentinel_url(sentinels, database=1))) as redis, receiving() as receiver:
            many = 2 * MOST_CONNECTIONS
            assert all(await asyncio.gather(*(redis.set(f"key-{each}", each) for each in range(many))))
            with master.client() as client:
                assert client.info("keyspace")["db1"]["keys"] == many
            lease = Lease(redis, KEYS, SystemClock())
            assert await lease.acquire()
            world = World(redis, SystemClock(), KEYS)
            async with world.running(endpoint(url=receiver.url)):
                await publish(redis, *[event(number) for number in range(20)], keys=KEYS)
                await receiver.received(20)
                await world.settled()
                with master.client() as client:
                    client.set("last", "1")
                    assert client.wait(1, 5000) == 1
                master.kill()
                await publish_once_it_is_back(redis, *map(event, range(20, 40)), keys=KEYS)
                await receiver.received(40)
                await world.settled()
            assert await lease.renew()
        assert role(replica) == "master"
    assert arrived(receiver) == {event(number).id: 1 for number in range(40)}
    assert [each["event"] for each in logs if each["log_level"] == "error"] == []


async def test_a_master_that_is_made_a_replica_is_left(binary: Path) -> None:
    """It refuses to write; the next try asks the sentinels again."""
    with replicated(binary, sentinels=2) as (master, replica, sentinels):
        async with aclosing(connect(sentinel_url(sentinels, database=1))) as redis:
            store = Store(redis, KEYS)
            await redis.set("before", "1")
            with sentinels[0].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", "main")

            wait(lambda: role(replica) == "master", lambda: "no failover")
            with master.client() as client:
                client.replicaof(HOST, replica.port)  # as the sentinels would do some seconds later

            async def kept() -> bool:
                try:
                    await redis.set("after", "1")
                    await store.scopes()
                except (RedisError, StoreUnavailable):
                    return False
                return True

            await until(kept)
            assert await redis.get("before") == b"1"
        with replica.client() as client:
            client.select(1)
            assert client.get("after") == b"1"


async def test_sentinels_that_do_not_answer_or_know_the_service_are_an_unavailable_store(
    binary: Path,
) -> None:
    with replicated(binary, sentinels=1) as (_, _, sentinels):
        for url in (
            sentinel_url(sentinels, "other", database=1),
            f"redis+sentinel://{HOST}:{free_port()}/main",
        ):
            async with aclosing(connect(url)) as redis:
                with pytest.raises(
                    StoreUnavailable, match=r"^the store: no sentinel answers and names a master '\w+'$"
                ):
                    await Lease(redis, KEYS, SystemClock()).acquire()


async def test_sentinels_may_have_a_password_of_their_own(binary: Path) -> None:
    with replicated(binary, sentinels=1) as (master, _, sentinels):
        with sentinels[0].client() as client, master.client() as server:
            client.execute_command("SENTINEL", "SET", "main", "auth-pass", "one")
            server.config_set("requirepass", "one")
            client.execute_command("ACL", "SETUSER", "default", ">two")
        good, bad = "?sentinel_password=two", "?sentinel_password=three"
        place = sentinel_url(sentinels, database=1).replace("://", "://:one@")
        async with aclosing(connect(place + good)) as redis:
            assert await redis.set("key", "value")
        async with aclosing(connect(place + bad)) as redis:
            with pytest.raises(StoreUnavailable) as caught, store_errors():
                await redis.get("key")
        assert "three" not in str(caught.value)
