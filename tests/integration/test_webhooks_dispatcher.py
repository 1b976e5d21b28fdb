"""Reading the stream: what is foreign, what is left lying, and a store that goes away."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from tests.fakes import FakeClock
from tests.integration.conftest import Server
from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, fields, publish
from tests.unit.webhooks.receiver import receiving
from tests.unit.webhooks.world import World, arrived, until
from watcher.clock import SystemClock
from watcher.state.connection import connect
from watcher.webhooks.dispatcher import Dispatched, Dispatcher
from watcher.webhooks.group import GROUP, EventGroup
from watcher.webhooks.outage import Outage


def dispatcher(redis: Redis, clock: FakeClock, woken: list[int], consumer: str = "me") -> Dispatcher:
    return Dispatcher(
        EventGroup(redis, KEYS, consumer),
        (endpoint("one"), endpoint("errors", events=("ocr_task.error",))),
        clock=clock,
        outage=Outage(clock),
        told=lambda position, *_: woken.append(position),
        take_over_after=0,
    )


async def test_a_turn_tells_what_it_did_and_wakes_whom_it_concerns(redis: Redis) -> None:
    woken: list[int] = []
    clock = FakeClock(NOW)
    one = dispatcher(redis, clock, woken)
    await EventGroup(redis, KEYS, "me").join()
    await publish(redis, event(1), event(2), event(3, "processing"))
    assert await one.run_once() == Dispatched(read=3, accepted=3, deliveries=2)
    assert woken == [0]
    await publish(redis, event(4, "error"))
    assert await one.run_once() == Dispatched(read=1, accepted=1, deliveries=2)
    assert sorted(woken) == [0, 0, 1]


async def test_large_events_are_read_few_at_a_time(redis: Redis) -> None:
    told: list[tuple[int, int, int]] = []
    one = Dispatcher(
        EventGroup(redis, KEYS, "me"),
        (endpoint(),),
        clock=(clock := FakeClock(NOW)),
        outage=Outage(clock),
        told=lambda *what: told.append(what),
    )
    await EventGroup(redis, KEYS, "me").join()
    text = b'"' + b"x" * 2_000_000 + b'"'
    await publish(redis, *(event(number, recognized_data=text) for number in range(24)))
    assert [(await one.run_once()).read for _ in range(3)] == [16, 4, 4]
    assert [number for _, number, _ in told] == [16, 4, 4]
    assert all(2_000_000 * number < size < 2_001_000 * number for _, number, size in told)
    await publish(redis, *(event(number) for number in range(24, 100)))
    assert [(await one.run_once()).read for _ in range(2)] == [4, 72]


async def test_what_is_not_ours_is_said_once_and_passed_over(redis: Redis) -> None:
    clock = FakeClock(NOW)
    one = dispatcher(redis, clock, [])
    await EventGroup(redis, KEYS, "me").join()
    broken = {**fields(event(1)), b"data": b"{not json: DE02120300000000202051"}
    for content in ({b"hello": b"world"}, broken):
        words = [word for pair in content.items() for word in pair]
        await redis.execute_command("XADD", KEYS.events, "*", *words)  # type: ignore[no-untyped-call] # the client's own
    [ours] = await publish(redis, event(2))
    with capture_logs() as lines:
        assert await one.run_once() == Dispatched(read=3, accepted=3, deliveries=1)
        await publish(redis, event(3))
        assert (await one.run_once()).read == 1
    assert [line["event"] for line in lines] == ["webhooks.entry_ignored"] * 2
    assert "DE02" not in repr(lines)
    found: Any = await redis.zrange(KEYS.waiting("one"), 0, 0)
    assert found == [ours.encode()]
    [group] = await redis.xinfo_groups(KEYS.events)
    assert (group["pending"], group["lag"]) == (0, 0)


async def test_what_others_left_is_taken_over_now_and_then(redis: Redis) -> None:
    clock = FakeClock(NOW)
    dead = EventGroup(redis, KEYS, "dead")
    await dead.join()
    one = dispatcher(redis, clock, [])
    for number in range(2):
        await publish(redis, event(number), event(number + 10))
        await dead.read(count=10, block_ms=1)
        await publish(redis, event(number + 20))
        assert await one.run_once() == Dispatched(read=3, accepted=3, deliveries=3)
        await clock.advance(5)


async def test_what_was_read_and_deleted_since_is_acknowledged(redis: Redis) -> None:
    before = EventGroup(redis, KEYS, "me")
    await before.join()
    [gone, there] = await publish(redis, event(1), event(2))
    await before.read(count=10, block_ms=1)
    await redis.xdel(KEYS.events, gone)
    await dispatcher(redis, FakeClock(NOW), []).accept_pending()
    found: Any = await redis.zrange(KEYS.waiting("one"), 0, -1)
    assert found == [there.encode()]
    [group] = await redis.xinfo_groups(KEYS.events)
    assert group["pending"] == 0


async def test_many_that_were_left_are_accepted_in_turns(redis: Redis) -> None:
    before = EventGroup(redis, KEYS, "me")
    await before.join()
    await publish(redis, *(event(number) for number in range(600)))
    assert len(await before.read(count=1000, block_ms=1)) == 600
    await dispatcher(redis, FakeClock(NOW), []).accept_pending()
    assert await redis.zcard(KEYS.waiting("one")) == 600


async def test_deliveries_of_an_endpoint_that_is_gone_are_said(redis: Redis) -> None:
    world = World(redis)
    async with world.running(endpoint("left", "http://127.0.0.1:9/")):
        await publish(redis, event(1))
        await world.attempted(1, "left")
    with capture_logs() as lines:
        async with world.running(endpoint("one")):
            await until(lambda: _said(lines))
    [line] = [line for line in lines if line["event"] == "webhooks.endpoint_not_configured"]
    assert (line["endpoint"], line["waiting"]) == ("left", 1)


async def _said(lines: Any) -> bool:
    return any(line["event"] == "webhooks.endpoint_not_configured" for line in lines)


# --- a store that goes away ---------------------------------------------------------------------------------


class DurableServer:
    """A server that can be killed and started again, with every write on disk."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._folder / 's'}"

    def start(self) -> None:
        options = {"port": "0", "unixsocket": "s", "save": "", "appendonly": "yes", "appendfsync": "always"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._binary, *words], cwd=self._folder, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def durable(redis_server: Server) -> Iterator[DurableServer]:
    # Not pytest's own tmp_path: a unix socket's path may have some 100 bytes only.
    with tempfile.TemporaryDirectory(prefix="watcher-") as folder:
        server = DurableServer(redis_server.binary, Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def durable_redis(durable: DurableServer) -> AsyncIterator[Redis]:
    client = connect(durable.url)
    await until(lambda: _answers(client))
    yield client
    await client.aclose()


async def _answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except RedisConnectionError:
        return False


async def test_a_store_that_was_killed_loses_no_delivery(
    durable: DurableServer, durable_redis: Redis
) -> None:
    world = World(durable_redis)
    events = [event(number) for number in range(120)]
    with capture_logs() as lines:
        async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
            for begin in range(0, 120, 40):
                await publish(durable_redis, *events[begin : begin + 40])
                await world.let_pass(0, receiver.received(begin + 1))
                durable.kill()
                durable.start()
                await until(lambda: _answers(durable_redis))
            # What was claimed while the answer was lost comes back when the claim ends.
            await world.let_pass(60, world.settled())
    assert set(arrived(receiver)) == {some.id for some in events}
    assert await world.dead() == []
    assert all(line["event"] != "webhooks.claims_left" for line in lines)


async def test_a_store_that_is_away_at_first_is_waited_for(durable: DurableServer) -> None:
    durable.kill()
    client = connect(durable.url)
    world = World(client, SystemClock())
    try:
        async with receiving() as receiver, world.running(endpoint(url=receiver.url)):
            with capture_logs() as lines:
                await until(lambda: _store_missed(lines))
            durable.start()
            await until(lambda: _answers(client))
            await publish(client, event(1))
            await receiver.received(1)
            await world.settled()
    finally:
        await client.aclose()


async def _store_missed(lines: Any) -> bool:
    return any(line["event"] == "webhooks.store_unavailable" for line in lines)


async def test_a_stop_while_the_store_is_away_ends(durable: DurableServer, durable_redis: Redis) -> None:
    world = World(durable_redis, SystemClock())
    async with receiving() as receiver:
        webhooks = world.replica(endpoint(url=receiver.url))
        running = asyncio.create_task(webhooks.run())
        await publish(durable_redis, event(1))
        await receiver.received(1)
        durable.kill()
        await webhooks.stop(0.1)
        assert running.done()


def test_the_groups_name_is_as_documented() -> None:
    assert GROUP == "webhooks"
