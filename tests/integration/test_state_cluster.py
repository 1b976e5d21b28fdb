"""Everything that the watcher does with its store, on a real cluster of three masters."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from itertools import chain, count
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from tests.servers import HOST, Move, Node, cluster, free_port, healthy, node, owner, wait
from tests.unit.webhooks.builders import endpoint, event, publish
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.world import World, arrived, publish_once_it_is_back, until
from watcher.clock import SystemClock
from watcher.errors import StoreUnavailable
from watcher.model import EntityId, Hint, Micros, Scope, TaskId, Weight
from watcher.ops.reshard import reshard, survey
from watcher.ops.status import read_status
from watcher.state.backfill import Request, begun
from watcher.state.backfills import ask, call_off
from watcher.state.budget import SharedBudget
from watcher.state.connection import MOST_CONNECTIONS, connect
from watcher.state.hints import HintStream
from watcher.state.keys import Keys, shard_of
from watcher.state.layout import shards_of
from watcher.state.lease import Lease, break_leases
from watcher.state.records import Known
from watcher.state.spread import Spread, fitting
from watcher.state.store import Change, Commit, Outcome, Store, store_errors
from watcher.state.weights import Weights
from watcher.webhooks import control
from watcher.webhooks.stats import all_stats

pytestmark = [pytest.mark.every_server, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(120)]

SHARDS = [Keys("c", shard, 4) for shard in range(4)]
SCOPE = Scope(EntityId("entity"))


@pytest.fixture(scope="module")
def nodes(binary: Path) -> Iterator[list[Node]]:
    with cluster(binary) as nodes:
        yield nodes


def url(nodes: list[Node]) -> str:
    return f"redis+cluster://{','.join(f'{HOST}:{each.port}' for each in nodes[:2])}"


@pytest.fixture
async def redis(nodes: list[Node]) -> AsyncIterator[Redis]:
    """The client that the daemon itself would use, on a cluster that is empty."""
    for each in nodes:
        with each.client() as client:
            client.flushall()
            client.script_flush()
    async with aclosing(connect(url(nodes))) as redis:
        yield redis


def test_the_shards_lie_on_every_master() -> None:
    assert {key_slot(keys.lease.encode()) * 3 // 16_384 for keys in SHARDS} == {0, 1, 2}


def ended(number: int) -> Commit:
    task = TaskId(f"task-{number}")
    change = Change(task, Micros(number), None, Known("success", 0, Micros(7), frozenset({"success"})))
    return Commit(SCOPE, [change], {task: None}, [{"id": f"event-{number}", "data": "{}"}])


async def test_each_shard_holds_its_lease_and_commits(redis: Redis) -> None:
    for keys in SHARDS:
        lease, store = Lease(redis, keys, SystemClock()), Store(redis, keys)
        assert await lease.acquire()
        assert not await Lease(redis, keys, SystemClock()).acquire()
        assert await lease.renew()
        assert await store.commit(ended(1), lease.nonce) is Outcome.APPLIED
        assert await store.commit(ended(2), "another") is Outcome.FENCED
        await store.register(SCOPE)
        assert await store.scopes() == (SCOPE,)
        assert list(await store.known(SCOPE, {TaskId("task-1"): Micros(1), TaskId("task-2"): Micros(2)})) == [
            "task-1"
        ]
        assert (await store.load(SCOPE)).start is None
        await store.save_lifetimes({"invoice": b"x"}, lease.nonce)
        assert await store.load_lifetimes() == {"invoice": b"x"}
        await store.reset(SCOPE)
        assert await store.scopes() == ()
    status = await read_status(redis, SHARDS, [], Micros(0))
    assert [shard.events for shard in status.shards] == [1, 1, 1, 1]
    await break_leases(redis, SHARDS)
    assert [await redis.exists(keys.lease) for keys in SHARDS] == [0, 0, 0, 0]


async def test_scopes_move_to_another_number_of_shards(redis: Redis) -> None:
    clock, scopes = SystemClock(), [Scope(EntityId(f"entity-{number}")) for number in range(8)]
    await Spread(redis, "c", 4, clock).look()
    for number, scope in enumerate(scopes):
        store = Store(redis, SHARDS[shard_of(scope, 4)])
        await store.register(scope)
        await redis.set(store.keys.lease, "nonce")
        assert await store.commit(replace(ended(number), scope=scope), "nonce") is Outcome.APPLIED
        await redis.delete(store.keys.lease)
    for shards in (3, 1, 4):
        found = await survey(redis, "c", shards)
        assert found is not None
        assert (await reshard(redis, clock, found, lambda _: None)).moved == found.moving > 0
        lying = {scope for keys in shards_of("c", shards) for scope in await Store(redis, keys).scopes()}
        assert lying == set(scopes)
        for number, scope in enumerate(scopes):
            store = Store(redis, shards_of("c", shards)[shard_of(scope, shards)])
            assert list(await store.known(scope, {TaskId(f"task-{number}"): Micros(number)})) == [
                f"task-{number}"
            ]
    assert sum([int(await redis.xlen(keys.events)) for keys in SHARDS]) == len(scopes)
    assert [keys.tag for keys in (await fitting(redis, "c", 4)).retired] == ["{c}"]


async def test_all_shards_share_one_budget(redis: Redis) -> None:
    one, two = (SharedBudget(redis, keys, SystemClock(), limit=3, window_seconds=60) for keys in SHARDS[:2])
    for budget in (one, two, one):
        await budget.acquire()
    assert await two.remaining() == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(two.acquire(), 0.05)
    await one.pause_until(SystemClock().monotonic() + 60)
    assert await two.remaining() == 0


async def test_weights_hints_and_backfills_cross_the_shards(redis: Redis) -> None:
    for number, keys in enumerate(SHARDS):
        told = await Weights(redis, keys).exchange(Weight(1.0, number + 1))
    assert told == Weight(3.0, 6)
    stream = HintStream(redis, SHARDS[1])
    await stream.append([Hint.of("0bad781f-db62-4ae7-aa32-0ded80b10972", "", "stream")])
    [(reached, hint)] = await HintStream(redis, SHARDS[3]).read("0")
    assert hint is not None
    await stream.taken(reached)
    assert await stream.reached() == reached
    job = begun(Request(0, 5, ("entity",), 1.0), 5)
    assert await ask(redis, SHARDS[2], job) == job
    other = begun(Request(0, 9, ("entity",), 1.0), 5)
    assert await ask(redis, SHARDS[2], other) == job
    await call_off(redis, SHARDS[2])
    assert await ask(redis, SHARDS[2], other) == other


async def test_every_shard_delivers(redis: Redis) -> None:
    worlds = [World(redis, SystemClock(), keys) for keys in SHARDS]
    events = [[event(number * 100 + each) for each in range(20)] for number in range(len(SHARDS))]
    async with receiving() as receiver:
        to = endpoint(url=receiver.url)
        async with worlds[0].running(to), worlds[1].running(to), worlds[2].running(to), worlds[3].running(to):
            for keys, some in zip(SHARDS, events, strict=True):
                await publish(redis, *some, keys=keys)
            await receiver.received(80)
            for world in worlds:
                await world.settled()
        assert (await all_stats(redis, SHARDS, ["one"]))["one"].depth == 0
    assert arrived(receiver) == {some.id: 1 for some in chain(*events)}
    for keys in SHARDS:
        await control.pause(redis, keys, "one", 0)
        await control.resume(redis, keys, "one", 0)
        await control.forget(redis, keys, "one")


async def test_more_at_once_than_may_be_under_way_wait(redis: Redis) -> None:
    async def piped(number: int) -> None:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set(f"piped-{number}", number)
            pipe.get(f"piped-{number}")
            assert await pipe.execute() == [True, str(number).encode()]

    count = 3 * MOST_CONNECTIONS
    await asyncio.gather(*(piped(number) for number in range(count)))
    assert all(await asyncio.gather(*(redis.set(f"key-{number}", number) for number in range(count))))


async def test_a_cancellation_leaves_answers_where_they_belong(redis: Redis) -> None:
    await redis.set("{x}one", "1")
    await redis.set("{x}two", "2")
    for turns in range(12):
        asking = asyncio.ensure_future(redis.get("{x}one"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert [await redis.get(name) for name in ("{x}two", "{x}one", "{x}two")] == [b"2", b"1", b"2"]


@pytest.fixture
def move(nodes: list[Node]) -> Iterator[Move]:
    """The slot of the last shard on its way to another master; where it was it is again in the end."""
    slot = key_slot(SHARDS[3].lease.encode())
    source = owner(nodes, slot)
    assert source is not None
    target = next(each for each in nodes if each is not source)
    yield Move(slot, source, target, nodes)
    if owner(nodes, slot) is target:
        back = Move(slot, target, source, nodes)
        back.begin()
        back.carry()
        back.end()


async def test_a_slot_that_has_moved_is_found_again(redis: Redis, move: Move) -> None:
    store, world = Store(redis, SHARDS[3]), World(redis, SystemClock(), SHARDS[3])
    await redis.set(SHARDS[3].lease, "nonce")
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(redis, event(1), keys=SHARDS[3])
        await receiver.received(1)
        await world.settled()
        move.begin()
        while move.carry():
            pass
        move.end()
        assert await store.commit(ended(1), "nonce") is Outcome.APPLIED
        await publish(redis, event(2), keys=SHARDS[3])
        await receiver.received(2)
        await world.settled()
    assert arrived(receiver) == {event(1).id: 1, event(2).id: 1}
    with move.target.client() as client:
        assert client.execute_command("CLUSTER", "COUNTKEYSINSLOT", move.slot) > 0


@pytest.mark.parametrize("idle", [4, 5])
async def test_a_slot_on_its_way_is_asked_for_where_it_goes(redis: Redis, move: Move, idle: int) -> None:
    """With several idle connections there, on only one of which ``ASKING`` would be of use."""
    elsewhere = next(
        f"k{each}" for each in range(10_000) if owner(move.nodes, key_slot(b"k%d" % each)) is move.target
    )
    await asyncio.gather(*(redis.set(elsewhere, each) for each in range(idle)))
    await redis.set(SHARDS[3].lease, "nonce")
    store = Store(redis, SHARDS[3])
    move.begin()
    assert move.carry() == 1
    assert await redis.get(SHARDS[3].lease) == b"nonce"
    assert await store.known(SCOPE, {TaskId("task-1"): Micros(1)}) == {}
    lease = Lease(redis, SHARDS[3], SystemClock())
    lease.nonce = "nonce"
    assert await lease.renew()
    move.end()
    assert await redis.get(SHARDS[3].lease) == b"nonce"


async def test_a_cluster_that_is_not_there_is_an_unavailable_store() -> None:
    async with aclosing(connect(f"redis+cluster://{HOST}:{free_port()}")) as redis:
        for step in (Lease(redis, SHARDS[0], SystemClock()).acquire, Store(redis, SHARDS[0]).scopes):
            with pytest.raises(StoreUnavailable):
                await step()
        with pytest.raises(StoreUnavailable):
            await Store(redis, SHARDS[0]).load(SCOPE)


async def test_a_server_that_is_no_cluster_says_so(binary: Path) -> None:
    with node(binary) as single:
        async with aclosing(connect(f"redis+cluster://{HOST}:{single.port}")) as redis:
            with pytest.raises(StoreUnavailable, match="Cluster mode is not enabled"), store_errors():
                await redis.get("key")


async def busy(redis: Redis, number: int, done: Counter[int]) -> None:
    """Every kind of command, again and again; only the store's own errors are passed over."""
    step = redis.register_script("return redis.call('GET', KEYS[1])")
    for turn in count(number):
        name = f"key-{turn * 7 % 100}"
        try:
            if turn % 4 == 0:
                await redis.set(name, 1)
            elif turn % 4 == 1:
                await step(keys=[name])
            elif turn % 4 == 2:
                await redis.xread({f"stream-{turn % 100}": "0"}, block=20)
            else:
                async with redis.pipeline(transaction=False) as pipe:
                    for each in range(5):
                        pipe.get(f"key-{each}")
                    await pipe.execute()
        except RedisError:
            await asyncio.sleep(0.01)
        done[number] += 1


