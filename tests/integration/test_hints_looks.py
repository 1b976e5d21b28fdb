"""Looks at hinted tasks of one scope, on a real store: what is recorded, asked, counted and told."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from tests.fakes import EagerClock, FakeClock, settle
from tests.unit.polling.api import Asked, in_turn, life, unavailable
from tests.unit.polling.bench import KEYS, NONCE, T0, Bench
from watcher.model import EntityId, Scope, TaskId, from_seconds
from watcher.monite.errors import MoniteError, Rejected
from watcher.polling.hint_desk import Spacing
from watcher.polling.hints import GRACE, QUEUE, WAITS
from watcher.polling.inspector import GATHER, PLAN
from watcher.state.lease import LeaseLostError


@pytest.fixture
async def bench(redis: Redis) -> Bench:
    bench = Bench(redis, EagerClock(T0))
    await bench.begin()
    return bench


async def test_one_at_work_is_recorded_and_followed_from_then_on(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 12, "success")))
    bench.clock.move(2)
    assert bench.hint("t")
    await bench.look()
    assert await bench.told() == [("t", "processing")]
    assert await bench.in_flight() == {"t"}
    assert bench.counted() == {"found": 1}
    ((rows, recorded),) = bench.heard
    assert (rows, recorded.events) == (["t"], 1)


async def test_one_that_has_ended_is_told_once_however_often_it_is_hinted(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 12, "error")))
    bench.clock.move(13)
    for _ in range(3):
        if bench.hint("t"):
            await bench.look()
    assert await bench.told() == [("t", "error")]
    assert await bench.in_flight() == set()
    assert len(bench.api.asked) == 1
    assert bench.counted() == {"found": 1, "known": 2}
    assert bench.report.recall.verdicts == (True,)


async def test_a_first_run_tells_nothing_of_what_had_ended_before_it(bench: Bench) -> None:
    bench.api.add(life("t", T0 - 50, (T0 - 40, "success")))
    bench.hint("t")
    await bench.look()
    assert bench.counted() == {"found": 1}
    assert await bench.told() == []


async def test_they_are_asked_for_a_hundred_at_a_time_without_a_pause(bench: Bench) -> None:
    names = [f"t{n:03}" for n in range(250)]
    bench.api.add(*[life(name, T0 + 1) for name in names])
    bench.clock.move(2)
    bench.hint(*names)
    began = bench.clock.monotonic()
    await bench.look()
    assert [len(asked.query.id_in) for asked in bench.api.asked] == [100, 100, 50]
    assert bench.allowance.passed == 3
    assert bench.api.asked[1].at - bench.api.asked[0].at < GATHER * 1e6
    assert bench.clock.monotonic() - began < 1
    assert await bench.in_flight() == set(names)
    assert bench.counted() == {"found": 250}


async def test_those_that_come_one_by_one_share_requests(bench: Bench) -> None:
    bench.api.add(*[life(f"t{n}", T0 + 1) for n in range(10)])
    bench.clock.move(2)
    bench.hint("t0")

    async def more(_: Asked) -> None:
        bench.api.meanwhile = None
        started = [bench.hint(f"t{n}") for n in range(1, 10)]
        assert started[-1], "they wait, and nobody but this look is at it"

    bench.api.meanwhile = more
    await bench.look()
    assert [len(asked.query.id_in) for asked in bench.api.asked] == [1, 9]
    assert bench.api.asked[1].at - bench.api.asked[0].at >= GATHER * 1e6


async def test_a_row_that_becomes_visible_late_is_found_by_a_later_look(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 12, "success"), late=3))
    bench.clock.move(1.1)
    bench.hint("t")
    await bench.look()
    assert await bench.told() == [("t", "processing")]
    assert bench.counted() == {"found": 1}
    assert 2 <= len(bench.api.asked) <= 3


async def test_what_is_not_there_or_in_another_scope_is_given_up_after_some_looks(bench: Bench) -> None:
    bench.api.add(life("elsewhere", T0 + 1), scope=Scope(EntityId("e")))
    bench.api.add(life("t", T0 + 1))
    bench.clock.move(2)
    bench.hint("elsewhere", "nowhere", "t")
    await bench.look()
    assert len(bench.api.asked) == 1 + len(WAITS)
    assert bench.counted() == {"found": 1, "absent": 2}
    assert await bench.told() == [("t", "processing")]


async def test_a_request_that_the_api_refuses_is_not_sent_again(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1))
    bench.api.fault = in_turn(Rejected("no such parameter", status=422))
    bench.clock.move(2)
    bench.hint("t", "u")
    await bench.look()
    assert len(bench.api.asked) == 1
    assert bench.counted() == {"failed": 2}


async def test_while_the_api_is_away_hints_wait_and_then_are_given_up(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1))
    bench.clock.move(2)

    def away(asked: Asked) -> MoniteError | None:
        return unavailable() if asked.at < from_seconds(T0 + 5) else None

    bench.api.fault = away
    bench.hint("t")
    await bench.look()
    assert bench.counted() == {"found": 1}
    bench.api.fault = lambda _: unavailable()
    bench.hint("u")
    await bench.look()
    assert bench.counted() == {"found": 1, "failed": 1}
    assert bench.allowance.passed < 10


async def test_what_the_store_cannot_say_of_its_scope_ends_no_look_of_others(bench: Bench) -> None:
    await bench.redis.hset(KEYS.scope(bench.scope), "coverage", "nonsense")
    bench.hint("t")
    await bench.look()
    assert bench.counted() == {"failed": 1}
    assert bench.api.asked == []


async def test_before_the_first_cycle_nothing_is_recorded(redis: Redis) -> None:
    bench = Bench(redis, EagerClock(T0))
    await redis.set(KEYS.lease, NONCE)
    bench.api.add(life("t", T0 + 1))
    bench.clock.move(2)
    bench.hint("t")

    class Begins:
        """An allowance that lets the scope's first cycle come before the second look."""

        looks = 0

        async def acquire(self) -> None:
            self.looks += 1
            if self.looks == 2:
                await bench.begin()

    begins = Begins()
    await bench.inspector.look(begins)
    assert begins.looks == 2
    assert len(bench.api.asked) == 1, "nothing is asked in vain"
    assert bench.counted() == {"found": 1}


