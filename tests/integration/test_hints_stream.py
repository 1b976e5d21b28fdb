"""The stream of hints on the real server, and the desk that hands them to the inspectors of their scopes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.fakes import EagerClock
from tests.unit.polling.api import life
from tests.unit.polling.bench import NONCE, Bench
from tests.unit.webhooks.world import until
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import EntityId, Hint, Scope, TaskId
from watcher.polling.hint_desk import HintDesk, Spacing
from watcher.polling.inspector import Inspector
from watcher.state.connection import connect
from watcher.state.hints import LONGEST, HintStream, parse
from watcher.state.keys import Keys, shard_of

pytestmark = pytest.mark.every_server

T0 = 1_800_000_000.0
KEYS = Keys("t")
TASK = "2f0ab5fe-6b6f-4a8c-8b6e-0f1d3f2e9c11"
OTHER = "7e209570-afd5-4078-ac33-b8e7409fa790"
ENTITY = EntityId("5b0b3bd8-9a3f-4cb4-8e0b-2f6b3c5e7a11")


def hints(number: int) -> list[Hint]:
    return [Hint.of(f"{n:032x}", None, "http") for n in range(number)]


class TestStream:
    async def test_what_is_added_is_read_in_order(self, redis: Redis) -> None:
        stream = HintStream(redis, KEYS)
        given = [Hint.of(TASK, None, "http"), Hint.of(OTHER, ENTITY, "monite")]
        await stream.append(given)
        entries = await stream.read(await stream.reached())
        assert [hint for _, hint in entries] == given
        await stream.append(hints(1))
        assert [hint for _, hint in await stream.read(entries[-1][0])] == hints(1)

    async def test_anybody_may_add_with_two_fields(self, redis: Redis) -> None:
        await redis.xadd("{t}:hints", {"task_id": TASK})
        await redis.xadd(
            "{t}:hints", {"task_id": OTHER.upper(), "entity_id": ENTITY, "note": "from the shop"}
        )
        found = [hint for _, hint in await HintStream(redis, KEYS).read("0")]
        assert found == [
            Hint(TaskId(TASK), Scope(), "stream"),
            Hint(TaskId(OTHER), Scope(ENTITY), "stream"),
        ]

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {b"task_id": b""},
            {b"task_id": b"7"},
            {b"task_id": b"\xff"},
            {b"task_id": TASK.encode(), b"entity_id": b"mine"},
            {b"entity_id": ENTITY.encode()},
        ],
    )
    def test_what_is_none_is_told_apart(self, fields: dict[bytes, bytes]) -> None:
        assert parse(fields) is None

    def test_only_known_sources_are_believed(self) -> None:
        sources = {
            source: hint.source
            for source in (
                b"http",
                b"monite",
                b"stream",
                b"",
                b"evil{label}",
                b"\xe9".decode("latin-1").encode(),
            )
            if (hint := parse({b"task_id": TASK.encode(), b"source": source}))
        }
        assert sources[b"http"] == "http"
        assert sources[b"monite"] == "monite"
        assert {sources[each] for each in sources if each not in (b"http", b"monite")} == {"stream"}

    async def test_it_is_kept_short(self, redis: Redis) -> None:
        stream = HintStream(redis, KEYS)
        for _ in range(LONGEST // 1000 + 3):
            await stream.append(hints(1000))
        assert LONGEST <= await redis.xlen(KEYS.hints) < LONGEST + 1000

    async def test_all_shards_share_it_and_each_has_come_so_far(self, redis: Redis) -> None:
        first, second = HintStream(redis, Keys("t", 0, 2)), HintStream(redis, Keys("t", 1, 2))
        await first.append(hints(1))
        ((entry_id, _),) = await second.read("0")
        await second.taken(entry_id)
        assert (await first.reached(), await second.reached()) == ("0", entry_id)
        assert await redis.keys("*hints") == [b"{t}:hints"]

    async def test_reading_waits_a_little_for_news(self, redis: Redis) -> None:
        stream = HintStream(redis, KEYS)
        assert await stream.read("0") == []

    async def test_a_key_of_another_kind_is_said(self, redis: Redis) -> None:
        await redis.set(KEYS.hints, "not a stream")
        with pytest.raises(StoreUnavailable):
            await HintStream(redis, KEYS).append(hints(1))


class Noted(HintStream):
    """A stream that lets tests wait until so much has been taken in."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        super().__init__(redis, keys)
        self._news = asyncio.Condition()
        self.times = 0

    async def taken(self, reached: str) -> None:
        await super().taken(reached)
        async with self._news:
            self.times += 1
            self._news.notify_all()

    async def until_taken(self, times: int) -> None:
        async with asyncio.timeout(30), self._news:
            await self._news.wait_for(lambda: self.times >= times)


class Waited(EagerClock):
    """A clock that says when somebody has waited on it a few times."""

    def __init__(self, start: float) -> None:
        super().__init__(start)
        self.waited = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == 3:
            self.waited.set()


