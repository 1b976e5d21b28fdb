"""The shared budget on a real server: whatever processes do, no window holds more starts than it may.

The server counts on its own clock, so the starts are judged by the times that it has written down.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Never

import pytest
import redis as sync_redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tests.fakes import EagerClock, FakeClock
from tests.unit.state.heard_clock import HeardClock
from watcher.clock import Clock, SystemClock
from watcher.errors import StoreUnavailable
from watcher.monite.budget import SLACK, Window
from watcher.state.budget import LATE, LONGEST_PAUSE, PATIENCE, PROMPT, SURE, TRIES, SharedBudget, Start
from watcher.state.connection import connect
from watcher.state.keys import Keys

pytestmark = pytest.mark.every_server

KEYS = Keys("t")
WINDOW = 0.05
MICROS = 1_000_000

Starts = dict[bytes, float]
"""When each request started, by the server's clock in microseconds."""


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The daemon's own client: on another a cancellation may be lost, and these tests cancel a lot."""
    client = connect(redis_url)
    yield client
    await client.aclose()


def shared(
    redis: Redis, clock: Clock | None = None, *, limit: int = 5, window: float = WINDOW, keys: Keys = KEYS
) -> SharedBudget:
    return SharedBudget(redis, keys, clock or SystemClock(), limit=limit, window_seconds=window)


def noting(budget: SharedBudget, redis: Redis, starts: Starts) -> SharedBudget:
    """With every start noted in the very step that counts it, before it is forgotten."""
    take = budget._take

    async def noted(keys: list[str], args: list[str | int]) -> int:
        async with redis.pipeline(transaction=True) as pipe:
            await take(keys=keys, args=args, client=pipe)
            pipe.zrange(KEYS.budget, 0, -1, withscores=True)
            wait, found = await pipe.execute()
        for name, at in found:
            starts[name] = max(at, starts.get(name, at))  # answers may come in another order
        return int(wait)

    budget._take = noted  # type: ignore[assignment] # a script, and more
    return budget


async def spend(budget: SharedBudget, count: int) -> None:
    for _ in range(count):
        await budget.acquire()


def assert_within(starts: Starts, limit: int, window: float = WINDOW) -> None:
    times = sorted(starts.values())
    for first, beyond in zip(times, times[limit:], strict=False):
        assert beyond - first >= window * MICROS


async def never() -> Never:
    raise AssertionError


