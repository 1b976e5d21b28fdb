"""Alerts on the real server, with a clock of their own and a notifier that writes down what it is told."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from tests.fakes import EagerClock, FakeClock
from watcher import logs
from watcher.alerts import Alerts, NotAccepted, Notifier, Turn
from watcher.alerts.alerts import CONSUMER, GROUP
from watcher.alerts.channel import BACKOFF_FIRST, PATIENCE
from watcher.alerts.grouping import GAP, GATHER, Kind
from watcher.alerts.message import Message
from watcher.alerts.notifier import AppriseNotifier
from watcher.alerts.pauses import PauseAlerts
from watcher.errors import StoreUnavailable
from watcher.events.envelope import to_event, to_fields
from watcher.events.group import ConsumerGroup, GroupLost
from watcher.metrics import Metrics
from watcher.model import SECOND, Micros, Scope, Task, TaskId, Transition
from watcher.state.keys import Keys
from watcher.webhooks import control

KEYS = Keys("watcher")
ENDED = Micros(1_800_000_000 * SECOND)


@dataclass
class Recorder:
    """A notifier that keeps every message, and refuses while it is ``broken``."""

    broken: bool = False
    service: str = "recorder"
    accepted: list[Message] = field(default_factory=list)
    refused: list[Message] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def notify(self, message: Message) -> None:
        (self.refused if self.broken else self.accepted).append(message)
        self.news.set()
        if self.broken:
            raise NotAccepted("broken")

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.accepted]


class Publisher:
    """Appends events to the stream, each about a task of its own."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = 0

    async def publish(self, *kinds: str) -> list[str]:
        """One event of each kind; their ids on the stream."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for kind in kinds:
                self._count += 1
                task = Task(TaskId(f"task-{self._count}"), kind, ENDED, ENDED, "invoice")
                event = to_event(
                    Transition(task, kind, "processing", 0),
                    scope=Scope(),
                    namespace="watcher",
                    source="https://api.example.com/v1/ocr_tasks",
                    detected_at=ENDED,
                    recognized_data=False,
                )
                fields: Any = to_fields(event)
                pipe.xadd(KEYS.events, fields)
            return [entry.decode() for entry in await pipe.execute()]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def publisher(redis: Redis) -> Publisher:
    return Publisher(redis)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def prepared(redis: Redis, clock: FakeClock, *notifiers: Notifier) -> Alerts:
    alerts = Alerts(redis, KEYS, notifiers, clock, Metrics())
    await alerts.prepare()
    return alerts


async def after(clock: FakeClock, seconds: float, alerts: Alerts) -> Turn:
    """The turn that comes so many seconds later."""
    clock.move(seconds)
    return await alerts.run_once()


async def pending(redis: Redis) -> int:
    summary: Any = await redis.xpending(KEYS.events, GROUP)
    return int(summary["pending"])


async def cursor(redis: Redis) -> str:
    value: Any = await redis.get(KEYS.cursor(GROUP))
    return str(value.decode())


async def test_a_burst_becomes_one_message_once_it_has_gathered(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error", "error")
    assert await alerts.run_once() == Turn(read=2)
    (last,) = await publisher.publish("error")
    assert await after(clock, GATHER - 1, alerts) == Turn(read=1)
    assert (recorder.accepted, await pending(redis)) == ([], 3)

    assert await after(clock, 1, alerts) == Turn(acknowledged=3, sent=1)

    (message,) = recorder.accepted
    assert message.title == "3 OCR tasks failed"
    assert message.body.endswith("Task ids:\ntask-1\ntask-2\ntask-3")
    assert (await pending(redis), await cursor(redis)) == (0, last)
    assert await after(clock, GAP, alerts) == Turn()


async def test_what_comes_within_the_gap_is_told_together_at_its_end(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error")
    await alerts.run_once()
    await after(clock, GATHER, alerts)
    for _ in range(4):
        await publisher.publish("error")
        assert (await after(clock, GAP / 5, alerts)).sent == 0

    assert await after(clock, GAP / 5, alerts) == Turn(acknowledged=4, sent=1)

    assert recorder.titles == ["1 OCR task failed", "4 OCR tasks failed"]


async def test_events_that_nobody_is_told_of_are_acknowledged_at_once(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    entries = await publisher.publish(*["success", "stalled", "vanished", "processing"] * 200)

    assert await alerts.run_once() == Turn(read=800, acknowledged=800)

    assert (await pending(redis), await cursor(redis)) == (0, entries[-1])
    assert (await after(clock, GAP, alerts), recorder.accepted) == (Turn(), [])


async def test_the_cursor_stays_before_what_has_not_been_told(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    before, error, last = await publisher.publish("success", "error", "success")

    assert await alerts.run_once() == Turn(read=3, acknowledged=2)

    def order(entry: str) -> tuple[int, ...]:
        return tuple(int(part) for part in entry.split("-"))

    needed = await alerts.needed_from()
    assert order(before) <= order(needed) < order(error)
    await after(clock, GATHER, alerts)
    assert await alerts.needed_from() == last


async def test_undocumented_statuses_are_told_apart_from_errors(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("canceled", "error", "canceled")
    await alerts.run_once()

    assert await after(clock, GATHER, alerts) == Turn(acknowledged=3, sent=2)

    assert {message.kind: message.title for message in recorder.accepted} == {
        Kind.ERROR: "1 OCR task failed",
        Kind.UNKNOWN_STATUS: "2 OCR tasks have an undocumented status",
    }


async def test_what_was_told_of_one_kind_does_not_acknowledge_another(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error")
    await alerts.run_once()
    await publisher.publish("error", "canceled", "error")
    await after(clock, GATHER - 1, alerts)

    # Only the errors are due, and among them the second comes before the status that is not.
    assert await after(clock, 1, alerts) == Turn(acknowledged=2, sent=1)
    assert await pending(redis) == 2
    assert await after(clock, GATHER - 1, alerts) == Turn(acknowledged=2, sent=1)
    assert recorder.titles == ["3 OCR tasks failed", "1 OCR task has an undocumented status"]


async def test_many_more_than_one_batch(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish(*["error", "success"] * 700)
    assert await alerts.run_once() == Turn(read=1400, acknowledged=700)

    assert await after(clock, GATHER, alerts) == Turn(acknowledged=700, sent=1)

    assert recorder.accepted[0].body.endswith("\nand 690 more")
    assert await pending(redis) == 0


async def test_after_a_crash_before_the_message_a_successor_tells(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    crashed = await prepared(redis, clock, Recorder())
    await publisher.publish(*["error"] * 450)
    await crashed.run_once()
    await publisher.publish("error")

    alerts = await prepared(redis, clock, recorder)
    assert await alerts.run_once() == Turn(read=451)
    assert await after(clock, GATHER, alerts) == Turn(acknowledged=451, sent=1)

    assert recorder.titles == ["451 OCR tasks failed"]


async def test_after_a_crash_before_the_acknowledgement_it_is_told_again(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    class Crashing(Recorder):
        async def notify(self, message: Message) -> None:
            await super().notify(message)
            raise asyncio.CancelledError

    told = Crashing()
    crashed = await prepared(redis, clock, told)
    await publisher.publish("error", "error")
    await crashed.run_once()
    with suppress(asyncio.CancelledError):
        await after(clock, GATHER, crashed)
    assert (told.titles, await pending(redis)) == (["2 OCR tasks failed"], 2)

    alerts = await prepared(redis, clock, recorder)
    await alerts.run_once()
    await after(clock, GATHER, alerts)

    assert (recorder.titles, await pending(redis)) == (["2 OCR tasks failed"], 0)


async def test_a_refused_notification_is_tried_again_and_said_once(
    redis: Redis, clock: FakeClock, publisher: Publisher
) -> None:
    recorder = Recorder(broken=True)
    metrics = Metrics()
    alerts = Alerts(redis, KEYS, [recorder], clock, metrics)
    await alerts.prepare()
    await publisher.publish("error")
    with structlog.testing.capture_logs() as written:
        await alerts.run_once()
        assert await after(clock, GATHER, alerts) == Turn(failed=1)
        assert await after(clock, 4.9, alerts) == Turn()
        await publisher.publish("error")
        assert await after(clock, 0.1, alerts) == Turn(read=1, failed=1)
        assert await pending(redis) == 2
        recorder.broken = False
        assert await after(clock, 9.9, alerts) == Turn()
        assert await after(clock, 0.1, alerts) == Turn(acknowledged=2, sent=1)

    assert recorder.titles == ["2 OCR tasks failed"]
    assert [entry["event"] for entry in written] == ["alert.failed", "alert.recovered", "alert.sent"]
    assert written[0]["reason"] == "broken"
    sample = metrics.registry.get_sample_value
    assert sample("watcher_alerts_sent_total", {"outcome": "sent"}) == 1
    assert sample("watcher_alerts_sent_total", {"outcome": "failed"}) == 2


async def test_a_notifier_with_a_fault_of_its_own_counts_as_refusing(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    class Faulty(Recorder):
        async def notify(self, message: Message) -> None:
            raise RuntimeError("json://user:SECRET@host")

    alerts = await prepared(redis, clock, Faulty(), recorder)
    await publisher.publish("error")
    await alerts.run_once()
    with structlog.testing.capture_logs() as written:
        assert await after(clock, GATHER, alerts) == Turn(sent=1, failed=1)

    assert recorder.titles == ["1 OCR task failed"]
    assert "SECRET" not in repr(written)
    assert any(entry.get("reason") == "RuntimeError" for entry in written)


async def test_a_broken_notifier_makes_a_healthy_one_neither_wait_nor_repeat(
    redis: Redis, clock: FakeClock, publisher: Publisher
) -> None:
    healthy, broken = Recorder(), Recorder(broken=True)
    alerts = await prepared(redis, clock, broken, healthy)
    await publisher.publish("error")
    await alerts.run_once()
    await after(clock, GATHER, alerts)
    await publisher.publish("error", "error")
    await after(clock, 1, alerts)
    await after(clock, GAP - 1, alerts)
    await after(clock, 1, alerts)
    assert healthy.titles == ["1 OCR task failed", "2 OCR tasks failed"]
    assert await pending(redis) == 3

    broken.broken = False
    await after(clock, 600, alerts)

    assert broken.titles == ["3 OCR tasks failed"]
    assert len(healthy.accepted) == 2
    assert await pending(redis) == 0


async def test_a_notifier_that_stays_broken_does_not_keep_the_stream_for_ever(
    redis: Redis, clock: FakeClock, publisher: Publisher
) -> None:
    healthy, broken = Recorder(), Recorder(broken=True)
    alerts = await prepared(redis, clock, broken, healthy)
    (entry,) = await publisher.publish("error")
    await alerts.run_once()
    await after(clock, GATHER, alerts)
    await after(clock, PATIENCE - 1, alerts)
    assert await pending(redis) == 1

    await after(clock, 1, alerts)

    assert (await pending(redis), await alerts.needed_from()) == (0, entry)
    broken.broken = False
    await after(clock, GAP, alerts)
    assert (broken.titles, healthy.titles) == (["1 OCR task failed"], ["1 OCR task failed"])


async def test_the_first_time_alerts_begin_with_what_comes_after_they_were_prepared(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    (old,) = await publisher.publish("error")
    alerts = await prepared(redis, clock, recorder)
    assert await alerts.needed_from() == old
    await publisher.publish("error", "error")
    await alerts.prepare()

    assert await alerts.run_once() == Turn(read=2)


async def test_a_group_that_the_server_lost_goes_on_after_what_was_told(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error", "success")
    await alerts.run_once()
    await after(clock, GATHER, alerts)
    await publisher.publish("error")
    await after(clock, 1, alerts)
    await redis.xgroup_destroy(KEYS.events, GROUP)
    await publisher.publish("error")

    with structlog.testing.capture_logs() as written:
        assert await after(clock, 1, alerts) == Turn()
    assert [entry["event"] for entry in written] == ["alerts.group_lost", "alerts.group_created"]
    assert await after(clock, 1, alerts) == Turn(read=2)
    await after(clock, GAP, alerts)

    assert recorder.titles == ["1 OCR task failed", "2 OCR tasks failed"]
    assert await pending(redis) == 0


async def test_a_group_lost_while_nobody_looked_goes_on_after_what_was_told(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    first = await prepared(redis, clock, Recorder())
    await publisher.publish("error")
    await first.run_once()
    await after(clock, GATHER, first)
    await redis.xgroup_destroy(KEYS.events, GROUP)
    await publisher.publish("error", "error")

    alerts = await prepared(redis, clock, recorder)

    assert await alerts.run_once() == Turn(read=2)


async def test_a_server_that_lost_everything_loses_no_later_error(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error")
    await alerts.run_once()
    await redis.flushall()
    await publisher.publish("error")

    await alerts.run_once()
    assert await alerts.run_once() == Turn(read=1)
    await after(clock, GATHER, alerts)

    assert recorder.accepted[0].body.endswith("\ntask-2")


async def test_a_stream_that_is_another_one_is_read_from_its_beginning(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("success")
    await alerts.run_once()
    await redis.delete(KEYS.events)
    await redis.set(KEYS.cursor(GROUP), "99999999999999-0")
    await publisher.publish("error")

    await alerts.run_once()

    assert await alerts.run_once() == Turn(read=1)


async def test_an_entry_given_to_a_reader_that_nobody_hears_of_is_found(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error")
    await alerts.run_once()
    await publisher.publish("error")
    # A predecessor that has not noticed that it is one, or an answer that was lost.
    streams: Any = {KEYS.events: ">"}
    await redis.xreadgroup(GROUP, CONSUMER, streams)
    await publisher.publish("error")

    assert await after(clock, 1, alerts) == Turn(read=2)

    await after(clock, GATHER, alerts)
    assert recorder.titles == ["3 OCR tasks failed"]


async def test_what_is_no_event_or_is_gone_does_not_stop_the_rest(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    first = await prepared(redis, clock, Recorder())
    gone, _ = await publisher.publish("error", "error")
    await first.run_once()
    await redis.xdel(KEYS.events, gone)
    await redis.xadd(KEYS.events, {"type": "ocr_task.error"})
    alerts = await prepared(redis, clock, recorder)

    with structlog.testing.capture_logs() as written:
        assert await alerts.run_once() == Turn(read=3, acknowledged=2)

    assert [entry["event"] for entry in written] == ["alerts.entry_gone", "alerts.entry_ignored"]
    assert await after(clock, GATHER, alerts) == Turn(acknowledged=1, sent=1)


async def test_a_store_that_refuses_ends_the_run_and_nothing_is_lost(
    redis: Redis, clock: FakeClock, publisher: Publisher, recorder: Recorder
) -> None:
    alerts = await prepared(redis, clock, recorder)
    await publisher.publish("error")
    await alerts.run_once()
    dump: Any = await redis.dump(KEYS.events)
    await redis.set(KEYS.events, "not a stream")

    with pytest.raises(StoreUnavailable):
        await alerts.run()

    await redis.restore(KEYS.events, 0, dump, replace=True)
    assert await alerts.run_once() == Turn(read=1)
    await after(clock, GATHER, alerts)
    assert recorder.titles == ["1 OCR task failed"]


async def test_to_run_again_tells_what_is_pending_and_counts_nothing_twice(
    redis: Redis, publisher: Publisher
) -> None:
    """Leadership lost and won back: `run` begins anew, on the same object."""
    recorder = Recorder(broken=True)
    alerts = await prepared(redis, EagerClock(), recorder)
    await publisher.publish("error", "error")
    async with running(alerts):
        await recorder.news.wait()
    recorder.broken = False
    recorder.news.clear()

    async with running(alerts):
        await recorder.news.wait()

    assert recorder.titles == ["2 OCR tasks failed"]


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncIterator[None]:
    task = asyncio.create_task(alerts.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_consumer_sees_only_its_own_pending_entries(redis: Redis, publisher: Publisher) -> None:
    group = ConsumerGroup(redis, KEYS, "shared")
    await group.join(first="newest")
    first, second, third = await publisher.publish("error", "error", "error")
    assert [entry for entry, _ in await group.read("one", "0-0", 2)] == [first, second]
    assert [entry for entry, _ in await group.read("other", "0-0", 2)] == [third]

    assert await group.pending("one", "+", 10) == [first, second]
    assert await group.pending("one", f"({second}", 10) == [first]
    assert await group.pending("other", "+", 10) == [third]


async def test_the_group_refuses_what_is_not_there(redis: Redis) -> None:
    group = ConsumerGroup(redis, KEYS, "nobody")

    assert await group.cursor() is None
    with pytest.raises(GroupLost):
        await group.read("one", "0-0", 1)
    with pytest.raises(GroupLost):
        await group.pending("one", "+", 1)
    assert await group.acknowledge(["1-1"]) == 0
    assert await group.cursor() is None


@pytest.mark.parametrize("name", ["join", "read", "acknowledge"])
async def test_scripts_refuse_wrong_arguments_before_they_write(redis: Redis, name: str) -> None:
    group = ConsumerGroup(redis, KEYS, GROUP)
    script = {"join": group._join, "read": group._read, "acknowledge": group._acknowledge}[name]

    for wrong in ([], ["alerts"], ["alerts", "x", "y", "z"]):
        with pytest.raises(ResponseError, match=f"^{name}: "):
            await script(keys=[KEYS.events, KEYS.cursor(GROUP)], args=wrong)

    assert await redis.dbsize() == 0


@dataclass
class Receiver:
    """A service that people are told through: answers with a status, and keeps what it was sent."""

    status: int = 200
    port: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.received.append({"path": request.path, **await request.json()})
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", one.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.port = runner.addresses[0][1]
    yield one
    await runner.cleanup()


@pytest.fixture
def daemon_log() -> Iterator[io.StringIO]:
    """Everything that the daemon would write at its most talkative."""
    written = io.StringIO()
    root = logging.getLogger()
    level, handlers, before = root.level, list(root.handlers), structlog.get_config()
    logs.configure("debug", "json", written)
    yield written
    structlog.configure(**before)
    root.setLevel(level)
    root.handlers[:] = handlers


# One of Apprise's plugins imports a module that Python 3.13 has removed.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_through_apprise_to_a_real_receiver(
    redis: Redis, clock: FakeClock, publisher: Publisher, receiver: Receiver, daemon_log: io.StringIO
) -> None:
    url = f"json://user:PASSWORD@127.0.0.1:{receiver.port}/T0KEN"
    alerts = await prepared(redis, clock, AppriseNotifier(url))
    await publisher.publish("error", "success", "error")
    await alerts.run_once()
    receiver.status = 503
    assert await after(clock, GATHER, alerts) == Turn(failed=1)
    receiver.status = 200
    assert await after(clock, BACKOFF_FIRST, alerts) == Turn(acknowledged=2, sent=1)

    refused, accepted = receiver.received
    assert refused == accepted
    assert (accepted["path"], accepted["type"]) == ("/T0KEN", "failure")
    assert accepted["title"] == "2 OCR tasks failed"
    assert accepted["message"].endswith("Task ids:\ntask-1\ntask-3")
    log = daemon_log.getvalue()
    assert '"event":"alert.failed"' in log
    assert '"reason":"failure, http 503"' in log
    assert '"event":"alert.sent"' in log
    for secret in ("PASSWORD", "T0KEN", f"127.0.0.1:{receiver.port}/"):
        assert secret not in log


class TestPauses:
    """Endpoints that the watcher has paused."""

    @pytest.fixture
    async def lane(self, redis: Redis) -> str:
        await redis.sadd(KEYS.endpoints, "shop", "other")
        lane = KEYS.lane("shop")
        await redis.hset(lane, mapping={"paused": "http_410", "paused_at": ENDED // 1000})
        return lane

    async def test_a_pause_is_told_once_whoever_leads(
        self, redis: Redis, clock: FakeClock, recorder: Recorder, lane: str
    ) -> None:
        for expected in (1, 0):
            assert await PauseAlerts(redis, KEYS, [recorder], clock, Metrics()).run_once() == expected
        (message,) = recorder.accepted
        assert message.title == "Webhook endpoint shop is paused"
        assert "410" in message.body
        assert "2027-01-15 08:00:00" in message.body
        assert "watcher endpoints resume shop" in message.body

    async def test_the_next_pause_is_told_again(
        self, redis: Redis, clock: FakeClock, recorder: Recorder, lane: str
    ) -> None:
        pauses = PauseAlerts(redis, KEYS, [recorder], clock, Metrics())
        await pauses.run_once()
        await control.resume(redis, KEYS, "shop", clock.time())
        assert await pauses.run_once() == 0
        await redis.hset(lane, mapping={"paused": "failing", "paused_at": 5})
        assert await pauses.run_once() == 1

    async def test_a_pause_that_ended_while_it_was_told_hides_no_later_one(
        self, redis: Redis, clock: FakeClock, recorder: Recorder, lane: str
    ) -> None:
        pauses = PauseAlerts(redis, KEYS, [recorder], clock, Metrics())
        await pauses.run_once()
        await redis.hset(lane, "paused_at", ENDED // 1000 + 5)
        assert [await pauses.run_once() for _ in range(2)] == [1, 0]

    async def test_what_nobody_took_is_told_until_somebody_does(
        self, redis: Redis, clock: FakeClock, recorder: Recorder, lane: str
    ) -> None:
        recorder.broken = True
        pauses = PauseAlerts(redis, KEYS, [recorder, recorder], clock, Metrics())
        with capture_logs() as logs:
            assert [await pauses.run_once() for _ in range(3)] == [0, 0, 0]
            recorder.broken = False
            assert await pauses.run_once() == 2
        assert [line["event"] for line in logs] == ["alert.failed", "alert.sent"]

    async def test_whoever_pauses_by_hand_knows(
        self, redis: Redis, clock: FakeClock, recorder: Recorder, lane: str
    ) -> None:
        await control.resume(redis, KEYS, "shop", clock.time())
        await control.pause(redis, KEYS, "shop", clock.time())
        assert await PauseAlerts(redis, KEYS, [recorder], clock, Metrics()).run_once() == 0
