"""A server behind TLS, and a user that may do what the watcher needs and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis

from tests.authority import Authority, server_side
from tests.integration.conftest import Server
from tests.pump import pump
from tests.servers import HOST
from tests.unit.webhooks.builders import any_entry, endpoint, event, publish
from tests.unit.webhooks.receiver import answer, receiving
from tests.unit.webhooks.world import World, arrived
from watcher.clock import SystemClock
from watcher.errors import StoreUnavailable
from watcher.events.stream import trim
from watcher.model import Hint, Micros, Scope, TaskId, Weight
from watcher.ops.reshard import reshard, survey
from watcher.ops.status import read_status
from watcher.settings import load_settings
from watcher.state.backfill import Request, begun
from watcher.state.backfills import ask
from watcher.state.budget import SharedBudget
from watcher.state.connection import connect
from watcher.state.hints import HintStream
from watcher.state.keys import Keys
from watcher.state.lease import Lease
from watcher.state.records import Known
from watcher.state.spread import Spread
from watcher.state.store import Change, Commit, Outcome, Store
from watcher.state.weights import Weights
from watcher.webhooks import control, letters
from watcher.webhooks.group import EventGroup
from watcher.webhooks.queue import DeliveryQueue
from watcher.webhooks.routing import Router
from watcher.webhooks.stats import all_stats, needed_from

pytestmark = pytest.mark.every_server

ACL = (Path(__file__).parents[2] / "deploy" / "redis" / "watcher.acl").read_text()
SHARDS = [Keys("watcher", shard, 2) for shard in range(2)]
"""Of the namespace that the rights are for."""


@pytest.fixture
def admin(redis_url: str, redis_server: Server) -> Iterator[sync_redis.Redis]:
    """With the user of deploy/redis/watcher.acl on the server, and nothing in its log of refusals."""
    with sync_redis.Redis.from_url(redis_server.url) as client:
        _, name, *rules = ACL.split()
        client.execute_command("ACL", "SETUSER", name, *rules)
        client.acl_log_reset()
        yield client
        client.acl_deluser(name)


async def test_the_rights_are_enough_for_everything(admin: sync_redis.Redis, redis_server: Server) -> None:
    async with aclosing(connect(f"unix://watcher:change-me@{redis_server.socket}")) as redis:
        await everything(redis)
    assert admin.acl_log() == []


async def everything(redis: Any) -> None:
    """What the daemon and the commands do with a store."""
    scope, keys, clock = Scope(), SHARDS[1], SystemClock()
    lease, store = Lease(redis, keys, clock), Store(redis, keys)
    assert await lease.acquire()
    assert await lease.renew()
    known = Known("success", 0, Micros(7), frozenset({"success"}))
    commit = Commit(
        scope,
        [Change(TaskId("task"), Micros(1), None, known)],
        {TaskId("other"): Micros(1), TaskId("task"): None},
        [{"id": "event", "data": "{}"}],
    )
    assert await store.commit(commit, lease.nonce) is Outcome.APPLIED
    await store.register(scope)
    await store.save_lifetimes({"invoice": b"x"}, lease.nonce)
    await store.load_lifetimes()
    await store.load(scope)
    await store.known(scope, {TaskId("task"): Micros(1)})
    await store.forget(scope, Micros(10**15), lease.nonce)
    await ask(redis, keys, begun(Request(0, 5, ("-",), 1.0), 5))
    await store.backfill()
    budget = SharedBudget(redis, keys, clock, limit=3, window_seconds=60)
    await budget.acquire()
    await budget.pause_until(clock.monotonic() + 1)
    assert await budget.remaining() == 0
    assert await budget.paused_for() > 0
    await Weights(redis, keys).exchange(Weight(1.0, 1))
    hints = HintStream(redis, keys)
    await hints.append([Hint.of("0bad781f-db62-4ae7-aa32-0ded80b10972", "", "stream")])
    [(reached, _)] = await hints.read("0")
    await hints.taken(reached)
    await hints.reached()
    await deliver(redis, keys)
    await fall_behind(redis, keys)
    await read_status(redis, SHARDS, ["one"], Micros(0))
    await all_stats(redis, SHARDS, ["one"])
    await trim(redis, keys, Micros(1), await needed_from(redis, keys))
    assert await redis.info("server")
    await lease.release()
    await redis.delete(keys.backfill)
    await Spread(redis, "watcher", 2, clock).look()
    for shards in (3, 1, 2):
        found = await survey(redis, "watcher", shards)
        assert found is not None
        await reshard(redis, clock, found, lambda _: None)
    for each in SHARDS:
        await Store(redis, each).reset(scope)


async def deliver(redis: Any, keys: Keys) -> None:
    """One event that arrives, and one that is buried, revived and forgotten."""
    world = World(redis, SystemClock(), keys)
    async with receiving(answer(500), answer(204)) as receiver:
        async with world.running(endpoint(url=receiver.url, retry_schedule=(0,))):
            await publish(redis, event(1), keys=keys)
            await receiver.received(1)
            await world.settled()
            await control.pause(redis, keys, "one", 0)
            await control.resume(redis, keys, "one", 0)
        found = [letter.id async for letter in letters.letters(redis, keys, "one", letters.Choice())]
        assert await letters.retry(redis, keys, "one", found, 0) == len(found) == 1
        async with world.running(endpoint(url=receiver.url)):
            await receiver.received(2)
            await world.settled()
    assert arrived(receiver) == {event(1).id: 2}
    await control.forget(redis, keys, "one")


async def fall_behind(redis: Any, keys: Keys) -> None:
    """An endpoint that lags, and one event that is drawn from the stream."""
    to = endpoint("one")
    group, queue, router = (
        EventGroup(redis, keys, "me", room=1),
        DeliveryQueue(redis, keys, "one", wanted=any_entry),
        Router([to]),
    )
    await group.join()
    for number in (1, 2):
        await publish(redis, event(number), keys=keys)
        routed = [router.route(*entry) for entry in await group.read(count=1, block_ms=1)]
        assert (await group.accept(routed, group.places([to]), now=1)).entries == 1
    got = [len((await queue.claim(now=1, seconds=30, most=1)).claims) for _ in range(3)]
    assert got == [1, 1, 0]


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "another"),
        ("GET", "{watcher2}:lease"),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "SET", "maxmemory", "0"),
        ("EVAL", "return 1", "0"),
        ("SHUTDOWN",),
        ("ACL", "LIST"),
        ("SUBSCRIBE", "x"),
    ],
)
async def test_they_are_for_nothing_else(
    admin: sync_redis.Redis, redis_server: Server, command: tuple[str, ...]
) -> None:
    with (
        sync_redis.Redis.from_url(f"unix://watcher:change-me@{redis_server.socket}") as client,
        pytest.raises(sync_redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command)


# --- TLS ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def behind_tls(server: Server, certificate: Path) -> AsyncIterator[int]:
    """A port where a server that has no TLS of its own is reached through it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(server.socket)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    listener = await asyncio.start_server(serve, HOST, 0, ssl=server_side(certificate))
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def test_a_server_behind_tls(
    admin: sync_redis.Redis, redis_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = authority.issue("store", "DNS:localhost", "IP:127.0.0.1")
    async with behind_tls(redis_server, certificate) as port:
        url = f"rediss://watcher:change-me@{HOST}:{port}/0"
        monkeypatch.setenv("WATCHER_REDIS__URL", f"{url}?ssl_ca_certs={authority.file}")
        set_url = load_settings().redis.url
        assert set_url is not None
        async with aclosing(connect(set_url.get_secret_value())) as redis:
            await everything(redis)
        async with aclosing(connect(url)) as redis:
            with pytest.raises(StoreUnavailable, match="certificate"):
                await Store(redis, SHARDS[0]).scopes()
        async with aclosing(connect(f"{url}?ssl_cert_reqs=none")) as redis:
            assert await Store(redis, SHARDS[0]).scopes() == ()
    assert admin.acl_log() == []


async def test_a_certificate_for_another_name_is_refused(redis_server: Server, authority: Authority) -> None:
    certificate = authority.issue("other", "DNS:other.test")
    async with behind_tls(redis_server, certificate) as port:
        url = f"rediss://{HOST}:{port}?ssl_ca_certs={authority.file}"
        async with aclosing(connect(url)) as redis:
            with pytest.raises(StoreUnavailable):
                await Store(redis, SHARDS[0]).scopes()
        async with aclosing(connect(f"{url}&ssl_check_hostname=false")) as redis:
            assert await Store(redis, SHARDS[0]).scopes() == ()
