"""The loops around the cycles: their pace, what they say, what they forget, and scopes that come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.fakes import settle
from tests.unit.polling.api import Api, Asked, in_turn, life, unavailable
from tests.unit.polling.daemon import DEFAULT, KEYS, SOURCE, Daemon, EndingClock, policy, run_until
from tests.unit.state.heard_clock import HeardClock
from watcher.metrics import Metrics
from watcher.model import EntityId, Scope, TaskId, Weight, from_seconds
from watcher.monite.errors import MoniteError, Rejected, ScopeRejected, Unauthorized
from watcher.polling.board import Board
from watcher.polling.means import TURNS, Tools
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.poller import REFRESH, RETRY, SHARING, ShardPoller
from watcher.polling.reader import ATTEMPTS
from watcher.polling.recorder import Publication
from watcher.polling.schedule import Schedule
from watcher.polling.scope_poller import PATIENCE, RETIRED
from watcher.state.connection import connect
from watcher.state.keys import Keys, bucket_of
from watcher.state.lease import LeaseLostError
from watcher.state.store import Store
from watcher.state.weights import Weights

T0 = 1_800_000_000.0
"""A full hour, where a bucket of records begins."""
HOUR = 3600.0


@pytest.fixture
def clock() -> EndingClock:
    return EndingClock(T0)


@pytest.fixture
def api(clock: EndingClock) -> Api:
    return Api(clock)


@pytest.fixture
async def daemon(redis: Redis, api: Api, clock: EndingClock) -> Daemon:
    daemon = Daemon(redis, api, clock)
    await daemon.begin()
    return daemon


def moments(api: Api) -> list[float]:
    """When cycles began: their fresh windows come first, everything else within a second."""
    times = [asked.at / 1e6 - T0 for asked in api.asked if asked.window]
    return [time for number, time in enumerate(times) if number == 0 or time - times[number - 1] > 0.5]


class TestPace:
    async def test_cycles_begin_an_interval_apart_however_long_they_take(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        api.latency = 0.4
        await run_until(daemon, clock, T0 + 62)
        gaps = [later - earlier for earlier, later in pairwise(moments(api)[3:])]
        assert gaps == pytest.approx([5.0] * len(gaps))
        assert len(gaps) >= 9

    async def test_a_cycle_that_overruns_is_followed_at_once(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        api.latency = 7.0
        await run_until(daemon, clock, T0 + 100)
        gaps = [later - earlier for earlier, later in pairwise(moments(api)[2:])]
        assert gaps == pytest.approx([7.0] * len(gaps))

    async def test_failing_it_slows_down_to_its_patience_and_recovers(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        api.fault = in_turn(*[Rejected("no", status=400) for _ in range(9)])
        await run_until(daemon, clock, T0 + 150)
        times = [asked.at / 1e6 - T0 for asked in api.asked[:10]]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        # Half of the jitter: 5, then 5 + (10 - 5) / 2, 5 + (20 - 5) / 2, and 5 + (30 - 5) / 2 from then on.
        assert gaps == pytest.approx([5, 7.5, 12.5, 17.5, 17.5, 17.5, 17.5, 17.5, 17.5], abs=0.1)
        assert PATIENCE == 30
        assert [later - earlier for earlier, later in pairwise(moments(api)[-3:])] == pytest.approx([5, 5])

    async def test_recovered_it_is_patient_from_the_beginning_again(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        spell = [Rejected("no", status=400) for _ in range(4)]
        failures = iter([None, *spell, None, None, None, *spell])
        api.fault = lambda asked: next(failures, None) if asked.window or not api.asked[1:] else None
        await run_until(daemon, clock, T0 + 200)
        report = daemon.board.report(daemon.scope)
        assert report.trouble is None
        gaps = [round(later - earlier, 1) for earlier, later in pairwise(moments(api))]
        assert gaps.count(12.5) == 2

    async def test_progress_moved_by_another_is_loaded_again_and_polling_goes_on(
        self, daemon: Daemon, api: Api, clock: EndingClock, redis: Redis
    ) -> None:
        async def reset(asked: Asked) -> None:
            if asked.at > from_seconds(T0 + 20):
                api.meanwhile = None
                await Store(redis, KEYS).reset(daemon.scope)

        api.meanwhile = reset
        with capture_logs() as logs:
            await run_until(daemon, clock, T0 + 60)
        assert [line["event"] for line in logs].count("poll.conflict") == 1
        state = await daemon.state()
        assert state.start is not None
        assert state.start.started_at > from_seconds(T0 + 20)
        assert daemon.board.report(daemon.scope).trouble is None

    async def test_what_the_client_holds_back_is_not_put_off_here_as_well(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        """Or a scope would come back long after the API has."""
        api.fault = lambda _: unavailable()
        await run_until(daemon, clock, T0 + 60)
        began = [asked.at / 1e6 - T0 for asked in api.asked][::ATTEMPTS]
        gaps = [later - earlier for earlier, later in pairwise(began)]
        assert gaps == pytest.approx([5.0] * len(gaps), abs=0.1)
        assert len(gaps) >= 10

    async def test_tries_that_fail_keep_to_the_scope_s_share_all_the_same(
        self, redis: Redis, api: Api, clock: EndingClock
    ) -> None:
        """Or the tries at one failing entity would take what the others need."""
        daemon = Daemon(redis, api, clock, requests_per_second=0.1)
        await daemon.begin()
        await run_until(daemon, clock, T0 + 10)
        asked = len(api.asked)
        api.fault = lambda _: unavailable()
        await run_until(daemon, clock, T0 + 310)
        assert 0.8 * 30 <= len(api.asked) - asked <= 30 + 2 * ATTEMPTS


class TestSaying:
    async def test_a_failure_is_said_once_and_so_is_its_recovery(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        await run_until(daemon, clock, T0 + 4)
        report = daemon.board.report(daemon.scope)
        completed_at = report.completed_at
        assert completed_at is not None
        api.fault = lambda _: Unauthorized("the token is refused", status=401, request_id="r-1")
        await daemon.begin()
        api.restart_client()
        with capture_logs() as logs:
            await run_until(daemon, clock, T0 + 100)
            assert report.trouble == "unauthorized"
            assert not report.retired
            assert report.completed_at == completed_at
            api.fault = None
            await run_until(daemon, clock, T0 + 200)
        said = [line for line in logs if line["event"] in ("poll.failing", "poll.recovered")]
        assert [line["event"] for line in said] == ["poll.failing", "poll.recovered"]
        assert said[0]["scope"] == "-"
        assert (said[0]["reason"], said[0]["request_id"]) == ("unauthorized", "r-1")
        assert report.trouble is None
        assert report.completed_at > completed_at

    async def test_another_failure_is_said_too(self, daemon: Daemon, api: Api, clock: EndingClock) -> None:
        failures = iter([*[unavailable() for _ in range(6)], *[Rejected("no", status=400) for _ in range(3)]])
        api.fault = lambda _: next(failures, None)
        with capture_logs() as logs:
            await run_until(daemon, clock, T0 + 100)
        said = [line["reason"] for line in logs if line["event"] == "poll.failing"]
        assert said == ["server_error", "rejected"]

    async def test_a_cycle_is_one_line(self, daemon: Daemon, api: Api, clock: EndingClock) -> None:
        api.add(life("t", T0 + 1, (T0 + 2, "success")))
        with capture_logs() as logs:
            await run_until(daemon, clock, T0 + 9)
        lines = [line for line in logs if line["event"] == "poll.completed"]
        # The API's clock is known to the second at first: a cycle may come a moment early, and ask nothing.
        assert [line["log_level"] for line in lines if line["requests"]] == ["debug", "info"]
        assert {key: lines[-1][key] for key in ("scope", "plan", "new", "ended", "events", "in_flight")} == {
            "scope": "-",
            "plan": "A",
            "new": 1,
            "ended": 1,
            "events": 1,
            "in_flight": 0,
        }

    async def test_the_report_follows_the_scan(self, daemon: Daemon, api: Api, clock: EndingClock) -> None:
        api.add(life("t", T0 + 1))
        await run_until(daemon, clock, T0 + 60)
        report = daemon.board.report(daemon.scope)
        assert report.in_flight == 1
        assert report.lower_bound == 1
        assert 0 <= report.lag < 2
        assert report.completed_at is not None
        assert clock.monotonic() - report.completed_at < 6

    async def test_requests_are_counted_by_their_plan(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        await run_until(daemon, clock, T0 + 24)
        samples = {
            tuple(sample.labels.values()): sample.value
            for metric in daemon.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "watcher_poll_requests_total"
        }
        assert sum(samples.values()) == len(api.asked)
        assert set(samples) == {("start", "ok"), ("A", "ok")}

    async def test_how_late_rows_came_is_measured(self, daemon: Daemon, api: Api, clock: EndingClock) -> None:
        api.add(life("prompt", T0 + 10), life("late", T0 + 11, late=21))
        await run_until(daemon, clock, T0 + 60)
        sample = daemon.metrics.registry.get_sample_value
        assert sample("watcher_visibility_lateness_seconds_count") == 1
        assert 21 <= (sample("watcher_visibility_lateness_seconds_sum") or 0) <= 27

    async def test_the_scope_is_registered(self, daemon: Daemon, clock: EndingClock, redis: Redis) -> None:
        await run_until(daemon, clock, T0 + 4)
        assert await Store(redis, KEYS).scopes() == (daemon.scope,)


class TestRefused:
    async def test_a_scope_that_the_api_refuses_is_looked_at_now_and_then(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        api.fault = lambda _: ScopeRejected("gone", status=404)
        with capture_logs() as logs:
            await run_until(daemon, clock, T0 + 1000)
        times = [asked.at / 1e6 for asked in api.asked]
        assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([RETIRED] * 3)
        assert daemon.board.report(daemon.scope).retired
        assert daemon.board.watched == []
        assert [line["event"] for line in logs].count("poll.failing") == 1

    async def test_it_is_watched_again_once_it_may_be(
        self, daemon: Daemon, api: Api, clock: EndingClock
    ) -> None:
        await run_until(daemon, clock, T0 + 4)
        api.add(life("t", T0 + 100, (T0 + 112, "success")))
        api.fault = in_turn(ScopeRejected("gone", status=404))
        await daemon.begin()
        await run_until(daemon, clock, T0 + 400)
        assert not daemon.board.report(daemon.scope).retired
        assert daemon.board.oldest_scan is not None
        assert await daemon.told() == [("t", "success")]


class TestForgetting:
    async def test_records_older_than_any_cycle_reads_are_forgotten(
        self, daemon: Daemon, api: Api, clock: EndingClock, redis: Redis
    ) -> None:
        daemon.policy = policy("baseline", horizon=600.0, interval=300.0, target_delay=300.0)
        await daemon.begin()
        api.add(
            life("ended", T0 + 1, (T0 + 2, "success")),
            life(
                "open",
                T0 + 2 * HOUR,
            ),
        )
        await run_until(daemon, clock, T0 + 5 * HOUR)
        kept = {TaskId("ended"): from_seconds(T0 + 1), TaskId("open"): from_seconds(T0 + 2 * HOUR)}
        assert set(await Store(redis, KEYS).known(daemon.scope, kept)) == {"open"}
        bucket = bucket_of(from_seconds(T0 + 2 * HOUR))
        assert await redis.zrange(KEYS.buckets(daemon.scope), 0, -1) == [str(bucket).encode()]
        assert await daemon.told() == [("ended", "success"), ("open", "stalled")]

    @pytest.mark.parametrize("horizon", [5.0, 60.0, 600.0])
    async def test_nothing_is_told_twice_because_it_was_forgotten(self, redis: Redis, horizon: float) -> None:
        """With a short horizon too, over the end of an hour, when a whole bucket may be forgotten at once."""
        clock = EndingClock(T0 - 100)
        api = Api(clock)
        daemon = Daemon(redis, api, clock, policy=policy("baseline", horizon=horizon))
        await daemon.begin()
        api.add(*[life(f"t{n}", T0 - 100 + n, (T0 - 90 + n, "success")) for n in range(0, 150, 3)])
        # One that stays at work makes the window reach back as far as it ever does.
        api.add(life("long", T0 - 99, (T0 + 700, "success")))
        await run_until(daemon, clock, T0 + 800)
        told = [subject for subject, kind in await daemon.told() if kind == "success"]
        assert len(told) == len(set(told)) == 51

    async def test_nor_because_the_horizon_was_raised_beyond_what_is_remembered(self, redis: Redis) -> None:
        clock = EndingClock(T0)
        api = Api(clock)
        slow = {"interval": 300.0, "target_delay": 300.0}
        daemon = Daemon(redis, api, clock, policy=policy("baseline", horizon=600.0, **slow))
        await daemon.begin()
        api.add(*[life(f"t{n}", T0 + 60 * n, (T0 + 60 * n + 10, "success")) for n in range(180)])
        await run_until(daemon, clock, T0 + 3 * HOUR)
        assert (await daemon.state()).forgotten > from_seconds(T0)
        daemon.policy = policy("baseline", horizon=8.0 * HOUR, **slow)
        await daemon.begin()
        await run_until(daemon, clock, T0 + 15 * HOUR)
        told = [subject for subject, kind in await daemon.told() if kind == "success"]
        assert len(told) == len(set(told)) == 180

    async def test_nothing_that_is_yet_to_be_covered_is_forgotten(
        self, daemon: Daemon, api: Api, clock: EndingClock, redis: Redis
    ) -> None:
        await run_until(daemon, clock, T0 + 100)
        api.add(life("t", T0 + 101, (T0 + 102, "success")))
        await run_until(daemon, clock, T0 + 200)
        api.fault = lambda asked: unavailable() if asked.window else None
        daemon.policy = policy(interval=900.0, target_delay=900.0)
        await daemon.begin()
        await run_until(daemon, clock, T0 + 60 * HOUR)
        known = await Store(redis, KEYS).known(daemon.scope, {TaskId("t"): from_seconds(T0 + 101)})
        assert set(known) == {"t"}


class Named:
    """Says what to watch, as told by the test."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.failure: MoniteError | None = None

    async def scopes(self) -> frozenset[Scope]:
        if self.failure is not None:
            raise self.failure
        return frozenset(Scope(EntityId(name)) for name in self.names)


