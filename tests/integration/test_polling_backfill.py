"""Backfills on a real store: everything never told is told once, whatever stops in between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.fakes import EagerClock
from tests.unit.polling.api import Api, in_turn, life, unavailable
from watcher.cli.backfill import ask_all
from watcher.errors import StoreError, WatcherError
from watcher.events.envelope import from_fields, read_data
from watcher.metrics import Metrics
from watcher.model import SECOND, EntityId, Event, Micros, Scope, Task, TaskId, from_seconds
from watcher.monite.errors import PageTokenRejected, ScopeRejected
from watcher.polling.backfiller import LOOK, RETRY, Backfiller, rehearse
from watcher.polling.diff import Rules
from watcher.polling.means import Means
from watcher.polling.policy import PollPolicy
from watcher.polling.recorder import Publication, Recorder
from watcher.polling.widths import FIRST_WIDTH
from watcher.state.backfill import Job, Request, begun
from watcher.state.backfills import ask, call_off
from watcher.state.coverage import Coverage, Interval
from watcher.state.keys import Keys
from watcher.state.lease import LeaseLostError
from watcher.state.records import Start
from watcher.state.scope import ScopeState
from watcher.state.store import Store

T0 = 1_800_000_000.0
"""When the scope was first watched."""
DAY = 86_400.0
KEYS = Keys("t")
KINDS = frozenset({"success", "error"})
OTHER = Scope(EntityId("3fa85f64-5717-4562-b3fc-2c963f66afa6"))


@dataclass
class World:
    """One shard: what was watched from T0 on, and what the API still lists."""

    redis: Redis
    clock: EagerClock = field(default_factory=lambda: EagerClock(T0 + DAY))
    metrics: Metrics = field(default_factory=Metrics)
    publication: Publication = field(
        default_factory=lambda: Publication("t", "https://api.example/v1/ocr_tasks", recognized_data=False)
    )

    def __post_init__(self) -> None:
        self.api = Api(self.clock)
        self.store = Store(self.redis, KEYS)
        self.means = Means(
            source=self.api,
            store=self.store,
            policy=PollPolicy("baseline", KINDS),
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
            jitter=lambda: 0.5,
        )

    async def begin(self, *scopes: Scope) -> None:
        """A baseline start at T0, everything since covered."""
        start = Start(from_seconds(T0), from_seconds(T0), from_seconds(T0 - 600))
        covered = Coverage((Interval(Micros(start.cover_from), self.api.now()),))
        await self.redis.set(KEYS.lease, "holder")
        for scope in scopes or (Scope(),):
            begun = ScopeState(start, covered, adopted=True)
            await self.recorder(scope).record((), self.rules(start), self.api.now(), ScopeState(), begun)

    def recorder(self, scope: Scope = Scope()) -> Recorder:  # noqa: B008 - frozen
        return Recorder(
            scope,
            "holder",
            store=self.store,
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
        )

    @staticmethod
    def rules(start: Start) -> Rules:
        return Rules(start, KINDS, 300 * SECOND)

    async def polled(self, *names: str) -> None:
        """The poller has read these by now."""
        state = await self.store.load(Scope())
        assert state.start is not None
        rows = [
            row for each in self.api.lives[Scope()] if each.id in names and (row := each.row(self.api.now()))
        ]
        await self.recorder().record(rows, self.rules(state.start), self.api.now(), state, state)

    async def asked(self, days: float = 90, *scopes: Scope, rate: float = 1000.0) -> Job:
        keys = tuple(scope.key for scope in scopes or (Scope(),))
        low = from_seconds(T0 - days * DAY)
        return await ask(self.redis, KEYS, begun(Request(low, self.api.now(), keys, rate), FIRST_WIDTH))

    async def job(self) -> Job:
        job = await self.store.backfill()
        assert job is not None
        return job

    async def finish(self, nonce: str = "holder") -> Job:
        backfiller = Backfiller(nonce, self.means)
        while not (await self.job()).done:
            await self.clock.sleep(await backfiller.run_once())
        return await self.job()

    async def told(self) -> list[tuple[str, str]]:
        return sorted((event.subject, event.type.removeprefix("ocr_task.")) for event in await self.events())

    async def events(self) -> list[Event]:
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.redis.xrange(KEYS.events))
        return [from_fields(fields) for _, fields in entries]

    async def forget(self) -> None:
        """Everything remembered is forgotten, as it is in time."""
        assert await self.store.forget(Scope(), self.api.now(), "holder")


@pytest.fixture
async def world(redis: Redis) -> World:
    world = World(redis)
    world.api.add(
        life("ancient", T0 - 80 * DAY, (T0 - 80 * DAY + 9, "success")),
        life("old", T0 - 2 * DAY, (T0 - 2 * DAY + 9, "error")),
        life("adopted", T0 - 300, (T0 - 290, "success")),
        life("polled", T0 + 100, (T0 + 110, "success")),
        life("working", T0 - DAY),
    )
    await world.begin()
    await world.polled("adopted", "polled", "working")
    assert await world.told() == [("polled", "success")]
    return world


EVERYTHING = [("adopted", "success"), ("ancient", "success"), ("old", "error"), ("polled", "success")]


class TestTelling:
    async def test_what_was_never_told_is_told_once(self, world: World) -> None:
        await world.asked()
        job = await world.finish()
        assert await world.told() == EVERYTHING
        assert (job.progress.rows, job.progress.published) == (5, 3)
        assert job.progress.requests == len(world.api.asked)
        assert set((await world.store.load(Scope())).in_flight) == {"working"}

    async def test_a_repeat_tells_nothing(self, world: World) -> None:
        await world.asked()
        await world.finish()
        await world.asked()
        job = await world.finish()
        assert (job.progress.rows, job.progress.published) == (5, 0)
        assert await world.told() == EVERYTHING

    async def test_nor_does_one_once_everything_is_forgotten(self, world: World) -> None:
        await world.asked()
        await world.finish()
        await world.forget()
        await world.asked()
        job = await world.finish()
        assert (job.progress.rows, job.progress.published) == (5, 0)
        assert await world.told() == EVERYTHING

    async def test_what_was_polled_and_forgotten_is_not_told_again(self, world: World) -> None:
        await world.forget()
        await world.asked()
        await world.finish()
        assert await world.told() == EVERYTHING

    async def test_events_of_a_backfill_are_as_polling_would_have_made_them(self, world: World) -> None:
        await world.asked()
        await world.finish()
        data = {event.subject: read_data(event) for event in await world.events()}[TaskId("adopted")]
        assert (data.status, data.previous_status, data.revision) == ("success", None, 0)

    async def test_old_ends_do_not_count_as_late_detections(self, world: World) -> None:
        def detections() -> float:
            return world.metrics.registry.get_sample_value("watcher_detection_delay_seconds_count") or 0.0

        before = detections()
        await world.asked()
        await world.finish()
        assert detections() == before

    async def test_a_document_type_that_is_not_watched_is_left_out(self, world: World) -> None:
        world.means = replace(
            world.means, publication=replace(world.publication, document_types=frozenset({"receipt"}))
        )
        await world.asked()
        assert (await world.finish()).progress.published == 0


class TestGoingOn:
    async def test_a_new_holder_goes_on_where_the_last_one_stopped(self, world: World) -> None:
        await world.asked()
        await Backfiller("holder", world.means).run_once()
        await world.redis.set(KEYS.lease, "another")
        with pytest.raises(LeaseLostError):
            await Backfiller("holder", world.means).run_once()
        done = (await world.job()).progress
        assert done.at == from_seconds(T0 - 90 * DAY) + FIRST_WIDTH
        await world.finish("another")
        assert await world.told() == EVERYTHING
        lows = [asked.window.low for asked in world.api.asked if asked.window]
        assert lows == sorted(lows)
        # Only the window whose writing was refused has been read twice.
        assert len(lows) - len(set(lows)) == 1

    async def test_a_window_in_the_middle_of_which_it_is_killed_tells_nothing_of_itself(
        self, world: World
    ) -> None:
        born = T0 - 50 * DAY
        world.api.add(*[life(f"batch-{n:03}", born + n, (born + n + 5, "success")) for n in range(250)])

        class Killed(Exception):  # noqa: N818 - says what happened to the process
            pass

        def fault(asked: object) -> None:
            if getattr(asked, "later_page", False):
                world.api.fault = None
                raise Killed

        world.api.fault = fault
        await world.asked()
        with pytest.raises(Killed):
            await world.finish()
        assert ("batch-000", "success") not in await world.told()
        await world.finish()
        told = await world.told()
        assert len(told) == len(set(told)) == 254

    async def test_a_window_with_too_many_rows_is_read_in_parts(self, world: World) -> None:
        born = T0 - 50 * DAY
        world.api.add(*[life(f"batch-{n:04}", born + n, (born + n + 5, "success")) for n in range(1500)])
        await world.asked()
        await world.finish()
        told = await world.told()
        assert len(told) == len(set(told)) == 1504
        begun = [asked.window for asked in world.api.asked if asked.window and not asked.later_page]
        assert len({window.low for window in begun}) < len(begun), "the first try was given up"

    async def test_a_page_token_that_ran_out_makes_the_window_narrower(self, world: World) -> None:
        world.api.fault = in_turn(PageTokenRejected("run out", status=400))
        await world.asked()
        await Backfiller("holder", world.means).run_once()
        progress = (await world.job()).progress
        assert (progress.at, progress.width) == (from_seconds(T0 - 90 * DAY), FIRST_WIDTH // 2)

    async def test_an_api_that_is_away_is_waited_for_and_said_once(self, world: World) -> None:
        world.api.fault = in_turn(*[unavailable() for _ in range(6)])
        await world.asked()
        backfiller = Backfiller("holder", world.means)
        with capture_logs() as logs:
            assert [await backfiller.run_once() for _ in range(2)] == [RETRY, RETRY]
            assert (await world.job()).progress.trouble == "server_error"
            assert await backfiller.run_once() < RETRY
        assert (await world.job()).progress.trouble == ""
        assert [line["event"] for line in logs] == ["backfill.failing"]
        await world.finish()
        assert await world.told() == EVERYTHING

    async def test_a_scope_that_is_refused_does_not_stop_the_others(self, world: World) -> None:
        await world.begin(OTHER)
        await world.asked(90, OTHER, Scope())
        world.api.fault = in_turn(ScopeRejected("gone", status=404))
        job = await world.finish()
        assert job.progress.refused == 1
        assert await world.told() == EVERYTHING

    async def test_a_scope_no_longer_watched_is_passed_over(self, world: World) -> None:
        await world.asked(90, OTHER, Scope())
        assert (await world.finish()).progress.refused == 1
        assert await world.told() == EVERYTHING

    async def test_it_keeps_to_its_rate(self, world: World) -> None:
        await world.asked(rate=0.5)
        assert await Backfiller("holder", world.means).run_once() == 2.0

    async def test_polling_goes_on_meanwhile(self, world: World) -> None:
        """Coverage that moves between a backfill's reading and its writing is no conflict."""
        await world.asked()
        state = await world.store.load(Scope())
        await Backfiller("holder", world.means).run_once()
        later = replace(
            state, coverage=state.coverage.add(Interval(world.api.now(), Micros(world.api.now() + 9)))
        )
        assert state.start is not None
        await world.recorder().record((), world.rules(state.start), world.api.now(), state, later)
        after = await world.store.load(Scope())
        assert after.coverage == later.coverage
        assert after.backfilled.intervals