async def server_time(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return float(seconds * MICROS + micros)


class TestRate:
    @pytest.mark.parametrize("limit", [1, 5])
    @pytest.mark.parametrize("clock", [SystemClock, EagerClock], ids=["punctual", "asking all the time"])
    async def test_no_window_sees_more_than_its_limit(
        self, redis: Redis, clock: type[Clock], limit: int
    ) -> None:
        starts: Starts = {}
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                budget = noting(shared(redis, clock(), limit=limit), redis, starts)
                for _ in range(2):
                    group.create_task(spend(budget, 4 * limit))
        assert len(starts) == 24 * limit
        assert_within(starts, limit)

    async def test_nor_over_threads_with_clients_of_their_own(self, redis: Redis, redis_url: str) -> None:
        async def work() -> Starts:
            client = connect(redis_url)
            starts: Starts = {}
            budget = noting(shared(client), client, starts)
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(spend(budget, 10))
            await client.aclose()
            return starts

        with ThreadPoolExecutor(3) as pool:
            loop = asyncio.get_running_loop()
            done = await asyncio.gather(
                *[loop.run_in_executor(pool, lambda: asyncio.run(work())) for _ in range(3)]
            )
        starts = {name: at for each in done for name, at in each.items()}
        assert len(starts) == 60
        assert_within(starts, 5)

    async def test_nor_when_those_who_wait_are_cancelled_at_any_moment(self, redis: Redis) -> None:
        draw = random.Random(3)  # noqa: S311 - moments, not secrets
        starts: Starts = {}
        started = 0

        async def hesitate(budget: SharedBudget) -> None:
            nonlocal started
            for _ in range(25):
                task = asyncio.create_task(budget.acquire())
                await asyncio.wait([task], timeout=draw.choice((0, 0.0003, 0.001, 0.02)))
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                    started += 1

        budgets = [noting(shared(redis), redis, starts) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for budget in budgets * 3:
                group.create_task(hesitate(budget))
        assert_within(starts, 5)
        assert 0 < started < 225
        # One that was let start while it was cancelled counts until its process starts the next.
        assert started <= len(starts) <= started + 225
        await asyncio.gather(*[budget.acquire() for budget in budgets])

    @pytest.mark.parametrize(
        ("lost", "said"),
        [(asyncio.CancelledError(), asyncio.CancelledError), (RedisError("reset"), StoreUnavailable)],
    )
    async def test_one_that_was_let_start_and_did_not_leaves_its_start_to_the_next(
        self, redis: Redis, lost: BaseException, said: type[BaseException]
    ) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=1, window=60)
        take = budget._take

        async def taken(keys: list[str], args: list[str | int]) -> None:
            await take(keys=keys, args=args)
            raise lost

        budget._take = taken  # type: ignore[assignment] # its answer does not arrive
        with pytest.raises(said):
            await budget.acquire()
        assert await redis.zcard(KEYS.budget) == 1
        budget._take = take
        await budget.acquire()
        assert clock.waits.empty()
        assert await redis.zcard(KEYS.budget) == 1

    async def test_one_that_is_cancelled_in_line_leaves_its_place_to_the_next(self, redis: Redis) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=1, window=60)
        await budget.acquire()
        lines = []
        for _ in range(2):
            waiting = asyncio.create_task(budget.acquire())
            await clock.waits.get()
            lines.append(await redis.zrange(KEYS.budget_line, 0, -1, withscores=True))
            waiting.cancel()
            await asyncio.wait([waiting])
        assert lines[0] == lines[1]
        assert len(lines[0]) == 1

    async def test_an_idle_budget_lets_a_burst_start_at_once(self, redis: Redis) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=24, window=PATIENCE)
        for _ in range(24):
            await budget.acquire()
        assert clock.waits.empty()
        waiting = asyncio.create_task(budget.acquire())
        assert 0 < await clock.waits.get() < PATIENCE
        waiting.cancel()

    @pytest.mark.parametrize("rate", [0.5, 0.05])
    async def test_a_rate_below_one_is_one_request_in_so_many_seconds(
        self, redis: Redis, rate: float
    ) -> None:
        granted = Window.of_rate(rate)
        clocks = [HeardClock(), HeardClock()]
        first, second = (shared(redis, clock, limit=granted.limit, window=granted.length) for clock in clocks)
        await first.acquire()
        assert clocks[0].waits.empty()
        waiting = asyncio.create_task(second.acquire())
        await clocks[1].wait_out(PATIENCE)
        assert await clocks[1].waits.get() == PATIENCE
        started_at = await server_time(redis) - MICROS / rate
        await redis.zadd(KEYS.budget, {f"{first._process}/0": started_at})
        await clocks[1].advance(PATIENCE)
        assert 0 < await clocks[1].waits.get() <= SLACK
        waiting.cancel()

    async def test_one_that_is_sent_at_once_is_not_counted_anew(self, redis: Redis) -> None:
        starts: Starts = {}
        clock = HeardClock()
        start = await noting(shared(redis, clock), redis, starts).acquire()
        counted = dict(starts)
        clock.move(PROMPT)
        await start.confirm()
        assert starts == counted

    async def test_one_that_was_held_up_is_counted_when_it_is_sent(self, redis: Redis) -> None:
        starts: Starts = {}
        clock = HeardClock()
        budget = noting(shared(redis, clock, limit=1, window=60), redis, starts)
        other = noting(shared(redis, HeardClock(), limit=1, window=60), redis, starts)
        start = await budget.acquire()
        ((name, counted),) = starts.items()
        assert await other._ask("other") > 0  # it lines up, and does not come between
        clock.move(2 * PROMPT)
        await start.confirm()
        assert starts[name] > counted
        assert set(starts) == {name}
        assert clock.waits.empty()

    @pytest.mark.parametrize(("holdups", "asked"), [((), 1), ((LATE,), 1), ((0.2,), 2), ((0.2,) * 9, TRIES)])
    async def test_one_that_is_held_up_while_it_is_counted_anew_is_counted_again(
        self, holdups: tuple[float, ...], asked: int
    ) -> None:
        """As in a process that is overloaded, or was stopped for a while."""
        clock = FakeClock()
        holding = iter(holdups)
        counted: list[float] = []

        async def ask_again() -> float:
            counted.append(clock.monotonic())
            clock.move(next(holding, 0.0))
            return counted[-1]

        start = Start(clock.monotonic(), ask_again, never, clock)
        clock.move(2 * PROMPT)
        await start.confirm()
        assert len(counted) == asked

    @pytest.mark.parametrize("held_up", [0.0, SURE, 1.001 * SURE, 0.5])
    async def test_one_that_was_sent_late_counts_from_then_on(self, redis: Redis, held_up: float) -> None:
        """However late: what was forgotten meanwhile counts again, beyond the limit too."""
        clock = HeardClock()
        budget, other = (shared(redis, each, limit=1, window=60) for each in (clock, HeardClock()))
        start = await budget.acquire()
        if held_up == 0.5:
            await redis.delete(KEYS.budget)
            await other.acquire()
        before: Any = await redis.zrange(KEYS.budget, 0, -1, withscores=True)
        name = f"{budget._process}/0".encode()
        clock.move(held_up)
        await start.sent()
        after: Any = await redis.zrange(KEYS.budget, 0, -1, withscores=True)
        if held_up <= SURE:
            assert after == before
            return
        (ahead, counted), (last, counted_last) = before[-1], after[-1]
        assert last == name
        assert counted_last > counted
        assert len(after) == len({name, ahead})
        assert 0 < await redis.pttl(KEYS.budget) <= 60_001
        assert await other._ask("next") > 0
        assert await other.remaining() == 0

    async def test_one_that_was_forgotten_before_it_was_sent_is_not_kept_for_ever(self, redis: Redis) -> None:
        clock = HeardClock()
        start = await shared(redis, clock, limit=1, window=60).acquire()
        await redis.delete(KEYS.budget)
        clock.move(0.5)
        await start.sent()
        assert 0 < await redis.pttl(KEYS.budget) <= 60_001

    async def test_of_one_that_was_counted_anew_the_last_count_decides(self, redis: Redis) -> None:
        clock = HeardClock()
        start = await shared(redis, clock, limit=1, window=60).acquire()
        clock.move(2 * PROMPT)
        await start.confirm()
        counted = await redis.zrange(KEYS.budget, 0, -1, withscores=True)
        clock.move(SURE)
        await start.sent()
        assert await redis.zrange(KEYS.budget, 0, -1, withscores=True) == counted

    async def test_one_that_was_sent_while_the_store_went_away_is_not_given_up(self) -> None:
        async def gone() -> None:
            raise StoreUnavailable("the store: gone")

        clock = FakeClock()
        start = Start(clock.monotonic(), never, gone, clock)
        clock.move(1.0)
        await start.sent()

    async def test_one_that_was_held_up_for_too_long_waits_again(self, redis: Redis) -> None:
        """Its start was forgotten meanwhile, and another has taken its place."""
        clock = HeardClock()
        budget, other = (shared(redis, each, limit=1, window=PATIENCE) for each in (clock, FakeClock()))
        start = await budget.acquire()
        await redis.delete(KEYS.budget)
        await other.acquire()
        clock.move(2.0)
        confirming = asyncio.create_task(start.confirm())
        assert 0 < await clock.waits.get() <= PATIENCE
        assert not confirming.done()
        confirming.cancel()

    async def test_shards_share_one_budget(self, redis: Redis) -> None:
        clock = HeardClock()
        for shard in range(3):
            await shared(redis, clock, limit=3, window=60, keys=Keys("t", shard, 3)).acquire()
        assert clock.waits.empty()
        assert await shared(redis, clock, limit=3, window=60).remaining() == 0

    async def test_namespaces_do_not(self, redis: Redis) -> None:
        clock = HeardClock()
        for name in "ab":
            await shared(redis, clock, limit=1, window=60, keys=Keys(name)).acquire()
        assert clock.waits.empty()


