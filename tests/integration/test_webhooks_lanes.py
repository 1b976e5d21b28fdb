"""From the stream to the endpoint over real sockets, on a clock that the test owns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from pydantic import SecretStr
from redis.asyncio import Redis
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from tests.fakes import settle
from tests.unit.webhooks.builders import (
    KEYS,
    NOW,
    OTHER_SECRET,
    SECRET,
    any_entry,
    endpoint,
    event,
    fields,
    publish,
)
from tests.unit.webhooks.receiver import (
    Answer,
    answer,
    cut_short,
    dripping,
    flood,
    hang,
    receiving,
    reset,
)
from tests.unit.webhooks.world import World, arrived, until
from watcher.clock import SystemClock
from watcher.errors import ConfigurationError
from watcher.events.envelope import to_body
from watcher.fleet.slots import Slots
from watcher.settings import RETRY_SCHEDULE
from watcher.state.connection import connect
from watcher.webhooks.courier import CLAIM_MARGIN
from watcher.webhooks.group import GROUP, EventGroup
from watcher.webhooks.queue import DeliveryQueue
from watcher.webhooks.routing import Routed
from watcher.webhooks.stats import all_stats, set_gauges


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The client that the daemon itself would use."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


async def test_an_event_is_delivered_as_both_standards_want_it(redis: Redis) -> None:
    world = World(redis, SystemClock())  # the library compares the signed time with the machine's
    some = event()
    async with receiving() as receiver:
        to = endpoint(
            url=receiver.url,
            secrets=(SecretStr(SECRET), SecretStr(OTHER_SECRET)),
            content_type="application/cloudevents+json",
        )
        async with world.running(to):
            await publish(redis, some)
            [request] = await receiver.received(1)
    for secret in (SECRET, OTHER_SECRET):
        payload = Webhook(secret).verify(request.body, request.headers)
        assert payload["data"]["task_id"] == some.subject
    parsed = from_http_event(HTTPMessage(request.headers, request.body), JSONFormat())
    assert parsed.get_id() == some.id == request.headers["webhook-id"]
    assert parsed.get_type() == "ocr_task.success"
    assert await world.waiting() == []
    assert world.metrics.registry.get_sample_value("watcher_delivery_delay_seconds_count") == 1


async def test_everything_that_is_on_the_stream_arrives_once(world: World) -> None:
    events = [event(number) for number in range(300)]
    before, after = events[:150], events[150:]
    await publish(world.redis, *before)
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, *after)
        await receiver.received(300)
        await world.settled()
    assert arrived(receiver) == {some.id: 1 for some in events}
    assert {request.body for request in receiver.requests} == {to_body(some) for some in events}
    assert await world.due() == {}


async def test_each_endpoint_gets_what_it_wants(world: World) -> None:
    entity = "9d2b4c8f-0000-4000-8000-000000000001"
    async with (
        receiving() as errors,
        receiving() as entities,
        receiving() as both,
        world.running(
            endpoint("errors", errors.url, events=("ocr_task.error",)),
            endpoint("entities", entities.url, entities=(entity,)),
            endpoint("both", both.url),
        ),
    ):
        some = [event(1, "error"), event(2, entity=entity), event(3), event(4, "processing")]
        await publish(world.redis, *some)
        await both.received(3)
        for name in ("errors", "entities", "both"):
            await world.settled(name)
    assert set(arrived(errors)) == {some[0].id}
    assert set(arrived(entities)) == {some[1].id}
    assert set(arrived(both)) == {one.id for one in some[:3]}


# --- failures and repeats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failing",
    [answer(500), answer(404), reset, answer(302, location="/")],
    ids=["500", "404", "reset", "302"],
)
async def test_what_failed_is_repeated_when_it_is_due_and_not_before(world: World, failing: Answer) -> None:
    async with receiving(failing, answer()) as receiver, world.running(endpoint(url=receiver.url)):
        [entry_id] = await publish(world.redis, event())
        await world.attempted(1)
        assert await world.due() == {entry_id: NOW + 2.5}  # half of 5 s
        await world.clock.advance(2.4)
        assert len(receiver.requests) == 1
        await world.let_pass(0.1, receiver.received(2))
        await world.settled()
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) in (2, 3, 4)


async def test_slots_that_come_later_are_used(world: World) -> None:
    """Another replica has left them, and no attempt ends meanwhile."""
    go_on, slots = asyncio.Event(), Slots(1)

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer()(reader, writer)

    async with (
        receiving(later) as receiver,
        world.running(endpoint(url=receiver.url, concurrency=4), slots=slots),
    ):
        await publish(world.redis, *(event(number) for number in range(4)))
        await receiver.received(1)
        await settle()
        slots.resize(4)
        try:
            async with asyncio.timeout(10):  # less than an attempt's own
                await world.let_pass(0.1, receiver.received(4))
        finally:
            go_on.set()


@pytest.mark.parametrize("bad", [hang, dripping(b"HTTP/1.1 500 Broken")], ids=["hangs", "drips"])
async def test_an_answer_that_never_ends_is_a_failure(world: World, bad: Answer) -> None:
    async with receiving(bad, answer()) as receiver, world.running(endpoint(url=receiver.url, timeout=0.1)):
        await publish(world.redis, event())
        await world.attempted(1)
        await world.let_pass(2.5, receiver.received(2))
        await world.settled()
    assert sum(arrived(receiver).values()) == 2


async def test_ten_megabytes_of_answer_are_a_success(world: World) -> None:
    async with receiving(flood) as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event(1), event(2))
        await receiver.received(2)
        await world.settled()
    assert await world.dead() == []


async def test_retry_after_is_kept_to_the_second(world: World) -> None:
    busy = answer(503, retry_after="3600")
    async with receiving(busy, answer()) as receiver, world.running(endpoint(url=receiver.url)):
        [entry_id] = await publish(world.redis, event())
        await world.attempted(1)
        assert await world.due() == {entry_id: NOW + 3600}
        await world.clock.advance(3599)
        assert len(receiver.requests) == 1
        await world.let_pass(1, receiver.received(2))


async def test_retry_after_is_not_undercut_by_a_fraction_of_a_millisecond(world: World) -> None:
    world.clock.move(0.0006)
    async with receiving(answer(404, retry_after="5")) as receiver, world.running(endpoint(url=receiver.url)):
        [entry_id] = await publish(world.redis, event())
        await world.attempted(1)
        assert (await world.due())[entry_id] >= world.clock.time() + 5


@pytest.mark.parametrize("breaking", [dripping, cut_short])
async def test_an_answer_whose_body_breaks_is_obeyed(
    world: World, breaking: Callable[[bytes], Answer]
) -> None:
    gone, busy = b"HTTP/1.1 410 Gone", b"HTTP/1.1 503 Busy\r\nretry-after: 3600"
    async with (
        receiving(breaking(gone)) as one,
        receiving(breaking(busy)) as other,
        world.running(endpoint(url=one.url, timeout=0.2), endpoint("other", url=other.url, timeout=0.2)),
    ):
        await publish(world.redis, event())

        async def obeyed() -> bool:
            paused: Any = await world.redis.hget(KEYS.lane("one"), "paused")
            held: Any = await world.redis.hget(KEYS.lane("other"), "hold")
            return (paused, held) == (b"http_410", b"%d" % ((NOW + 3600) * 1000))

        await until(obeyed)


async def test_a_redirects_target_is_never_called(world: World) -> None:
    async with receiving() as target, receiving(answer(307, location=target.url)) as receiver:
        async with world.running(endpoint(url=receiver.url, retry_schedule=(0,))):
            await publish(world.redis, event())
            await receiver.received(1)
            await world.settled()
        assert target.connections == 0
    [letter] = await world.dead()
    assert (letter["reason"], letter["status"], letter["attempts"]) == ("http_3xx", "307", "1")


async def test_after_ten_attempts_over_three_days_it_is_a_dead_letter(world: World) -> None:
    some = event()
    async with receiving(answer(500, b"broken")) as receiver, world.running(endpoint(url=receiver.url)):
        [entry_id] = await publish(world.redis, some)
        due = NOW
        for made in range(1, 10):
            await world.attempted(made)
            before, due = due, (await world.due())[entry_id]
            assert due - before == pytest.approx(RETRY_SCHEDULE[made] / 2, abs=3)
            world.clock.move(due - world.clock.time())
            await world.let_pass(0, receiver.received(made + 1))
        await world.settled()
        assert len(receiver.requests) == 10
    [letter] = await world.dead()
    assert letter["id"] == some.id
    assert letter["data"] == some.data.decode()
    assert (letter["reason"], letter["attempts"], letter["answer"]) == ("http_5xx", "10", "broken")
    assert await world.waiting() == []
    assert await world.redis.exists(KEYS.attempts("one")) == 0
    set_gauges(world.metrics, await all_stats(world.redis, [KEYS], []))
    read = world.metrics.registry.get_sample_value
    assert read("watcher_dead_letters", {"endpoint": "one"}) == 1
    assert read("watcher_delivery_queue_depth", {"endpoint": "one"}) == 0
    assert read("watcher_delivery_attempts_total", {"endpoint": "one", "outcome": "http_5xx"}) == 10


async def test_an_event_that_was_trimmed_is_a_dead_letter(world: World) -> None:
    async with receiving(answer(500)) as receiver, world.running(endpoint(url=receiver.url)):
        [entry_id] = await publish(world.redis, event())
        await world.attempted(1)
        await world.redis.xtrim(KEYS.events, maxlen=0)
        await world.let_pass(2.5, world.settled())
    assert len(receiver.requests) == 1
    [letter] = await world.dead()
    assert (letter["entry_id"], letter["reason"], letter["attempts"]) == (entry_id, "event_gone", "1")


# --- lanes are apart ----------------------------------------------------------------------------------------


async def test_an_endpoint_that_never_answers_holds_nobody_up(world: World) -> None:
    events = [event(number) for number in range(100)]
    async with receiving(hang) as bad, receiving() as good:
        slow = endpoint("slow", bad.url, concurrency=2, timeout=300)
        async with world.running(slow, endpoint("fast", good.url, concurrency=2)) as webhooks:
            await publish(world.redis, *events)
            await good.received(100)
            await world.settled("fast")
            await bad.received(2)
            assert len(bad.requests) == bad.connections == 2
            assert len(await world.waiting("slow")) == 100
            await webhooks.stop(0)
    assert arrived(good) == {some.id: 1 for some in events}


async def test_no_more_attempts_at_once_than_allowed(world: World) -> None:
    at_once = most = 0

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        for _ in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        await answer()(reader, writer)

    async with receiving(slowly) as receiver, world.running(endpoint(url=receiver.url, concurrency=5)):
        await publish(world.redis, *(event(number) for number in range(100)))
        await receiver.received(100)
        await world.settled()
    assert most == 5


async def test_a_rate_spreads_deliveries_over_time(world: World) -> None:
    times: list[float] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(world.clock.time())
        await answer()(reader, writer)

    async with receiving(note) as receiver, world.running(endpoint(url=receiver.url, rate=2)):
        await publish(world.redis, *(event(number) for number in range(10)))
        await world.let_pass(0, receiver.received(10))
        await world.settled()
    assert len(times) == 10
    for index, begin in enumerate(times):
        assert sum(begin <= moment < begin + 1 for moment in times[index:]) <= 3
    assert times[-1] - times[0] >= 4.0


async def test_a_lane_with_a_rate_claims_only_what_it_sends_at_once(world: World) -> None:
    async with receiving(hang) as receiver:
        to = endpoint(url=receiver.url, rate=1000, concurrency=2)
        async with world.running(to) as webhooks:
            await publish(world.redis, *(event(number) for number in range(20)))
            await receiver.received(2)
            await until(lambda: _all_accepted(world, 20))
            assert len(await world.claimed()) == 2
            await webhooks.stop(0)


async def _all_accepted(world: World, number: int) -> bool:
    return len(await world.waiting()) == number


# --- replicas and restarts ----------------------------------------------------------------------------------


async def test_replicas_share_the_work_and_send_nothing_twice(world: World) -> None:
    events = [event(number) for number in range(400)]
    async with receiving() as receiver:
        to = endpoint(url=receiver.url)
        async with world.running(to, consumer="a"), world.running(to, consumer="b"):
            await publish(world.redis, *events)
            await world.let_pass(0, receiver.received(400))
            await world.let_pass(0, world.settled())
    assert arrived(receiver) == {some.id: 1 for some in events}


async def test_work_accepted_elsewhere_is_found_within_half_a_second(world: World) -> None:
    other = EventGroup(world.redis, KEYS, "b")
    await other.join()
    [entry_id] = await publish(world.redis, event())
    await other.read(count=1, block_ms=1)
    async with receiving() as receiver:
        to = endpoint(url=receiver.url)
        async with world.running(to, consumer="a", take_over_after=3600):
            await world.clock.advance(5)
            await other.accept([Routed(entry_id, (0,))], other.places([to]), now=NOW)
            assert receiver.requests == []
            await world.let_pass(0.5, receiver.received(1))
            await world.settled()


async def test_what_a_dead_reader_was_given_is_taken_over(world: World) -> None:
    dead = EventGroup(world.redis, KEYS, "dead")
    await dead.join()
    some = [event(1), event(2)]
    await publish(world.redis, *some)
    assert len(await dead.read(count=10, block_ms=1)) == 2
    async with receiving() as receiver, world.running(endpoint(url=receiver.url), take_over_after=0):
        await receiver.received(2)
        await world.settled()
    assert arrived(receiver) == {one.id: 1 for one in some}


async def test_a_reader_that_comes_back_under_its_name_goes_on_at_once(world: World) -> None:
    before = EventGroup(world.redis, KEYS, "me")
    await before.join()
    await publish(world.redis, event())
    await before.read(count=10, block_ms=1)
    async with receiving() as receiver, world.running(endpoint(url=receiver.url), take_over_after=3600):
        await receiver.received(1)
        await world.settled()


async def test_what_a_dead_lane_had_claimed_is_sent_after_the_claim_and_not_before(world: World) -> None:
    to = endpoint(timeout=15)
    group, queue = (
        EventGroup(world.redis, KEYS, "dead"),
        DeliveryQueue(world.redis, KEYS, "one", wanted=any_entry),
    )
    await group.join()
    [entry_id] = await publish(world.redis, event())
    await group.read(count=10, block_ms=1)
    await group.accept([Routed(entry_id, (0,))], group.places([to]), now=NOW)
    [claim] = (await queue.claim(now=NOW, seconds=to.timeout + CLAIM_MARGIN, most=1)).claims
    async with receiving() as receiver, world.running(to.model_copy(update={"url": receiver.url})):
        await world.clock.advance(29.9)
        assert receiver.requests == []
        await world.let_pass(0.1, receiver.received(1))
        await world.settled()
    assert claim.entry_id == entry_id
    assert len(receiver.requests) == 1


async def test_a_lost_group_is_made_again_and_nothing_is_lost_or_doubled(world: World) -> None:
    events = [event(number) for number in range(90)]
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, *events[:30])
        await receiver.received(30)
        await world.settled()
        await world.redis.xgroup_destroy(KEYS.events, "webhooks")
        await publish(world.redis, *events[30:60])
        await receiver.received(60)
        await world.settled()
        await world.redis.xgroup_destroy(KEYS.events, "webhooks")
        await publish(world.redis, *events[60:])
        await receiver.received(90)
        await world.settled()
    assert arrived(receiver) == {some.id: 1 for some in events}


async def test_it_goes_on_after_everything_was_flushed(world: World) -> None:
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event(1))
        await receiver.received(1)
        await world.redis.flushall()
        await publish(world.redis, event(2))
        await receiver.received(2)
        await world.settled()
    assert arrived(receiver) == {event(1).id: 1, event(2).id: 1}


async def test_a_retry_survives_a_restart(world: World) -> None:
    async with receiving(answer(500), answer()) as receiver:
        to = endpoint(url=receiver.url)
        async with world.running(to):
            await publish(world.redis, event())
            await world.attempted(1)
        async with world.running(to):
            assert len(receiver.requests) == 1
            await world.let_pass(2.5, receiver.received(2))
            await world.settled()


# --- stopping -----------------------------------------------------------------------------------------------


async def test_a_stop_lets_what_is_under_way_end(world: World) -> None:
    go_on = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer()(reader, writer)

    async with receiving(later) as receiver:
        webhooks = world.replica(endpoint(url=receiver.url, concurrency=2))
        running = asyncio.create_task(webhooks.run())
        ids = await publish(world.redis, *(event(number) for number in range(5)))
        await receiver.received(2)
        stopping = asyncio.create_task(webhooks.stop(30))
        await asyncio.wait({stopping}, timeout=0.05)
        assert not stopping.done()
        go_on.set()
        await stopping
        assert running.done()
        await running
    assert len(receiver.requests) == 2
    assert await world.waiting() == ids[2:]
    assert all(
        moment < NOW for moment in (await world.due()).values()
    )  # nobody has to wait for a claim's end


async def test_a_stop_gives_back_what_was_claimed_ahead(world: World) -> None:
    go_on, sent = asyncio.Event(), count(1)

    async def fifty_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(sent) > 50:
            await go_on.wait()
        await answer()(reader, writer)

    async def all_claimed() -> bool:
        return len(await world.claimed()) == 50

    async with receiving(fifty_at_once) as receiver:
        webhooks = world.replica(endpoint(url=receiver.url, concurrency=2))
        running = asyncio.create_task(webhooks.run())
        await publish(world.redis, *(event(number) for number in range(50)))
        await receiver.received(50)
        await world.settled()
        world.clock.move(0.05)  # fifty in so little time: it claims far ahead
        await publish(world.redis, *(event(number) for number in range(50, 100)))
        await receiver.received(52)
        await until(all_claimed)
        stopping = asyncio.create_task(webhooks.stop(30))
        await settle()
        go_on.set()
        await stopping
        await running
    assert len(receiver.requests) == 52
    assert len(await world.waiting()) == 48
    assert all(moment < NOW for moment in (await world.due()).values())


async def test_of_large_events_no_more_are_claimed_than_fit_into_memory(world: World) -> None:
    go_on, sent = asyncio.Event(), count(1)

    async def fifty_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(sent) > 50:
            await go_on.wait()
        await answer()(reader, writer)

    async def all_accepted() -> bool:
        return len(await world.waiting()) == 30

    text = b'"' + b"x" * 2_000_000 + b'"'
    async with receiving(fifty_at_once) as receiver, world.running(endpoint(url=receiver.url, concurrency=2)):
        await publish(world.redis, *(event(number) for number in range(50)))
        await receiver.received(50)
        await world.settled()
        world.clock.move(0.05)  # fifty in so little time: it claims far ahead
        await publish(world.redis, *(event(number, recognized_data=text) for number in range(50, 80)))
        await receiver.received(52)
        await until(all_accepted)
        for _ in range(3):
            await world.clock.advance(1)
            assert 2 <= len(await world.claimed()) <= 2 + 4
        go_on.set()
        await world.settled()
    assert sum(arrived(receiver).values()) == 80


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_what_does_not_end_in_time_is_given_back(world: World, how: str) -> None:
    async with receiving(hang) as receiver:
        webhooks = world.replica(endpoint(url=receiver.url, concurrency=2))
        running = asyncio.create_task(webhooks.run())
        ids = await publish(world.redis, *(event(number) for number in range(5)))
        await receiver.received(2)
        if how == "stop":
            await webhooks.stop(0.01)
            await running
        else:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        await receiver.all_closed()
    assert await world.waiting() == ids
    due = await world.due()
    assert list(due) == ids
    assert all(moment < NOW for moment in due.values())


async def test_a_stop_accepts_what_was_read(world: World) -> None:
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, *(event(number) for number in range(500)))
    groups: Any = await world.redis.xinfo_groups(KEYS.events)
    assert [group["pending"] for group in groups] == [0] * len(groups)


async def test_a_stop_accepts_what_was_given_though_the_answer_was_lost(world: World) -> None:
    async with receiving() as receiver, world.running(endpoint(url=receiver.url), take_over_after=3600):
        await publish(world.redis, event(1))
        await receiver.received(1)
        await world.settled()
        lost = await _given_without_an_answer(world.redis, consumer="me")
    assert await world.waiting() == lost


async def _given_without_an_answer(redis: Redis, consumer: str) -> list[str]:
    """An entry given to a consumer that does not hear of it: another connection asks in its name."""
    async with redis.pipeline(transaction=True) as both:
        both.xadd(KEYS.events, dict(fields(event(2))))  # type: ignore[arg-type] # bytes are right
        both.xreadgroup(GROUP, consumer, {KEYS.events: ">"})
        added, _ = await both.execute()
    return [added.decode()]


async def test_an_idle_lane_asks_twice_a_second_and_no_more(world: World) -> None:
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event(1))
        await receiver.received(1)
        await world.settled()
        before = await _scripts_run(world.redis)
        for _ in range(20):
            await world.clock.advance(0.5)
            for _ in range(3):  # time to ask, and to ask again if it were so minded
                await world.redis.ping()
        assert 10 <= await _scripts_run(world.redis) - before <= 24


async def _scripts_run(redis: Redis) -> int:
    stats: Any = await redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_a_stop_before_it_began_or_after_it_ended_is_at_once(world: World) -> None:
    webhooks = world.replica(endpoint())
    await webhooks.stop(3600)
    running = asyncio.create_task(webhooks.run())
    await asyncio.sleep(0)
    await webhooks.stop(3600)
    await running
    await webhooks.stop(3600)


async def test_it_can_run_again(world: World) -> None:
    async with receiving() as receiver:
        webhooks = world.replica(endpoint(url=receiver.url))
        for number in (1, 2):
            running = asyncio.create_task(webhooks.run())
            await publish(world.redis, event(number))
            await receiver.received(number)
            await webhooks.stop(30)
            await running
    assert await world.waiting() == []


async def test_no_task_outlives_it(world: World) -> None:
    before = asyncio.all_tasks()
    async with receiving(answer(500)) as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event())
        await world.attempted(1)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_endpoint_that_comes_later_begins_where_the_stream_is(world: World) -> None:
    async with world.running():
        await publish(world.redis, event(1))
        await world.settled()
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
        await publish(world.redis, event(2))
        await receiver.received(1)
        await world.settled()
    assert json.loads(receiver.requests[0].body)["id"] == event(2).id


@pytest.mark.parametrize(
    ("url", "told"), [("http://hooks.example.com/x", ["one"]), ("https://hooks.example.com/x", [])]
)
async def test_plain_http_to_the_outside_is_warned_of(world: World, url: str, told: list[str]) -> None:
    with capture_logs() as logs:
        async with world.running(endpoint(url=url)):
            await publish(world.redis, event(3, "processing"))
            await world.settled()
    assert [line["endpoint"] for line in logs if line["event"] == "endpoint.not_encrypted"] == told


# --- other endpoints ----------------------------------------------------------------------------------------


async def test_reloaded_it_goes_on_with_other_endpoints_and_keeps_what_waits_for_the_old(
    world: World,
) -> None:
    async with receiving(hang) as old, receiving() as kept, receiving() as new:
        stays = endpoint("kept", kept.url)
        async with world.running(endpoint("old", old.url), stays) as webhooks:
            ids = await publish(world.redis, *(event(number) for number in range(5)))
            await kept.received(5)
            await old.received(5)
            await webhooks.reload((stays, endpoint("new", new.url)), 0)
            await publish(world.redis, *(event(number) for number in range(5, 10)))
            await new.received(5)
            await kept.received(10)
            for name in ("new", "kept"):
                await world.settled(name)
        assert await world.waiting("old") == ids
        assert set(await world.due("old")) == set(ids), "given back, and due for whoever comes"
        assert set(arrived(kept).values()) == {1}


async def test_a_reload_lets_no_endpoint_wait_for_what_is_under_way_at_another(world: World) -> None:
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await answer()(reader, writer)

    async with receiving(slow) as bad, receiving() as good:
        endpoints = (endpoint("bad", bad.url, concurrency=1), endpoint("good", good.url))
        async with world.running(*endpoints) as webhooks:
            await publish(world.redis, event(1))
            await bad.received(1)
            await good.received(1)
            await webhooks.reload(endpoints, 3600)
            await publish(world.redis, event(2))
            await good.received(2)
            await world.settled("good")
            go_on.set()
            await world.settled("bad")
    assert arrived(bad) == arrived(good) == {event(1).id: 1, event(2).id: 1}


async def test_stopped_amid_reloads_it_ends_them_all(world: World) -> None:
    before = asyncio.all_tasks()
    async with receiving(hang) as receiver:
        to = endpoint(url=receiver.url, concurrency=1)
        webhooks = world.replica(to)
        running = asyncio.create_task(webhooks.run())
        ids = await publish(world.redis, event(1), event(2), event(3))
        await receiver.received(1)
        for number in (2, 3):
            await webhooks.reload((to,), 3600)
            await receiver.received(number)
        await webhooks.stop(0)
        assert running.done()
        assert asyncio.all_tasks() - before <= set(receiver._handlers)
        await receiver.all_closed()
    assert sorted(arrived(receiver).values()) == [1, 1, 1]
    assert set(await world.due()) == set(ids)


async def test_what_cannot_be_reloaded_leaves_all_as_it_was(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n")
    async with receiving() as receiver, world.running(endpoint(url=receiver.url)) as webhooks:
        with pytest.raises(ConfigurationError, match="ca_file"):
            await webhooks.reload((endpoint("other", "https://127.0.0.1:9/", ca_file=broken),), 0)
        await publish(world.redis, event(1))
        await receiver.received(1)
        await world.settled()


async def test_reloaded_before_it_runs_it_begins_with_those(world: World) -> None:
    async with receiving() as receiver:
        webhooks = world.replica(endpoint("old", "http://127.0.0.1:9/"))
        await webhooks.reload((endpoint("new", receiver.url),), 0)
        running = asyncio.create_task(webhooks.run())
        await publish(world.redis, event(1))
        await receiver.received(1)
        await webhooks.stop(30)
        await running