class TestAsking:
    async def test_nothing_asked_for_is_looked_for_again(self, world: World) -> None:
        assert await Backfiller("holder", world.means).run_once() == LOOK
        assert world.api.asked == []

    async def test_one_at_a_time(self, world: World) -> None:
        first = await world.asked(90)
        held = await world.asked(30)
        assert held.request == first.request
        await world.finish()
        assert (await world.asked(30)).request != first.request

    async def test_where_one_shard_is_at_another_none_is_asked(self, redis: Redis) -> None:
        shards = [Keys("t", number, 2) for number in range(2)]
        wanted = {keys: begun(Request(0, 9, (str(keys.shard),), 1.0), 1) for keys in shards}
        other = begun(Request(0, 5, ("1",), 1.0), 1)
        await ask(redis, shards[1], other)
        with pytest.raises(WatcherError, match="another backfill is under way"):
            await ask_all(redis, wanted)
        assert await Store(redis, shards[0]).backfill() is None
        await call_off(redis, shards[1])
        assert await ask_all(redis, wanted) == wanted
        assert await ask_all(redis, wanted) == wanted, "it goes on"

    async def test_one_called_off_ends_and_what_was_told_stays(self, world: World) -> None:
        await world.asked()
        backfiller = Backfiller("holder", world.means)
        while not (await world.job()).progress.published:
            await backfiller.run_once()
        told = await world.told()
        await call_off(world.redis, KEYS)
        assert await backfiller.run_once() == LOOK
        assert await world.told() == told

    async def test_one_called_off_while_it_reads_writes_nothing(self, world: World) -> None:
        await world.asked()

        async def meanwhile(_: object) -> None:
            await call_off(world.redis, KEYS)

        world.api.meanwhile = meanwhile
        assert await Backfiller("holder", world.means).run_once() == 1 / 1000.0  # of a thousand a second
        assert await world.store.backfill() is None
        assert (await world.store.load(Scope())).backfilled == Coverage()

    async def test_one_that_cannot_be_read_is_said_once_until_it_is_gone(self, world: World) -> None:
        await world.redis.hset(KEYS.backfill, mapping={"request": b"{}", "progress": b"?"})
        stop = asyncio.Event()

        async def sleep(seconds: float) -> None:
            world.clock.slept.append(seconds)
            if len(world.clock.slept) == 2:
                await call_off(world.redis, KEYS)
            if len(world.clock.slept) == 3:
                stop.set()
                await asyncio.Event().wait()

        world.clock.sleep = sleep  # type: ignore[method-assign]
        with capture_logs() as logs:
            working = asyncio.create_task(Backfiller("holder", world.means).run())
            await asyncio.wait([working, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
            working.cancel()
        assert [line["event"] for line in logs] == ["backfill.unreadable"]
        assert "watcher backfill --stop" in logs[0]["error"]
        assert world.clock.slept == [RETRY, RETRY, LOOK]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
async def test_a_rate_that_is_none_is_not_taken_from_the_store(world: World, rate: float) -> None:
    await world.asked(rate=rate)
    with pytest.raises(StoreError, match="not a backfill"):
        await world.store.backfill()


class TestRehearsal:
    async def test_it_counts_the_same_and_writes_nothing(self, world: World) -> None:
        async def everything() -> dict[object, object]:
            return {key: await world.redis.dump(key) for key in await world.redis.keys()}

        before = await everything()
        low = from_seconds(T0 - 90 * DAY)
        job = begun(Request(low, world.api.now(), ("-",), 1000.0), FIRST_WIDTH)
        *_, job = [each async for each in rehearse(job, world.means)]
        assert (job.progress.rows, job.progress.published) == (5, 3)
        assert await everything() == before

    async def test_it_keeps_to_its_rate(self, world: World) -> None:
        job = begun(Request(from_seconds(T0), from_seconds(T0 + 7200), ("-",), 0.1), FIRST_WIDTH)
        began = world.clock.monotonic()
        *_, job = [each async for each in rehearse(job, world.means)]
        requests = job.progress.requests
        assert world.clock.monotonic() - began == pytest.approx(requests / 0.1, abs=1)


async def test_forgetting_says_how_far_it_went(world: World) -> None:
    assert (await world.store.load(Scope())).forgotten == 0
    await world.forget()
    forgotten = (await world.store.load(Scope())).forgotten
    row = Task(TaskId("polled"), "success", from_seconds(T0 + 100), from_seconds(T0 + 110))
    assert row.created_at < forgotten <= world.api.now()
    assert await world.store.known(Scope(), {row.id: row.created_at}) == {}