async def test_what_a_cycle_sees_end_needs_no_look(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 2, "success")))
    bench.clock.move(3)
    bench.hint("t")
    row = bench.api.lives[bench.scope][0].row(bench.api.now())
    assert row is not None
    state = await bench.store.load(bench.scope)
    await bench.recorder.record((row,), bench.rules, bench.api.now(), state, state)
    await bench.look()
    assert bench.api.asked == []
    assert bench.counted() == {"known": 1}
    assert bench.report.recall.verdicts == (True,)


async def test_an_end_that_nobody_had_hinted_is_a_miss(bench: Bench) -> None:
    await bench.redis.set(KEYS.lease, NONCE)
    bench.inspector.ended({TaskId("t"): from_seconds(T0 + 1)})
    bench.clock.move(GRACE)
    assert not bench.report.recall.verdicts
    bench.inspector.settle()
    assert bench.report.recall.verdicts == (False,)


async def test_an_end_is_counted_once_although_its_task_may_change_again(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 2, "success"), (T0 + 9, "error")))
    state = await bench.store.load(bench.scope)
    for moment in (1, 3, 4, 10, 11):
        bench.clock.move(T0 + moment - bench.clock.time())
        row = bench.api.lives[bench.scope][0].row(bench.api.now())
        assert row is not None
        await bench.recorder.record((row,), bench.rules, bench.api.now(), state, state)
    bench.clock.move(GRACE)
    bench.inspector.settle()
    assert bench.report.recall.verdicts == (False,)
    assert await bench.told() == [("t", "processing"), ("t", "success"), ("t", "error")]
    assert bench.ends == ["t"]


async def test_another_holder_of_the_lease_ends_it_and_nothing_is_written(bench: Bench) -> None:
    bench.api.add(life("t", T0 + 1, (T0 + 2, "success")))
    bench.clock.move(3)
    await bench.redis.set(KEYS.lease, "another")
    bench.hint("t")
    with pytest.raises(LeaseLostError):
        await bench.look()
    assert await bench.told() == []


async def test_a_flood_takes_its_share_of_the_budget_and_no_more(bench: Bench) -> None:
    names = [f"t{n:04}" for n in range(QUEUE + 500)]
    bench.api.add(*[life(name, T0 + 1) for name in names])
    bench.clock.move(2)
    bench.hint(*names)
    began = bench.clock.monotonic()
    await bench.inspector.look(Spacing(6.0, bench.clock))
    assert len(bench.api.asked) == QUEUE / 100
    assert bench.clock.monotonic() - began >= (QUEUE / 100 - 1) / 6
    assert bench.counted() == {"found": QUEUE, "dropped": 500}


async def test_its_requests_are_counted_under_a_plan_of_their_own(bench: Bench) -> None:
    bench.hint("t")
    await bench.look()
    requests = bench.metrics.poll_requests.labels(plan=PLAN, outcome="ok")
    assert requests._value.get() == len(bench.api.asked)


async def test_hints_are_taken_while_others_are_looked_at_and_it_starts_anew_after_the_end(
    bench: Bench,
) -> None:
    bench.api.add(life("t", T0 + 1), life("u", T0 + 1))
    bench.clock.move(2)
    async with asyncio.TaskGroup() as group:
        assert bench.hint("t")
        bench.inspector.start(group, bench.allowance)
        assert not bench.hint("u"), "somebody is at it"
    assert bench.counted() == {"found": 2}
    assert bench.hint("v"), "nobody is at it any more"


async def test_stopping_leaves_what_waits(bench: Bench) -> None:
    async with asyncio.TaskGroup() as group:
        bench.hint("t")
        bench.inspector.start(group, bench.allowance)
        bench.inspector.stop()
    assert bench.api.asked == []
    assert bench.hint("u"), "nobody is at it any more"


async def test_looks_are_spaced_evenly_and_in_the_order_of_asking() -> None:
    clock = FakeClock()
    spacing = Spacing(4.0, clock)
    begun: list[tuple[str, float]] = []

    async def look(name: str) -> None:
        await spacing.acquire()
        begun.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(look(name))
        await settle()
        assert begun == [("a", 0.0)]
        await clock.advance(0.6)
        assert begun == [("a", 0.0), ("b", 0.25), ("c", 0.5)]
        await clock.advance(0.4)
    assert begun[3] == ("d", 0.75)
    await clock.advance(9)
    await spacing.acquire()


async def test_looks_are_as_many_as_this_processs_part_of_them() -> None:
    clock, parts = FakeClock(), [0.5, 1.0, 0.25]
    spacing = Spacing(4.0, clock, lambda: parts.pop(0))
    begun: list[float] = []

    async def look() -> None:
        await spacing.acquire()
        begun.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(look())
        await settle()
        await clock.advance(0.5)
        await clock.advance(0.25)
    assert begun == [0.0, 0.5, 0.75]