class Shard:
    """A shard's poller on a clock that tests listen to."""

    def __init__(self, redis: Redis, *names: str, keys: Keys = KEYS, turns: int = TURNS) -> None:
        self.clock = HeardClock()
        self.api = Api(self.clock, latency=0.0)
        self.named = Named(*names)
        self.board = Board()
        self.polls: Counter[str] = Counter()
        self.polled_one = asyncio.Condition()
        self.api.meanwhile = self.note
        tools = Tools(
            source=self.api,
            store=Store(redis, keys),
            policy=PollPolicy("baseline", DEFAULT, interval=1000.0),
            publication=Publication("t", SOURCE, recognized_data=False),
            clock=self.clock,
            metrics=Metrics(),
            jitter=lambda: 0.5,
            schedule=Schedule(target=1.0, interval=1000.0),
            pacer=Pacer(24.0),
            turns=asyncio.Semaphore(turns),
        )
        self.pacer = tools.pacer
        self.poller = ShardPoller(self.named, self.board, tools, weights=Weights(redis, keys))

    async def note(self, asked: Asked) -> None:
        if asked.window is not None:
            async with self.polled_one:
                self.polls[asked.scope.key] += 1
                self.polled_one.notify_all()

    async def polled(self, *names: str) -> None:
        """Wait until each of these has been read since the last call."""
        async with self.polled_one:
            await self.polled_one.wait_for(lambda: set(names) <= self.polls.keys())
            self.polls.clear()

    @asynccontextmanager
    async def running(self, nonce: str = "n") -> AsyncIterator[asyncio.Task[None]]:
        running = asyncio.create_task(self.poller.run(nonce))
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.fixture
async def held(redis_url: str) -> AsyncIterator[Redis]:
    """As the daemon connects, with the lease of nonce ``n``."""
    client = connect(redis_url)
    await client.set(KEYS.lease, "n")
    yield client
    await client.aclose()