class Late(SystemClock):
    """Of a process that is always a little late."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + 0.005)


class TestTurns:
    @pytest.mark.parametrize("limit", [1, 5])
    async def test_a_slow_process_gets_its_share_however_quick_another_is(
        self, redis: Redis, limit: int
    ) -> None:
        order: list[str] = []
        window = 0.02 * limit

        async def take(name: str, budget: SharedBudget) -> None:
            while True:
                await budget.acquire()
                order.append(name)

        quick, slow = (shared(redis, clock, limit=limit, window=window) for clock in (SystemClock(), Late()))
        tasks = [asyncio.create_task(take("quick", quick)) for _ in range(8)]
        tasks += [asyncio.create_task(take("slow", slow)) for _ in range(8)]
        while len(order) < 80:
            done, _ = await asyncio.wait(tasks, timeout=0.02)
            assert not done, done
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 30 <= order.count("slow") <= 50

    @pytest.mark.parametrize("limit", [1, 3])
    async def test_processes_start_in_the_order_in_which_they_came(self, redis: Redis, limit: int) -> None:
        """However far back in the line they stand. Where several may start at once, so they do."""
        for _ in range(limit):
            await shared(redis, limit=limit).acquire()
        starts: Starts = {}
        budgets = [noting(shared(redis, limit=limit), redis, starts) for _ in range(8)]
        async with asyncio.TaskGroup() as group:
            for budget in budgets:
                group.create_task(spend(budget, 1))
                known: set[str] = set()
                while budget._process not in known:
                    line = await redis.zrange(KEYS.budget_line, 0, -1)
                    known = {name.decode().partition("/")[0] for name in (*line, *starts)}
        order = sorted(range(8), key=lambda number: starts[f"{budgets[number]._process}/0".encode()])
        assert all(abs(number - place) < limit for place, number in enumerate(order))

    async def test_each_is_told_when_its_turn_will_be(self, redis: Redis) -> None:
        budget = shared(redis, limit=2, window=0.45)
        for _ in range(2):
            await budget.acquire()
        waits = [await budget._ask(name) for name in "abcd"]
        assert 0 < max(waits[:2]) <= 0.45
        assert max(waits[:2]) < min(waits[2:]) <= max(waits[2:]) <= 0.9

    async def test_one_that_died_while_it_waited_is_not_waited_for_for_long(self, redis: Redis) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=1)
        now = await server_time(redis)
        await redis.zadd(KEYS.budget_line, {"dead": now})
        await redis.zadd(KEYS.budget_due, {"dead": now + 60 * MICROS})
        waiting = asyncio.create_task(budget.acquire())
        wait = await clock.waits.get()
        assert 0 < wait <= PATIENCE
        await redis.zadd(KEYS.budget_due, {"dead": now})
        await clock.advance(wait)
        await waiting
        assert await redis.zcard(KEYS.budget_line) == await redis.zcard(KEYS.budget_due) == 0

    async def test_a_server_whose_clock_was_set_back_is_not_waited_for(self, redis: Redis) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=2)
        later = await server_time(redis) + 3600 * MICROS
        await redis.zadd(KEYS.budget, {"a": later, "b": later + 1})
        await redis.zadd(KEYS.budget_line, {"c": later, "d": later})
        await redis.zadd(KEYS.budget_due, {"c": later, "d": later})
        waiting = asyncio.create_task(budget.acquire())
        assert 0 < await clock.waits.get() <= WINDOW
        waiting.cancel()
        assert await redis.zcard(KEYS.budget_line) == 1

    async def test_nor_one_set_back_during_a_pause(self, redis: Redis) -> None:
        await shared(redis, FakeClock()).pause_until(60.0)
        later = await server_time(redis) + 3600 * MICROS
        await redis.zadd(KEYS.budget_line, {"c": later})
        await redis.zadd(KEYS.budget_due, {"c": later})
        assert await shared(redis)._ask("d") == PATIENCE
        assert await redis.zrange(KEYS.budget_line, 0, -1) == [b"d"]


class TestPause:
    async def test_it_holds_for_everybody_those_who_wait_already_included(self, redis: Redis) -> None:
        starts: Starts = {}
        one, other = (noting(shared(redis, limit=1, window=0.1), redis, starts) for _ in range(2))
        await one.acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(spend(other, 1))
            group.create_task(spend(one, 1))
            while await redis.zcard(KEYS.budget_line) < 2:
                pass
            before = set(starts)
            paused_at = await server_time(redis)
            await one.pause_until(SystemClock().monotonic() + 0.3)
        later = [at for name, at in starts.items() if name not in before]
        assert len(later) == 2
        assert min(later) >= paused_at + 0.3 * MICROS
        assert_within(starts, 1, 0.1)

    async def test_the_longest_holds(self, redis: Redis) -> None:
        budgets = [shared(redis, FakeClock()) for _ in range(3)]
        for budget, seconds in zip(budgets, (10, 60, 1), strict=True):
            await budget.pause_until(float(seconds))
        assert 59_000 < await redis.pttl(KEYS.budget_pause) <= 60_001
        assert [await budget.remaining() for budget in (*budgets, shared(redis))] == [0, 0, 0, 0]

    async def test_it_costs_nobody_his_place_in_line(self, redis: Redis) -> None:
        first, second = (shared(redis, limit=1, window=0.2) for _ in range(2))
        await shared(redis, limit=1, window=0.2).acquire()
        assert await first._ask("first") > 0
        assert await second._ask("second") > 0
        await shared(redis).pause_until(SystemClock().monotonic() + 0.9)
        assert await first._ask("first") > 0.2
        assert await redis.zrange(KEYS.budget_line, 0, -1) == [b"first", b"second"]

    async def test_one_that_is_over_or_absurd(self, redis: Redis) -> None:
        clock = HeardClock()
        clock.move(5.0)
        budget = shared(redis, clock)
        await budget.pause_until(4.0)
        assert await redis.exists(KEYS.budget_pause) == 0
        await budget.acquire()
        assert clock.waits.empty()
        await budget.pause_until(999_999_999.0)
        assert await redis.pttl(KEYS.budget_pause) <= LONGEST_PAUSE * 1000 + 1
        await redis.delete(KEYS.budget_pause)
        assert await budget.remaining() == 0, "it knows by itself"
        waiting = asyncio.create_task(budget.acquire())
        assert await clock.waits.get() == LONGEST_PAUSE
        waiting.cancel()

    async def test_another_process_waits_it_out_and_then_starts_at_once(self, redis: Redis) -> None:
        clock = HeardClock()
        other = shared(redis, clock)
        await shared(redis, FakeClock()).pause_until(20.0)
        waiting = asyncio.create_task(other.acquire())
        for _ in range(3):
            await clock.wait_out(PATIENCE)
        assert await clock.waits.get() == PATIENCE
        assert await redis.zcard(KEYS.budget_line) == 1
        await redis.delete(KEYS.budget_pause)  # it is over
        await clock.advance(PATIENCE)
        await waiting
        assert clock.waits.empty()


class TestStore:
    @asynccontextmanager
    async def nowhere(self) -> AsyncIterator[Redis]:
        client = Redis.from_url("unix:///nowhere/at/all", retry=Retry(NoBackoff(), 0))
        yield client
        await client.aclose()

    async def test_without_it_nothing_starts_and_that_is_said(self) -> None:
        async with self.nowhere() as client:
            budget = shared(client, FakeClock())
            for asking in (budget.acquire(), budget.pause_until(10.0), budget.remaining()):
                with pytest.raises(StoreUnavailable):
                    await asking

    async def test_a_pause_that_it_was_not_told_of_is_kept_all_the_same(self) -> None:
        clock = HeardClock()
        async with self.nowhere() as client:
            budget = shared(client, clock)
            with pytest.raises(StoreUnavailable):
                await budget.pause_until(60.0)
            waiting = asyncio.create_task(budget.acquire())
            assert await clock.waits.get() == 60.0
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting

    async def test_what_remains_counts_down_and_recovers(self, redis: Redis) -> None:
        budget = shared(redis, limit=3, window=60)
        left = [await budget.remaining()]
        for _ in range(3):
            await budget.acquire()
            left.append(await budget.remaining())
        assert left == [3, 2, 1, 0]
        old = await server_time(redis) - 61 * MICROS
        await redis.zadd(KEYS.budget, {f"{budget._process}/{number}": old for number in range(2)})
        assert await budget.remaining() == 2

    async def test_it_keeps_nothing_for_ever(self, redis: Redis, redis_url: str) -> None:
        clock = HeardClock()
        budget = shared(redis, clock, limit=1, window=30)
        await budget.acquire()
        waiting = asyncio.create_task(budget.acquire())
        await clock.waits.get()
        waiting.cancel()
        await budget.pause_until(10.0)
        with sync_redis.Redis.from_url(redis_url) as client:
            lasting = {key: client.pttl(key) for key in client.scan_iter()}
        names = (KEYS.budget, KEYS.budget_line, KEYS.budget_due, KEYS.budget_pause)
        assert set(lasting) == {name.encode() for name in names}
        assert 0 < lasting[KEYS.budget.encode()] <= 30_001
        for name in (KEYS.budget_line, KEYS.budget_due):
            assert PATIENCE * 1000 < lasting[name.encode()] <= 2 * PATIENCE * 1000
        assert 0 < lasting[KEYS.budget_pause.encode()] <= 10_001