async def test_a_master_that_dies_costs_nothing_that_its_replica_has(binary: Path) -> None:
    """The replica is promoted by the other masters; who delivers goes on by itself."""
    with cluster(binary, 3, 1) as nodes, capture_logs() as logs:
        keys = next(keys for keys in SHARDS if owner(nodes, key_slot(keys.lease.encode())) is nodes[0])
        slot = key_slot(keys.lease.encode())
        async with aclosing(connect(url(nodes))) as redis, receiving() as receiver:
            world = World(redis, SystemClock(), keys)
            async with world.running(endpoint(url=receiver.url)):
                await publish(redis, *[event(number) for number in range(20)], keys=keys)
                await receiver.received(20)
                await world.settled()
                with nodes[0].client() as client:
                    client.set(f"{keys.tag}:mark", 1)
                    assert client.wait(1, 5000) == 1
                turns: Counter[int] = Counter()
                crowd = [asyncio.create_task(busy(redis, number, turns)) for number in range(40)]

                async def warm() -> bool:
                    return len(turns) == 40 and min(turns.values()) > 20

                await until(warm)
                nodes[0].kill()
                alive = nodes[1:]
                await asyncio.to_thread(
                    wait,
                    lambda: all(healthy(each) for each in alive) and owner(alive, slot) is nodes[3],
                    lambda: "no failover",
                )
                await publish_once_it_is_back(redis, *map(event, range(20, 40)), keys=keys)
                await receiver.received(40)
                await world.settled()
                done = [task for task in crowd if task.done()]
                for task in crowd:
                    task.cancel()
                await asyncio.wait(crowd)
                assert [task.exception() for task in done] == []
    assert set(arrived(receiver)) == {event(number).id for number in range(40)}
    assert [each["event"] for each in logs if each["log_level"] == "error"] == []
