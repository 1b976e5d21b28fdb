"""Endpoints that have to permit it before they are sent to: lanes, checks and trials on real sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.unit.webhooks.builders import KEYS, endpoint, event, publish
from tests.unit.webhooks.receiver import Receiver, answer, hang, receiving
from tests.unit.webhooks.world import World, until
from watcher.cli.endpoints import state_of
from watcher.clock import SystemClock
from watcher.fleet.slots import Slots
from watcher.ops.reach import CheckError, reach
from watcher.settings import Endpoint
from watcher.webhooks import control
from watcher.webhooks.handshake import RENEWED_AFTER, Refused
from watcher.webhooks.outcome import Reason
from watcher.webhooks.stats import lane_stats
from watcher.webhooks.trial import Trial, try_endpoint

ORIGIN = "events.example.com"
PERMITS = answer(200, webhook_allowed_origin=ORIGIN, webhook_allowed_rate="*")
SILENT = answer(200)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def asking(receiver: Receiver, **changes: Any) -> Endpoint:
    return endpoint(url=receiver.url, origin=ORIGIN, **changes)


def methods(receiver: Receiver) -> list[str]:
    return [request.line.split(" ")[0] for request in receiver.requests]


async def test_nothing_is_claimed_or_sent_before_it_is_permitted(world: World) -> None:
    with capture_logs() as logs:
        async with receiving(SILENT, PERMITS, answer()) as receiver, world.running(asking(receiver)):
            await publish(world.redis, *(event(number) for number in range(3)))
            await until(lambda: _waiting(world, 3))
            await until(lambda: _is_refused(world, told=True))
            await world.clock.advance(2.4)
            assert methods(receiver) == ["OPTIONS"]
            assert await world.claimed() == []
            stats = await lane_stats(world.redis, KEYS, "one")
            assert stats.refused == "its answer to OPTIONS has no WebHook-Allowed-Origin"
            assert state_of(stats, world.clock.time()) == f"not permitted: {stats.refused}"
            await world.let_pass(0.1, receiver.received(5))
            await world.settled()
            await until(lambda: _is_refused(world, told=False))
    assert methods(receiver) == ["OPTIONS", "OPTIONS", "POST", "POST", "POST"]
    asked, *_, posted = receiver.requests
    assert asked.headers["webhook-request-origin"] == posted.headers["webhook-request-origin"] == ORIGIN
    assert asked.line.split(" ")[1] == posted.line.split(" ")[1]
    assert "content-type" not in asked.headers
    assert "webhook-request-rate" not in asked.headers
    told = [line for line in logs if line["event"].startswith("endpoint.")]
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("endpoint.not_permitted", "warning"),
        ("endpoint.permitted", "info"),
    ]
    assert told[0]["why"] == stats.refused


async def _waiting(world: World, number: int) -> bool:
    return len(await world.waiting()) == number


async def _is_refused(world: World, *, told: bool) -> bool:
    return bool((await lane_stats(world.redis, KEYS, "one")).refused) is told


async def test_without_an_origin_nobody_is_asked(world: World) -> None:
    await world.redis.hset(KEYS.lane("one"), "refused", "left over from when it was asked")
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event())
        await world.settled()
        await until(lambda: _is_refused(world, told=False))
    assert methods(receiver) == ["POST"]
    assert "webhook-request-origin" not in receiver.requests[0].headers


async def test_the_rate_that_is_allowed_bounds_the_lane(world: World) -> None:
    times: list[float] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(world.clock.time())
        await answer()(reader, writer)

    permits = answer(200, webhook_allowed_origin="*", webhook_allowed_rate="120")
    async with receiving(permits, note) as receiver, world.running(asking(receiver, rate=50)):
        await publish(world.redis, *(event(number) for number in range(10)))
        await world.let_pass(0, receiver.received(11))
        await world.settled()
    assert receiver.requests[0].headers["webhook-request-rate"] == "3000"
    assert len(times) == 10
    for index, begin in enumerate(times):
        assert sum(begin <= moment < begin + 1 for moment in times[index:]) <= 3
    assert times[-1] - times[0] >= 4.0


async def test_a_permission_is_asked_for_again_after_a_day_and_may_be_withdrawn(world: World) -> None:
    script = [PERMITS, answer(), answer(403), PERMITS, answer()]
    async with receiving(*script) as receiver, world.running(asking(receiver)):
        await publish(world.redis, event(1))
        await receiver.received(2)
        await world.settled()
        world.clock.move(RENEWED_AFTER - 10)
        await world.clock.advance(9)
        assert methods(receiver) == ["OPTIONS", "POST"]
        await world.let_pass(1, receiver.received(3))
        await until(lambda: _is_refused(world, told=True))
        await publish(world.redis, event(2))
        await until(lambda: _waiting(world, 1))
        await world.clock.advance(1.5)
        assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS"]
        assert await world.claimed() == []
        await world.let_pass(1, receiver.received(5))
        await world.settled()
    assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS", "OPTIONS", "POST"]
    assert [receiver.requests[at].headers["webhook-id"] for at in (1, 4)] == [event(1).id, event(2).id]


async def test_an_endpoint_that_is_away_for_a_moment_has_withdrawn_nothing(world: World) -> None:
    script = [PERMITS, answer(), answer(503), answer()]
    async with receiving(*script) as receiver, world.running(asking(receiver)):
        await publish(world.redis, event(1))
        await receiver.received(2)
        await world.settled()
        world.clock.move(RENEWED_AFTER)
        await world.let_pass(0, receiver.received(3))
        await publish(world.redis, event(2))
        await receiver.received(4)
        await world.settled()
        assert not (await lane_stats(world.redis, KEYS, "one")).refused
    assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS", "POST"]


@pytest.mark.parametrize("slots", [2, 1])
async def test_what_was_claimed_ahead_is_not_sent_once_it_is_withdrawn(world: World, slots: int) -> None:
    """Nor what has a worker by then and waits for a slot, of which there may be fewer."""
    go_on, posts = asyncio.Event(), count(1)

    async def fifty_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(posts) > 50:
            await go_on.wait()
        await answer()(reader, writer)

    async def all_claimed() -> bool:
        return len(await world.claimed()) == 50

    async with (
        receiving(PERMITS, fifty_at_once) as receiver,
        world.running(asking(receiver, concurrency=2), slots=Slots(slots)) as webhooks,
    ):
        await publish(world.redis, *(event(number) for number in range(50)))
        await receiver.received(51)
        await world.settled()
        world.clock.move(0.05)  # fifty in so little time: it claims far ahead
        await publish(world.redis, *(event(number) for number in range(50, 100)))
        await receiver.received(51 + slots)
        await until(all_claimed)
        [lane] = webhooks._crews[-1].lanes.values()
        lane._permission._take(Refused("it answers OPTIONS with 403"), 5.0)
        lane._reconsider()
        go_on.set()
        await until(lambda: _none_claimed(world))
        await world.clock.advance(2)
        assert len(await world.waiting()) == 50 - slots
        assert await world.claimed() == []
        assert len(receiver.requests) == 51 + slots


async def _none_claimed(world: World) -> bool:
    return not await world.claimed()


async def test_a_reload_keeps_a_permission_though_the_endpoint_is_away_when_it_is_asked_again(
    world: World,
) -> None:
    script = [PERMITS, answer(), answer(503), answer()]
    with capture_logs() as logs:
        async with receiving(*script) as receiver, world.running(asking(receiver)) as webhooks:
            await publish(world.redis, event(1))
            await receiver.received(2)
            await world.settled()
            await webhooks.reload([asking(receiver, concurrency=2)], 0)
            await receiver.received(3)
            await publish(world.redis, event(2))
            await receiver.received(4)
            await world.settled()
    assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS", "POST"]
    assert [line["event"] for line in logs].count("endpoint.permitted") == 1


@pytest.mark.parametrize("changes", [{"origin": "other.example.com"}, {"path": "/elsewhere"}])
async def test_a_permission_holds_for_its_origin_and_its_address(
    world: World, changes: dict[str, str]
) -> None:
    async with (
        receiving(PERMITS, answer(), answer(503)) as receiver,
        world.running(asking(receiver)) as webhooks,
    ):
        await publish(world.redis, event(1))
        await receiver.received(2)
        await world.settled()
        url, origin = receiver.url + changes.get("path", ""), changes.get("origin", ORIGIN)
        await webhooks.reload([endpoint(url=url, origin=origin)], 0)
        await receiver.received(3)
        await publish(world.redis, event(2))
        await until(lambda: _waiting(world, 1))
        await world.clock.advance(2)
    assert methods(receiver) == ["OPTIONS", "POST", "OPTIONS"]


async def test_one_that_is_paused_is_not_asked_before_it_is_resumed(world: World) -> None:
    await control.pause(world.redis, KEYS, "one", world.clock.time())
    async with receiving(PERMITS, answer()) as receiver, world.running(asking(receiver)):
        await publish(world.redis, event())
        await until(lambda: _waiting(world, 1))
        for _ in range(20):
            await world.clock.advance(1)
            await world.redis.ping()  # time to look
        assert receiver.requests == []
        await control.resume(world.redis, KEYS, "one", world.clock.time())
        await world.let_pass(1, receiver.received(2))
        await world.settled()
    assert methods(receiver) == ["OPTIONS", "POST"]


async def test_one_that_asked_to_wait_is_not_asked_before(world: World) -> None:
    busy = answer(429, retry_after="60")
    async with (
        receiving(PERMITS, busy, PERMITS, answer()) as receiver,
        world.running(asking(receiver)) as webhooks,
    ):
        await publish(world.redis, event())
        await world.attempted(1)
        await webhooks.reload([asking(receiver, concurrency=2)], 0)
        for _ in range(59):
            await world.clock.advance(1)
            await world.redis.ping()  # time to look
        assert methods(receiver) == ["OPTIONS", "POST"]
        await world.let_pass(1, receiver.received(4))
        await world.settled()
    assert Counter(methods(receiver)) == {"OPTIONS": 2, "POST": 2}


async def test_a_redirect_permits_nothing_and_is_not_followed(world: World) -> None:
    async with receiving(PERMITS) as target:
        elsewhere = answer(307, location=target.url, webhook_allowed_origin="*")
        async with receiving(elsewhere) as receiver, world.running(asking(receiver)):
            await until(lambda: _is_refused(world, told=True))
            assert "with 307" in (await lane_stats(world.redis, KEYS, "one")).refused
        assert target.connections == 0


async def test_the_address_is_checked_before_it_is_asked(world: World) -> None:
    async with receiving(PERMITS) as receiver, world.running(asking(receiver, network="public")):
        await until(lambda: _is_refused(world, told=True))
        assert "(address_refused)" in (await lane_stats(world.redis, KEYS, "one")).refused
        assert receiver.connections == 0


async def test_a_stop_does_not_wait_for_the_answer(world: World) -> None:
    async with receiving(hang) as receiver:
        async with world.running(asking(receiver)):
            await publish(world.redis, event())
            await receiver.received(1)
            await until(lambda: _waiting(world, 1))
        assert methods(receiver) == ["OPTIONS"]
    assert len(await world.due()) == 1


async def test_an_answer_that_never_comes_ends_as_an_attempt_does(world: World) -> None:
    async with receiving(hang) as receiver, world.running(asking(receiver, timeout=0.2)):
        await until(lambda: _is_refused(world, told=True))
        assert (await lane_stats(world.redis, KEYS, "one")).refused == "no answer to OPTIONS (timeout)"


async def test_a_check_says_what_is_permitted() -> None:
    permits = answer(200, webhook_allowed_origin=ORIGIN, webhook_allowed_rate="90")
    async with receiving(permits) as receiver:
        told = await reach(asking(receiver), SystemClock())
        assert told.endswith(f"takes connections; permits webhooks from {ORIGIN} at 90 a minute")
    async with receiving(PERMITS) as receiver:
        assert (await reach(asking(receiver), SystemClock())).endswith(f"from {ORIGIN} at any rate")
    async with receiving(SILENT) as receiver:
        with pytest.raises(CheckError, match=r"its answer to OPTIONS has no WebHook-Allowed-Origin; have it"):
            await reach(asking(receiver), SystemClock())


async def test_a_trial_asks_first() -> None:
    async with receiving(PERMITS, answer()) as receiver:
        tried = await try_endpoint(asking(receiver), SystemClock())
        assert isinstance(tried, Trial)
        assert (tried.attempt.reason, tried.why) == (Reason.SUCCESS, "")
        assert methods(receiver) == ["OPTIONS", "POST"]
    async with receiving(answer(405)) as receiver:
        assert await try_endpoint(asking(receiver), SystemClock()) == Refused("it answers OPTIONS with 405")
        assert methods(receiver) == ["OPTIONS"]
