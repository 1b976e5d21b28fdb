"""What an endpoint says to the lane of one shard holds for its lanes of all, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.fakes import settle
from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, publish
from tests.unit.webhooks.receiver import Answer, Receiver, answer, receiving
from tests.unit.webhooks.world import World, until
from watcher.alerts.message import Message
from watcher.alerts.pauses import PauseAlerts
from watcher.fleet.slots import Slots
from watcher.metrics import Metrics
from watcher.model import Pause
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.webhooks import control
from watcher.webhooks.stats import lane_stats

SHARDS = (Keys("t", 0, 2), Keys("t", 1, 2), KEYS)
"""Two, and the one that they were before, which is retired."""


class Shards:
    """All of them, on one clock."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.worlds = [World(redis, keys=keys, shards=SHARDS) for keys in SHARDS]
        self.clock = self.worlds[0].clock
        for world in self.worlds[1:]:
            world.clock = world._clock = self.clock

    @asynccontextmanager
    async def running(self, receiver: Receiver) -> AsyncIterator[None]:
        to = endpoint(url=receiver.url)
        one, two, retired = self.worlds
        async with one.running(to), two.running(to), retired.running(to):
            yield

    async def until_all(self, field: str) -> list[str]:
        """Wait until all lanes have something in this field; what it is."""

        async def everywhere() -> bool:
            return None not in await self.fields(field)

        await until(everywhere)
        return [value.decode() for value in await self.fields(field)]

    async def fields(self, field: str) -> list[Any]:
        return [await self.redis.hget(keys.lane("one"), field) for keys in SHARDS]

    async def publish_to_all(self) -> None:
        for number, keys in enumerate(SHARDS, start=10):
            await publish(self.redis, event(number), keys=keys)

    async def tell(self) -> list[str]:
        """What the leaders of all shards tell of pauses."""
        recorder = Recorder()
        for keys in SHARDS:
            await PauseAlerts(self.redis, keys, [recorder], self.clock, Metrics(), lambda: SHARDS).run_once()
        return recorder.told


class Recorder:
    service = "recorder"

    def __init__(self) -> None:
        self.told: list[str] = []

    async def notify(self, message: Message) -> None:
        self.told.append(message.title)


@pytest.fixture
def shards(redis: Redis) -> Shards:
    return Shards(redis)


async def test_a_stop_begins_nothing_that_waits_for_a_slot(shards: Shards) -> None:
    """The slots are those of all shards: the others' deliveries still wait for one when all are told to end."""
    go_on, slots = asyncio.Event(), Slots(1)

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer()(reader, writer)

    one, two, _ = shards.worlds
    async with receiving(later) as receiver:
        to = endpoint(url=receiver.url)
        async with one.running(to, slots=slots) as first, two.running(to, slots=slots) as second:
            await publish(shards.redis, event(1), keys=one.keys)
            await receiver.received(1)
            [waits] = await publish(shards.redis, event(2), keys=two.keys)
            await until(lambda: _claimed(two, 1))
            stopping = asyncio.gather(first.stop(30), second.stop(30))
            await settle()
            go_on.set()
            await stopping
    assert len(receiver.requests) == 1
    assert list(await two.due()) == [waits]


async def _claimed(world: World, number: int) -> bool:
    return len(await world.claimed()) == number


@pytest.mark.parametrize("first", range(3))
async def test_410_pauses_all_and_is_told_once(shards: Shards, first: int) -> None:
    async with receiving(answer(410), answer()) as receiver, shards.running(receiver):
        await publish(shards.redis, event(1), keys=SHARDS[first])
        assert set(await shards.until_all("paused")) == {Pause.GONE}
        await shards.publish_to_all()
        await shards.clock.advance(3600)
        for keys in SHARDS:
            await shards.redis.sadd(keys.endpoints, "one")
        assert await shards.tell() == ["Webhook endpoint one is paused"]
        assert await shards.tell() == []
        assert len(receiver.requests) == 1
        for keys in SHARDS:
            await control.resume(shards.redis, keys, "one", shards.clock.time())
        await shards.worlds[0].let_pass(1, receiver.received(5))
        for world in shards.worlds:
            await shards.worlds[0].let_pass(1, world.settled())


@pytest.mark.parametrize(
    ("said", "field"), [(answer(410), "paused"), (answer(429, retry_after="3600"), "hold")]
)
async def test_what_waits_for_a_slot_meanwhile_is_not_sent(shards: Shards, said: Answer, field: str) -> None:
    """What was claimed before anything was known of it, in another shard or by a crew that a reload has begun."""
    go_on, slots = asyncio.Event(), Slots(1)

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await said(reader, writer)

    one, two, _ = shards.worlds
    async with receiving(later) as receiver:
        to = endpoint(url=receiver.url)
        async with one.running(to, slots=slots) as reloaded, two.running(to, slots=slots):
            await publish(shards.redis, event(1), keys=one.keys)
            await receiver.received(1)
            await reloaded.reload((to,), 3600)
            for number, world in enumerate((one, two), start=2):
                await publish(shards.redis, event(number), keys=world.keys)
            await until(lambda: _claimed(one, 2))
            await until(lambda: _claimed(two, 1))
            go_on.set()
            await shards.until_all(field)
            await shards.clock.advance(3599)
            assert len(receiver.requests) == 1