class TestShard:
    async def test_every_scope_is_polled(self, held: Redis) -> None:
        shard = Shard(held, "a", "b")
        async with shard.running():
            await shard.polled("a", "b")
            assert {scope.key for scope in shard.board.reports} == {"a", "b"}
        assert shard.board.reports == {}

    async def test_without_scopes_nothing_is_left_to_scan_as_soon_as_that_is_known(self, held: Redis) -> None:
        shard = Shard(held)
        shard.named.failure = unavailable()
        async with shard.running():
            await shard.clock.wait_out(RETRY)
            assert shard.board.scanned_at(5.0) is None
            shard.named.failure = None
            await shard.clock.wait_out(RETRY)
            while not shard.board.listed:  # noqa: ASYNC110 - the board tells nobody
                await asyncio.sleep(0)
            assert shard.board.scanned_at(5.0) == 5.0
        assert shard.board.scanned_at(5.0) is None

    async def test_scopes_come_and_go(self, held: Redis) -> None:
        shard = Shard(held, "a", "b")
        async with shard.running():
            await shard.polled("a", "b")
            shard.named.names = {"b", "c"}
            await shard.clock.wait_out(REFRESH)
            await shard.polled("c")
            assert {scope.key for scope in shard.board.reports} == {"b", "c"}
            shard.polls.clear()
            del shard.api.asked[:]
            await shard.clock.advance(1000)
            await shard.polled("b", "c")
            assert "a" not in {asked.scope.key for asked in shard.api.asked}

    async def test_what_cannot_be_listed_is_tried_again_soon_and_said_once(self, held: Redis) -> None:
        shard = Shard(held, "a")
        shard.named.failure = unavailable()
        with capture_logs() as logs:
            async with shard.running():
                for _ in range(3):
                    await shard.clock.wait_out(RETRY)
                assert shard.board.trouble == "server_error"
                shard.named.failure = None
                await shard.clock.wait_out(RETRY)
                await shard.polled("a")
                assert shard.board.trouble_discovering is None
        assert [line["event"] for line in logs].count("scopes.unavailable") == 1

    async def test_what_is_polled_goes_on_while_scopes_cannot_be_listed(self, held: Redis) -> None:
        shard = Shard(held, "a")
        async with shard.running():
            await shard.polled("a")
            shard.named.failure = unavailable()
            await shard.clock.wait_out(REFRESH)
            shard.polls.clear()
            await shard.clock.advance(1000)
            await shard.polled("a")

    async def test_one_of_which_the_store_holds_nonsense_does_not_stop_the_others(self, held: Redis) -> None:
        shard = Shard(held, "a", "b")
        broken = KEYS.scope(Scope(EntityId("a")))
        await held.hset(broken, "coverage", "nonsense")
        with capture_logs() as logs:
            async with shard.running():
                await shard.polled("b")
                for _ in range(3):
                    await shard.clock.wait_out(PATIENCE)
                await held.delete(broken)
                await shard.clock.wait_out(PATIENCE)
                await shard.polled("a")
        said = [line for line in logs if line["event"] == "poll.unreadable"]
        assert [(line["scope"], line["log_level"]) for line in said] == [("a", "error")]

    async def test_hundreds_start_together(self, held: Redis) -> None:
        names = [str(number) for number in range(300)]
        shard = Shard(held, *names)
        async with shard.running():
            await shard.polled(*names)

    async def test_no_more_cycles_are_under_way_than_there_are_turns(self, held: Redis) -> None:
        """Thousands that start together would stand before the lease's renewal in the line for the store."""
        names = [str(number) for number in range(20)]
        shard = Shard(held, *names, turns=3)
        under_way: list[int] = []
        waiting = 0

        async def slow(asked: Asked) -> None:
            nonlocal waiting
            waiting += 1
            under_way.append(waiting)
            await settle()
            waiting -= 1
            await shard.note(asked)

        shard.api.meanwhile = slow
        async with shard.running():
            await shard.polled(*names)
        assert max(under_way) == 3

    @pytest.mark.parametrize("failure", [ScopeRejected("gone", status=403), unavailable()])
    async def test_one_that_fails_does_not_stop_the_others(self, held: Redis, failure: MoniteError) -> None:
        shard = Shard(held, "a", "b")
        shard.api.fault = lambda asked: failure if asked.scope.key == "a" else None
        async with shard.running():
            await shard.polled("b")
            again = asyncio.create_task(shard.polled("b"))
            failing = shard.board.report(Scope(EntityId("a")))
            while not again.done() or failing.trouble is None:
                await shard.clock.waits.get()
                await shard.clock.advance(1000)
            assert failing.trouble == failure.reason
            assert shard.board.report(Scope(EntityId("b"))).trouble is None

    async def test_it_plans_with_its_part_of_the_budget_alone(self, held: Redis) -> None:
        own, other = (Keys(KEYS.namespace, number, 2) for number in range(2))
        await held.set(own.lease, "n")
        await Weights(held, other).exchange(Weight(0.5, 7))
        shard = Shard(held, "a", keys=own)
        async with shard.running():
            await shard.polled("a")
            while shard.pacer.elsewhere != Weight(0.5, 7):  # the server's answer may take a while
                await shard.clock.wait_out(SHARING)
            await held.delete(other.weight)
            while shard.pacer.elsewhere != Weight():
                await shard.clock.wait_out(SHARING)
            assert await Weights(held, other).exchange(Weight()) == shard.pacer.weight

    async def test_a_lost_lease_ends_all_of_them(self, held: Redis) -> None:
        shard = Shard(held, "a", "b")
        async with shard.running("another") as running:
            await asyncio.wait([running])
            failure = running.exception()
            assert isinstance(failure, ExceptionGroup)
            assert failure.subgroup(LeaseLostError) is not None
            assert shard.board.reports == {}
