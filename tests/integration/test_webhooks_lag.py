"""Endpoints that lag: what is left on the stream for them, and what becomes of it, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - the client's own
from structlog.testing import capture_logs

from tests.integration.conftest import Server
from tests.unit.webhooks.builders import KEYS, NOW, any_entry, endpoint, event, fields, place, publish
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.stage import Stage
from tests.unit.webhooks.world import World, arrived, until
from watcher.errors import StoreUnavailable
from watcher.events.stream import trim
from watcher.model import from_seconds
from watcher.settings import Endpoint
from watcher.state.lua import script
from watcher.webhooks import control
from watcher.webhooks.delivery import Claim, Record, Retried, Settlement
from watcher.webhooks.group import ROOM, EventGroup
from watcher.webhooks.outcome import Delivered, Effect, Reason
from watcher.webhooks.queue import Breaker, DeliveryQueue
from watcher.webhooks.replay import replay
from watcher.webhooks.routing import Router
from watcher.webhooks.stats import all_stats, lane_stats, needed_from

ONE = endpoint("one")
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)


class Reader:
    """A reader of the group, whose endpoints have room for two deliveries that are due."""

    def __init__(self, redis: Redis, *endpoints: Endpoint, name: str = "me") -> None:
        self.redis = redis
        self.endpoints = endpoints or (ONE,)
        self.group = EventGroup(redis, KEYS, name, room=2)

    async def read(self, count: int = 100) -> list[tuple[str, dict[bytes, bytes]]]:
        return await self.group.read(count=count, block_ms=1)

    async def accept(self, entries: Sequence[tuple[str, dict[bytes, bytes]]]) -> list[str]:
        router = Router(self.endpoints)
        routed = [router.route(*each) for each in entries]
        await self.group.accept(routed, self.group.places(self.endpoints), now=NOW)
        return [entry_id for entry_id, _ in entries]

    async def take(self, *numbers: int, **about: Any) -> list[str]:
        """Publish and accept events of these numbers; their ids."""
        await publish(self.redis, *(event(number, **about) for number in numbers))
        return await self.accept(await self.read())


@pytest.fixture
async def reader(redis: Redis) -> Reader:
    reader = Reader(redis)
    await reader.group.join()
    return reader


@pytest.fixture
def stage(redis: Redis) -> Stage:
    return Stage(redis)


@pytest.fixture
async def left(reader: Reader, stage: Stage) -> list[str]:
    """Two events are due, and six are left on the stream: the ids of all."""
    due = await reader.take(1, 2)
    left = await reader.take(3, 4, 5, 6, 7, 8)
    assert await stage.waiting() == due
    return due + left


async def lagging(redis: Redis) -> set[str]:
    found: Any = await redis.hkeys(KEYS.lagging)
    return {name.decode() for name in found} - {"#version"}


def ids(claims: Sequence[Claim]) -> list[str]:
    return [claim.entry_id for claim in claims]


# --- begin and end ------------------------------------------------------------------------------------------


async def test_one_that_lags_gets_in_the_streams_order_what_was_left(
    stage: Stage, left: list[str], reader: Reader
) -> None:
    assert ids(await stage.claim(most=1)) == left[:1]
    assert ids(await stage.claim(most=4)) == left[1:5], "what is due first, then what was left"
    assert await stage.waiting() == left[:5]
    assert ids(await stage.claim(most=100)) == left[5:]
    assert await lagging(stage.redis) == {"one"}, "nobody knows yet that there is no more"
    assert await stage.claim() == []
    assert await lagging(stage.redis) == set()
    more = await reader.take(9)
    assert list(await stage.due()) == more, "it is a delivery at once"


async def test_what_was_left_is_read_from_the_stream_with_its_events(stage: Stage, left: list[str]) -> None:
    claims = await stage.claim()
    assert [claim.fields for claim in claims] == [fields(event(number)) for number in range(1, 9)]
    assert {claim.ends for claim in claims} == {int((NOW + 30) * 1000)}
    assert list(await stage.claimed()) == left
    await stage.settle([Settlement(claim, Delivered()) for claim in claims])
    assert (await stage.waiting(), await stage.due(), await stage.claimed()) == ([], {}, {})
    assert await stage.claim() == []


async def test_those_that_keep_up_get_theirs_at_once(redis: Redis) -> None:
    two = endpoint("two")
    reader = Reader(redis, ONE, two)
    await reader.group.join()
    queue, got = DeliveryQueue(redis, KEYS, "two", wanted=any_entry), []
    for number in range(5):
        await reader.take(2 * number, 2 * number + 1)
        found = await queue.claim(now=NOW, seconds=30, most=10)
        await queue.settle([Settlement(claim, Delivered()) for claim in found.claims], now=NOW)
        got.append(len(found.claims))
    assert got == [2] * 5
    assert (await lane_stats(redis, KEYS, "two")).depth == 0
    assert (await lane_stats(redis, KEYS, "one")).depth == 10
    assert await redis.zcard(KEYS.waiting("one")) == 2


async def test_a_retry_that_is_due_later_takes_no_room(reader: Reader, stage: Stage) -> None:
    await reader.take(1)
    for number in range(2, 6):
        claims = await stage.claim()
        await stage.settle([Settlement(claim, Retried(NOW + 60, RECORD)) for claim in claims])
        await reader.take(number)
    assert await lagging(stage.redis) == set()
    assert len(await stage.due()) == 5


async def test_one_that_is_told_of_the_newest_only_never_lags(redis: Redis) -> None:
    to = endpoint("one", order="task", coalesce=True)
    reader = Reader(redis, to)
    await reader.group.join()
    await reader.take(1, 2, 3)
    await reader.take(4, 5, 6)
    assert await lagging(redis) == set()


async def test_the_order_of_a_task_is_kept(redis: Redis) -> None:
    to = endpoint("one", order="task", events=("*",))
    reader, queue = Reader(redis, to), DeliveryQueue(redis, KEYS, "one", wanted=Router((to,)).word)
    await reader.group.join()
    await reader.take(1, 2)
    of_one, of_two = await reader.take(3, 4)
    [again] = await reader.take(3, status="error")
    sent: list[str] = []
    for _ in range(5):
        found = await queue.claim(now=NOW, seconds=30, most=2)
        sent += ids(found.claims)
        await queue.settle([Settlement(claim, Delivered()) for claim in found.claims], now=NOW)
    assert sent.index(of_one) < sent.index(again)
    assert set(sent[2:]) == {of_one, of_two, again}
    assert len(sent) == 5


# --- several readers ----------------------------------------------------------------------------------------


async def test_what_another_reader_was_given_before_is_a_delivery_though_it_is_accepted_later(
    redis: Redis, reader: Reader, stage: Stage
) -> None:
    other = Reader(redis, name="other")
    await publish(redis, *(event(number) for number in range(1, 5)))
    late = await other.read(count=1)
    rest = await reader.accept(await reader.read())
    assert await lagging(redis) == {"one"}
    assert await stage.waiting() == rest
    await other.accept(late)
    assert await stage.waiting() == [late[0][0], *rest]


async def test_nothing_is_drawn_that_another_reader_has_not_accepted(
    redis: Redis, reader: Reader, stage: Stage
) -> None:
    """It may yet become a delivery, and would be sent twice."""
    due = await reader.take(1, 2)
    other = Reader(redis, name="other")
    await publish(redis, *(event(number) for number in range(3, 7)))
    late = await other.read(count=2)
    rest = await reader.accept(await reader.read())
    assert ids(await stage.claim()) == due
    found = await stage.queue.claim(now=NOW, seconds=30, most=10)
    assert (found.claims, found.next_due) == ([], NOW + 30), "there is nothing to look for in a hurry"
    accepted = await other.accept(late)
    assert ids(await stage.claim()) == [*accepted, *rest]


async def test_a_reader_that_does_not_know_who_lags_is_told(
    redis: Redis, reader: Reader, stage: Stage, left: list[str]
) -> None:
    other = Reader(redis, name="other")
    more = await other.take(9, 10)
    assert await stage.waiting() == left[:2]
    assert ids(await stage.claim()) == left + more
    await stage.claim()
    assert await lagging(redis) == set()
    # Both know it otherwise.
    assert set(await reader.take(11) + await other.take(12)) <= set(await stage.waiting())


async def test_a_reader_of_a_store_that_was_emptied_is_told(
    redis: Redis, reader: Reader, stage: Stage, left: list[str]
) -> None:
    await redis.flushall()
    await reader.group.join()
    new = await reader.take(9)
    assert await stage.waiting() == new


async def test_what_was_taken_off_the_stream_before_it_was_accepted_holds_nothing_up(
    redis: Redis, reader: Reader, stage: Stage
) -> None:
    await reader.take(1, 2)
    other = Reader(redis, name="other")
    await publish(redis, event(3), event(4))
    [(dead, _)] = await other.read(count=1)
    left = await reader.accept(await reader.read())
    await redis.xdel(KEYS.events, dead)
    assert await reader.group.take_over(idle_ms=0, count=10) == []
    assert ids(await stage.claim())[2:] == left
    await stage.claim()
    assert await lagging(redis) == set()


async def test_what_is_drawn_is_drawn_by_one(stage: Stage, left: list[str]) -> None:
    queues = [DeliveryQueue(stage.redis, KEYS, "one", wanted=any_entry) for _ in range(4)]
    found = []
    for _ in range(5):
        found += await asyncio.gather(*(queue.claim(now=NOW, seconds=30, most=2) for queue in queues))
    assert sorted(ids([claim for each in found for claim in each.claims]), key=place) == left


async def test_what_somebody_drew_and_died_with_comes_back(stage: Stage, left: list[str]) -> None:
    await stage.claim(seconds=30)
    assert await stage.claim(now=NOW + 29) == []
    assert ids(await stage.claim(now=NOW + 30)) == left


# --- what holds a lane back ---------------------------------------------------------------------------------


async def test_a_paused_or_held_lane_draws_nothing(stage: Stage, left: list[str]) -> None:
    await control.pause(stage.redis, KEYS, "one", NOW)
    assert await stage.claim() == []
    assert await control.resume(stage.redis, KEYS, "one", NOW) == 8
    [one, two] = await stage.claim(most=2)
    held = Effect(answered=True, failed=True, hold_until=NOW + 60)
    await stage.settle([Settlement(one, Retried(NOW + 60, RECORD), held), Settlement(two, Delivered())])
    assert await stage.claim(now=NOW + 59) == []
    assert await stage.waiting() == left[:1]


async def test_a_probe_is_drawn_alone(stage: Stage, left: list[str]) -> None:
    queue = DeliveryQueue(stage.redis, KEYS, "one", Breaker(threshold=2, first=1.0), wanted=any_entry)
    claims = (await queue.claim(now=NOW, seconds=30, most=2)).claims
    failed = [Settlement(claim, Retried(NOW + 600, RECORD), Effect(failed=True)) for claim in claims]
    assert (await queue.settle(failed, now=NOW)).opened == 1.0
    found = await queue.claim(now=NOW + 2, seconds=30, most=10)
    assert ids(found.claims) == left[2:3]
    assert (await queue.claim(now=NOW + 3, seconds=30, most=10)).claims == []
    await queue.settle([Settlement(claim, Delivered()) for claim in found.claims], now=NOW + 3)
    assert ids((await queue.claim(now=NOW + 3, seconds=30, most=10)).claims) == left[3:]


async def test_a_rate_holds_for_what_is_drawn(stage: Stage, left: list[str]) -> None:
    queue = DeliveryQueue(stage.redis, KEYS, "one", rate=lambda: 2.0, wanted=any_entry)
    got = [
        ids((await queue.claim(now=NOW + step / 2, seconds=30, most=10)).claims) for step in range(len(left))
    ]
    assert got == [[one] for one in left]


async def test_a_server_out_of_memory_still_lets_it_go(stage: Stage, left: list[str]) -> None:
    await stage.redis.config_set("maxmemory", "1")
    try:
        assert ids(await stage.claim()) == left
    finally:
        await stage.redis.config_set("maxmemory", "0")


# --- what an endpoint wants ---------------------------------------------------------------------------------


async def test_of_what_was_left_an_endpoint_gets_what_it_wants(redis: Redis) -> None:
    to = endpoint("one", events=("ocr_task.error",))
    reader, queue = Reader(redis, to), DeliveryQueue(redis, KEYS, "one", wanted=Router((to,)).word)
    await reader.group.join()
    wanted = await reader.take(1, 2, status="error")
    for number in range(40):
        await reader.take(*range(100 * number, 100 * number + 10))
        wanted += await reader.take(100 * number + 99, status="error")
    got: list[str] = []
    for _ in range(100):
        got += ids((await queue.claim(now=NOW, seconds=30, most=3)).claims)
    assert got == wanted


async def test_of_large_events_few_are_read_at_a_time(redis: Redis) -> None:
    reader, queue = Reader(redis), DeliveryQueue(redis, KEYS, "one", wanted=any_entry)
    await reader.group.join()
    await reader.take(1, 2)
    await reader.take(*range(3, 60), recognized_data=b'"' + b"x" * 2**20 + b'"')
    got = [len((await queue.claim(now=NOW, seconds=30, most=100)).claims) for _ in range(6)]
    assert got == [2 + 16, 7, 7, 7, 7, 7], "of a mebibyte each: less than eight of them"


async def test_what_waits_already_is_not_drawn_again(stage: Stage, left: list[str], reader: Reader) -> None:
    third = left[2]
    await stage.redis.zadd(KEYS.waiting("one"), {third: int(third.split("-")[0])})
    await stage.redis.zadd(KEYS.due("one"), {third: NOW * 1000})
    assert sorted(ids(await stage.claim()), key=place) == left
    assert await stage.claim() == []


async def test_a_replay_passes_over_what_comes_anyhow(stage: Stage, left: list[str]) -> None:
    claims = await stage.claim(most=3)
    await stage.settle([Settlement(claim, Delivered()) for claim in claims])
    done = [at async for at in replay(stage.redis, KEYS, ONE, low=0, high=2**43, now=NOW)]
    assert (done[-1].read, done[-1].delivered) == (8, 3)
    got = ids(await stage.claim()) + ids(await stage.claim())
    assert sorted(got, key=place) == left


async def test_a_dropped_queue_is_dropped_with_what_was_left(
    stage: Stage, left: list[str], reader: Reader
) -> None:
    assert await control.forget(stage.redis, KEYS, "one") == 8
    assert (await lane_stats(stage.redis, KEYS, "one")).depth == 0
    assert await stage.claim() == []
    more = await reader.take(9)
    assert list(await stage.due()) == more


class Dying(Redis):
    """A client whose process dies after so many commands."""

    lives = 0

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        self.lives -= 1
        if self.lives < 0:
            raise ConnectionError
        return await super().execute_command(*words, **options)  # type: ignore[no-untyped-call] # the client's own


@pytest.mark.parametrize("lives", range(6))
async def test_a_drop_that_is_cut_off_leaves_nobody_with_a_wrong_belief(
    redis_server: Server, stage: Stage, left: list[str], reader: Reader, lives: int
) -> None:
    async with Dying(unix_socket_path=str(redis_server.socket)) as dying:
        dying.lives = lives
        with suppress(StoreUnavailable):
            await control.forget(dying, KEYS, "one")
    more = await reader.take(9)
    got = ids(await stage.claim()) + ids(await stage.claim())
    assert got in (more, left + more)


async def test_what_is_left_after_a_reload_goes_by_the_new_settings(redis: Redis, left: list[str]) -> None:
    """A lane of before that could not ask the store draws nothing by what it knows."""
    world = World(redis)
    await redis.set(KEYS.lane("one"), "not a lane")
    async with receiving() as receiver:
        before = endpoint(url=receiver.url, concurrency=20, events=("ocr_task.success",))
        async with world.running(before) as webhooks:
            await world.clock.advance(0.01)
            slow = endpoint(url=receiver.url, concurrency=1, events=("*",))
            await webhooks.reload([slow], 30)
            wanted = event(9, "error")
            await publish(redis, wanted)
            await world.all_accepted()
            await redis.delete(KEYS.lane("one"))
            await world.let_pass(0.1, world.settled())
    assert arrived(receiver) == {one.id: 1 for one in (*map(event, range(1, 9)), wanted)}


# --- figures, and what is kept ------------------------------------------------------------------------------


async def test_what_was_left_counts_as_waiting(stage: Stage, left: list[str]) -> None:
    figures = (await all_stats(stage.redis, [KEYS], []))["one"]
    assert figures.depth == 8
    assert figures.oldest_undelivered_seconds < 100
    claims = await stage.claim(most=5)
    await stage.settle([Settlement(claim, Delivered()) for claim in claims])
    figures = await lane_stats(stage.redis, KEYS, "one")
    assert figures.depth == 3
    assert 0 < figures.oldest_undelivered_seconds < 100
    await stage.claim()
    assert (await lane_stats(stage.redis, KEYS, "one")).depth == 3, "they are claimed"


async def test_trimming_leaves_what_was_left(stage: Stage, left: list[str]) -> None:
    claims = await stage.claim(most=4)
    await stage.settle([Settlement(claim, Delivered()) for claim in claims])
    needed = await needed_from(stage.redis, KEYS)
    assert await trim(stage.redis, KEYS, from_seconds(NOW * 2), needed) >= 3
    rest = await stage.claim()
    assert ids(rest) == left[4:]
    assert all(claim.fields for claim in rest)


async def test_a_lane_gets_through_what_was_left(redis: Redis) -> None:
    world, some = World(redis), [event(number) for number in range(ROOM + 500)]
    await control.pause(redis, KEYS, "one", NOW)
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(redis, *some)
        await world.all_accepted()
        assert ROOM <= len(await world.waiting()) < ROOM + 128, "a read more at most"
        assert (await lane_stats(redis, KEYS, "one")).depth == len(some)
        await control.resume(redis, KEYS, "one", NOW)
        await world.let_pass(1, receiver.received(len(some)))
        await world.settled()
    assert arrived(receiver) == {one.id: 1 for one in some}


async def test_events_that_somebody_took_off_the_stream_are_told_of(redis: Redis) -> None:
    world = World(redis)
    await control.pause(redis, KEYS, "one", NOW)
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(redis, *(event(number) for number in range(ROOM + 500)))
        await world.all_accepted()
        left = ROOM + 500 - len(await world.waiting())
        await redis.xtrim(KEYS.events, maxlen=0, approximate=False)
        with capture_logs() as logs:

            async def gone() -> bool:
                return any(line["event"] == "webhooks.events_gone" for line in logs)

            await control.resume(redis, KEYS, "one", NOW)
            await world.let_pass(1, until(gone))
            await world.let_pass(0, world.settled())
    [told] = [line for line in logs if line["event"] == "webhooks.events_gone"]
    assert (told["log_level"], told["endpoint"], told["count"]) == ("error", "one", left)
    assert receiver.requests == []


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["now", 6, 1, 10, 0, "one", "1-0", "1-0", 1],
        [5, 5, 1, 10, 0, "one", "1-0", "1-0", 1],
        [5, 6, 0, 10, 0, "one", "1-0", "1-0", 1],
        [5, 6, 1, 0, 0, "one", "1-0", "1-0", 1],
        [5, 6, 1, 10, 2, "one", "1-0", "1-0", 1],
        [5, 6, 1, 10, 0, "one", "x", "1-0", 1],
        [5, 6, 1, 10, 0, "one", "1-0", "x", 1],
        [5, 6, 1, 10, 0, "one", "1-0=a", "1-0", 1],
        [5, 6, 1, 10, 0, "one", "1-0", "1-0", "x"],
        [5, 6, 1, 10, 0, "one", "1-0", "1-0", 1, "x"],
        [5, 6, 1, 10, 0, "one", "1-0", "1-0", 1, "2-0="],
        [5, 6, 1, 10, 0, "one", "1-0", "1-0", 1, "2-0=>a"],
        [5, 6, 1, 10, 0, "one", "1-0", "1-0", 1, "2-0", "3-0"],
    ],
)
async def test_draw_refuses_wrong_arguments(stage: Stage, left: list[str], words: list[str | int]) -> None:
    draw = stage.redis.register_script(script("watcher.webhooks", "draw"))
    keys = [KEYS.due("one"), KEYS.claimed("one"), KEYS.waiting("one"), KEYS.lane("one")]
    keys += [KEYS.line("one"), KEYS.ordered("one"), KEYS.lagging]
    with pytest.raises(ResponseError, match="draw: "):
        await draw(keys=keys, args=words)
    assert await stage.waiting() == left[:2]


async def test_forget_refuses_wrong_arguments(stage: Stage, left: list[str]) -> None:
    forget = stage.redis.register_script(script("watcher.webhooks", "forget"))
    for keys, words in (([KEYS.lagging, KEYS.endpoints], ["one"]), ([KEYS.lagging, KEYS.endpoints, "x"], [])):
        with pytest.raises(ResponseError, match="forget: "):
            await forget(keys=keys, args=words)
    assert await lagging(stage.redis) == {"one"}