async def test_shards_that_learn_of_it_at_the_same_moment_tell_it_once(shards: Shards) -> None:
    for keys in SHARDS:
        await shards.redis.sadd(keys.endpoints, "one")
        await shards.redis.hset(keys.lane("one"), mapping={"paused": Pause.GONE, "paused_at": 5000})
    assert len(await shards.tell()) == 1
    assert await shards.tell() == []


async def test_retry_after_is_kept_by_all(shards: Shards) -> None:
    busy = answer(429, retry_after="3600")
    async with receiving(busy, answer()) as receiver, shards.running(receiver):
        await publish(shards.redis, event(1), keys=SHARDS[0])
        await shards.until_all("hold")
        await shards.publish_to_all()
        await shards.clock.advance(3599)
        assert len(receiver.requests) == 1
        await shards.worlds[0].let_pass(1, receiver.received(5))
        for world in shards.worlds:
            await shards.worlds[0].let_pass(1, world.settled())


async def test_what_a_process_that_died_had_not_passed_on_is_passed_on_by_the_next(shards: Shards) -> None:
    lane: dict[Any, Any] = {"hold": int(NOW * 1000) + 60_000, "paused": Pause.GONE, "paused_at": 5000}
    await shards.redis.hset(SHARDS[1].lane("one"), mapping=lane)
    async with receiving() as receiver, shards.running(receiver):
        assert await shards.until_all("paused_at") == ["5000"] * 3
        assert await shards.until_all("hold") == [str(lane["hold"])] * 3


async def test_the_later_hold_wins_and_what_is_paused_stays_as_it_is(redis: Redis) -> None:
    one, two, _ = SHARDS
    await control.pass_on(redis, one, "one", [two])
    assert not await redis.exists(two.lane("one"))
    await redis.hset(one.lane("one"), mapping={"hold": 5000, "paused": Pause.GONE, "paused_at": 7000})
    await redis.hset(two.lane("one"), mapping={"hold": 9000, "paused": Pause.BY_HAND, "paused_at": 3000})
    for _ in range(2):
        await control.pass_on(redis, one, "one", [two])
        found = await lane_stats(redis, two, "one")
        assert (found.held_until, found.paused, found.paused_at) == (9, Pause.BY_HAND, 3)
    await control.pass_on(redis, two, "one", [one])
    found = await lane_stats(redis, one, "one")
    assert (found.held_until, found.paused, found.paused_at) == (9, Pause.GONE, 7)


async def test_a_pause_of_before_is_none_once_it_was_resumed(redis: Redis) -> None:
    """Shards are resumed one after the other, and a lane that begins meanwhile passes on how it still stands."""
    one, two, _ = SHARDS
    for keys in (one, two):
        await redis.hset(keys.lane("one"), mapping={"paused": Pause.GONE, "paused_at": 5000})
    await control.resume(redis, one, "one", now=9)
    await control.pass_on(redis, two, "one", [one])
    assert (await lane_stats(redis, one, "one")).paused == ""
    await control.resume(redis, two, "one", now=9)
    await redis.hset(two.lane("one"), mapping={"paused": Pause.GONE, "paused_at": 9500})
    await control.pass_on(redis, two, "one", [one])
    assert (await lane_stats(redis, one, "one")).paused == Pause.GONE


@pytest.mark.parametrize(("delivered_at", "paused"), [(99, "failing"), (101, "")])
async def test_failing_pauses_no_shard_to_which_it_delivers(
    redis: Redis, delivered_at: int, paused: str
) -> None:
    one, two, _ = SHARDS
    lane: dict[Any, Any] = {"paused": Pause.FAILING, "paused_at": 7000, "failing_since": 100}
    await redis.hset(one.lane("one"), mapping=lane)
    await redis.hset(two.lane("one"), "delivered_at", delivered_at)
    await control.pass_on(redis, one, "one", [two])
    assert (await lane_stats(redis, two, "one")).paused == paused


@pytest.mark.parametrize(
    "words", [[], [1, "", 0, 0], ["x", "", 0, 0, "t"], [1, "", "x", 0, "t"], [1, "", 0, "x", "t"]]
)
async def test_heed_refuses_wrong_arguments(redis: Redis, words: list[Any]) -> None:
    with pytest.raises(ResponseError, match="heed: "):
        await redis.register_script(script("watcher.webhooks", "heed"))(keys=["lane"], args=words)
    assert not await redis.exists("lane")