@asynccontextmanager
async def at_work(desk: HintDesk, inspector_of: Callable[[Scope], Inspector | None]) -> AsyncIterator[None]:
    """The desk, for as long as this is entered; what it has started is then left to end."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(desk.run(group, inspector_of))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def desk_of(stream: HintStream, bench: Bench, shard: int = 0, shards: int = 1) -> HintDesk:
    return HintDesk(
        stream,
        Spacing(6.0, bench.clock),
        clock=bench.clock,
        metrics=bench.metrics,
        shard=shard,
        shards=shards,
    )


def counted(metrics: Metrics) -> dict[tuple[str, str], float]:
    (family,) = metrics.hints.collect()
    return {
        (sample.labels["source"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The daemon's own connection: the desk waits on it, and is cancelled there."""
    async with connect(redis_url) as redis:
        yield redis


@pytest.fixture
async def bench(redis: Redis) -> Bench:
    bench = Bench(redis, EagerClock(T0))
    await bench.begin()
    return bench


class TestDesk:
    async def test_a_hint_leads_to_an_event(self, bench: Bench) -> None:
        bench.api.add(life(TASK, T0 + 1, (T0 + 2, "success")))
        bench.clock.move(3)
        stream = Noted(bench.redis, KEYS)
        async with at_work(desk_of(stream, bench), {bench.scope: bench.inspector}.get):
            await bench.redis.xadd("{t}:hints", {"task_id": TASK})
            await stream.until_taken(1)
        assert await bench.told() == [(TASK, "success")]
        assert counted(bench.metrics) == {("stream", "found"): 1}

    async def test_scopes_that_nobody_watches_and_what_is_no_hint_are_counted(self, bench: Bench) -> None:
        stream = Noted(bench.redis, KEYS)
        await stream.append([Hint.of(TASK, ENTITY, "monite"), Hint.of(OTHER, ENTITY, "http")])
        await bench.redis.xadd("{t}:hints", {"task": TASK})
        async with at_work(desk_of(stream, bench), {bench.scope: bench.inspector}.get):
            await stream.until_taken(1)
        assert counted(bench.metrics) == {
            ("monite", "unknown_scope"): 1,
            ("http", "unknown_scope"): 1,
            ("stream", "invalid"): 1,
        }
        assert bench.api.asked == []

    async def test_each_shard_takes_its_own_and_only_one_counts_what_is_none(self, redis: Redis) -> None:
        entities = [EntityId(f"{n:08x}-0000-4000-8000-000000000000") for n in range(20)]
        given = [Hint.of(TASK, entity, "http") for entity in entities]
        await HintStream(redis, KEYS).append(given)
        await redis.xadd("{t}:hints", {"task_id": "none"})
        for shard in range(2):
            bench = Bench(redis, EagerClock(T0))
            stream = Noted(redis, Keys("t", shard, 2))
            async with at_work(desk_of(stream, bench, shard, 2), lambda _: None):
                await stream.until_taken(1)
            mine = sum(shard_of(hint.scope, 2) == shard for hint in given)
            assert 0 < mine < len(given)
            expected = {("http", "unknown_scope"): mine}
            assert counted(bench.metrics) == (
                {**expected, ("stream", "invalid"): 1} if shard == 0 else expected
            )

    async def test_the_next_holder_goes_on_where_the_last_one_was(self, bench: Bench) -> None:
        first = Noted(bench.redis, KEYS)
        await first.append(hints(3))
        async with at_work(desk_of(first, bench), lambda _: None):
            await first.until_taken(1)
        await first.append(hints(2))
        second = Noted(bench.redis, KEYS)
        async with at_work(desk_of(second, bench), lambda _: None):
            await second.until_taken(1)
        assert counted(bench.metrics) == {("http", "unknown_scope"): 5}

    async def test_a_stream_that_cannot_be_read_is_waited_for(self, redis: Redis) -> None:
        clock = Waited(T0)
        bench = Bench(redis, clock)
        await bench.begin()
        bench.api.add(life(TASK, T0 + 1))
        bench.clock.move(2)
        await redis.set(KEYS.hints, "not a stream")
        stream = Noted(redis, KEYS)
        with capture_logs() as logs:
            async with at_work(desk_of(stream, bench), {bench.scope: bench.inspector}.get):
                await clock.waited.wait()
                await redis.delete(KEYS.hints)
                await redis.xadd(KEYS.hints, {"task_id": TASK})
                await stream.until_taken(1)
                await redis.set(KEYS.hints, "not a stream again")

                def told() -> list[str]:
                    names = ("hints.unreadable", "hints.readable")
                    return [line["event"] for line in logs if line["event"] in names]

                async def said_again() -> bool:
                    return len(told()) >= 3

                await until(said_again)
        assert await bench.in_flight() == {TASK}
        assert told() == ["hints.unreadable", "hints.readable", "hints.unreadable"], "each once"

    async def test_a_lease_that_was_lost_ends_it(self, bench: Bench) -> None:
        bench.api.add(life(TASK, T0 + 1))
        bench.clock.move(2)
        await bench.redis.set(KEYS.lease, "another")
        stream = HintStream(bench.redis, KEYS)
        await stream.append([Hint.of(TASK, None, "http")])
        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                await desk_of(stream, bench).run(group, {bench.scope: bench.inspector}.get)
        assert "LeaseLostError" in repr(failed.value)
        assert await bench.redis.get(KEYS.lease) != NONCE.encode()
        assert await bench.told() == []
