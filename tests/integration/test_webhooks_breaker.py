"""An endpoint that fails, asks to wait or wants no more, and what people do about it; on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.unit.webhooks.builders import KEYS, NOW, any_entry, endpoint, event, publish
from tests.unit.webhooks.receiver import answer, receiving, reset
from tests.unit.webhooks.stage import Stage
from tests.unit.webhooks.world import World, arrived, until
from watcher.model import Pause
from watcher.webhooks import control
from watcher.webhooks.delivery import Claim, GiveBack, Record, Retried, Settlement
from watcher.webhooks.outcome import BUSY, Delivered, Effect, Reason
from watcher.webhooks.queue import Breaker, DeliveryQueue, Settled
from watcher.webhooks.stats import LaneStats, lane_stats

pytestmark = pytest.mark.every_server

BREAKER = Breaker(threshold=3, first=2.0, longest=10.0, patience=3600.0)
FAILED = Effect(failed=True)
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
async def stage(redis: Redis) -> Stage:
    """Twenty events that wait for delivery."""
    stage = Stage(redis)
    stage.queue = DeliveryQueue(redis, KEYS, "one", BREAKER, wanted=any_entry)
    await stage.group.join()
    await publish(redis, *(event(number) for number in range(20)))
    await stage.accept(*await stage.read())
    return stage


async def fail(stage: Stage, claims: Sequence[Claim], now: float, jitter: float = 1.0) -> Settled:
    results = [Settlement(claim, Retried(now + 300, RECORD), FAILED) for claim in claims]
    return await stage.queue.settle(results, now=now, jitter=jitter)


async def state(stage: Stage) -> LaneStats:
    return await lane_stats(stage.redis, KEYS, "one")


class TestBreaker:
    async def test_it_opens_after_failures_in_a_row(self, stage: Stage) -> None:
        assert (await fail(stage, await stage.claim(most=2), NOW)).opened == 0
        assert (await fail(stage, await stage.claim(most=2), NOW)).opened == 2.0
        assert await stage.claim(now=NOW + 1.999) == []
        found = await stage.queue.claim(now=NOW + 1, seconds=30, most=5)
        assert (found.claims, found.next_due) == ([], NOW + 2)

    async def test_a_success_in_between_starts_the_count_again(self, stage: Stage) -> None:
        await fail(stage, await stage.claim(most=2), NOW)
        [claim] = await stage.claim(most=1)
        await stage.settle([Settlement(claim, Delivered())])
        assert (await fail(stage, await stage.claim(most=2), NOW)).opened == 0
        assert (await state(stage)).failures == 2

    async def test_failures_are_counted_in_the_order_in_which_the_attempts_ended(self, stage: Stage) -> None:
        claims = await stage.claim(most=20)
        failed = [Settlement(claim, Retried(NOW + 300, RECORD), FAILED) for claim in claims]
        fine = [Settlement(claim, Delivered()) for claim in claims]
        told = [fine[each] if each % 3 == 0 else failed[each] for each in range(12)]
        assert await stage.settle(told) == Settled(12, 0)
        assert (await state(stage)).failures == 2
        settled = await stage.settle([*failed[12:14], fine[14], *failed[15:18]])
        assert (settled.opened, (await state(stage)).failures) == (2.0, 3)
        settled = await stage.settle([failed[18], fine[19]])
        assert (settled.opened, (await state(stage)).failures, (await state(stage)).held_until) == (0, 0, 0)

    async def test_what_is_told_twice_or_too_late_counts_nothing(self, stage: Stage) -> None:
        [gone, *claims] = await stage.claim(most=3)
        for _ in range(2):
            await fail(stage, claims, NOW)
        assert (await state(stage)).failures == 2
        paused = Settlement(gone, Retried(NOW, RECORD), Effect(gone=True, hold_until=NOW + 60))
        assert (await stage.settle([paused])).paused == Pause.GONE
        await control.resume(stage.redis, KEYS, "one", NOW)
        assert await stage.settle([paused]) == Settled(0, 1)
        after = await state(stage)
        assert (after.paused, after.held_until, after.failures) == ("", 0, 0)

    async def test_what_was_delivered_after_its_claim_is_an_answer_and_told_twice_is_none(
        self, stage: Stage
    ) -> None:
        [late, *claims] = await stage.claim(most=3)
        await fail(stage, claims, NOW)
        await stage.claim(now=NOW + 31, most=1)
        assert await stage.settle([Settlement(late, Delivered())], NOW + 32) == Settled(1, 0)
        assert (await state(stage)).failures == 0
        await fail(stage, await stage.claim(now=NOW + 32, most=1), NOW + 32)
        assert await stage.settle([Settlement(late, Delivered())], NOW + 33) == Settled(0, 1)
        assert (await state(stage)).failures == 1

    async def test_then_one_probe_decides_for_everybody(self, stage: Stage) -> None:
        await fail(stage, await stage.claim(most=3), NOW)
        other = DeliveryQueue(stage.redis, KEYS, "one", BREAKER, wanted=any_entry)
        [probe] = await stage.claim(now=NOW + 2)
        assert (await other.claim(now=NOW + 2, seconds=30, most=10)).claims == []
        await stage.settle([Settlement(probe, Delivered())])
        assert len((await other.claim(now=NOW + 2, seconds=30, most=10)).claims) == 10

    async def test_it_stays_open_twice_as_long_each_time_up_to_a_bound(self, stage: Stage) -> None:
        now, waits = NOW, []
        claims = await stage.claim(most=3)
        for _ in range(5):
            settled = await fail(stage, claims, now)
            waits.append(settled.opened)
            now += settled.opened
            claims = await stage.claim(now=now)
            assert len(claims) == 1
        assert waits == [2, 4, 8, 10, 10]

    async def test_replicas_do_not_come_back_in_step(self, stage: Stage) -> None:
        assert (await fail(stage, await stage.claim(most=3), NOW, jitter=0.25)).opened == 0.5

    async def test_a_probe_that_was_never_settled_does_not_close_the_lane_for_good(
        self, stage: Stage
    ) -> None:
        await fail(stage, await stage.claim(most=3), NOW)
        [probe] = await stage.claim(now=NOW + 2, seconds=30)
        assert await stage.claim(now=NOW + 31.9) == []
        [again] = await stage.claim(now=NOW + 32)
        assert again.entry_id == probe.entry_id

    async def test_a_probe_that_is_given_back_makes_room_for_the_next(self, stage: Stage) -> None:
        await fail(stage, await stage.claim(most=3), NOW)
        [probe] = await stage.claim(now=NOW + 2)
        await stage.settle([Settlement(probe, GiveBack())], NOW + 2)
        assert len(await stage.claim(now=NOW + 2)) == 1

    async def test_what_was_claimed_before_it_opened_and_is_given_back_does_not_close_it(
        self, stage: Stage
    ) -> None:
        claims = await stage.claim(most=5)
        assert (await fail(stage, claims[:3], NOW)).opened == 2.0
        await stage.settle([Settlement(claim, GiveBack()) for claim in claims[3:]])
        assert await stage.claim(now=NOW + 1.999) == []
        assert len(await stage.claim(now=NOW + 2)) == 1

    async def test_what_was_under_way_when_it_opened_does_not_keep_it_open_for_longer(
        self, stage: Stage
    ) -> None:
        claims = await stage.claim(most=8)
        assert (await fail(stage, claims[:3], NOW)).opened == 2.0
        assert (await fail(stage, claims[3:], NOW + 1)).opened == 0
        [probe] = await stage.claim(now=NOW + 2)
        assert (await fail(stage, [probe], NOW + 2)).opened == 4.0

    @pytest.mark.parametrize("answered", [True, False])
    async def test_a_probe_that_is_refused_for_the_events_sake_is_an_answer(
        self, stage: Stage, answered: bool
    ) -> None:
        await fail(stage, await stage.claim(most=3), NOW)
        [probe] = await stage.claim(now=NOW + 2)
        refused = Settlement(probe, Retried(NOW + 300, RECORD), Effect(answered=answered))
        await stage.settle([refused], NOW + 2)
        # Otherwise it told nothing, and the next one is a probe again.
        assert len(await stage.claim(now=NOW + 2, most=5)) == (5 if answered else 1)

    async def test_what_fails_for_too_long_is_paused(self, stage: Stage) -> None:
        await fail(stage, await stage.claim(most=1), NOW)
        settled = await fail(stage, await stage.claim(now=NOW + 3600, most=1), NOW + 3600)
        assert settled.paused == Pause.FAILING
        assert await stage.claim(now=NOW + 9999) == []
        assert (await state(stage)).paused == "failing"
        assert len(await stage.waiting()) == 20

    async def test_what_refuses_everything_for_too_long_is_paused_though_it_answers(
        self, stage: Stage
    ) -> None:
        [one, two, three] = await stage.claim(most=3)
        refused = Effect(answered=True)
        await stage.settle([Settlement(one, Retried(NOW + 9000, RECORD), refused)])
        await stage.settle([Settlement(two, Delivered())], NOW + 1000)
        await stage.settle([Settlement(three, Retried(NOW + 9000, RECORD), refused)], NOW + 2000)
        for at, paused in ((3600, ""), (5599, ""), (5600, Pause.FAILING)):
            [claim] = await stage.claim(now=NOW + at, most=1)
            settled = await stage.settle([Settlement(claim, Retried(NOW + 9000, RECORD), refused)], NOW + at)
            assert (settled.opened, settled.paused) == (0, paused), "since the first after the last delivery"


class TestHold:
    async def test_nothing_is_claimed_before_the_endpoint_wants_it(self, stage: Stage) -> None:
        [claim, *_] = await stage.claim(most=3)
        effect = Effect(failed=True, hold_until=NOW + 60)
        await stage.settle([Settlement(claim, Retried(NOW + 60, RECORD), effect)])
        assert await stage.claim(now=NOW + 59.999) == []
        assert len(await stage.claim(now=NOW + 60)) == 20

    async def test_neither_a_success_nor_a_shorter_wish_shortens_it(self, stage: Stage) -> None:
        one, two, three = await stage.claim(most=3)
        for claim, wait in ((one, 60), (two, 5)):
            effect = Effect(failed=True, hold_until=NOW + wait)
            await stage.settle([Settlement(claim, Retried(NOW + wait, RECORD), effect)])
        await stage.settle([Settlement(three, Delivered())])
        assert await stage.claim(now=NOW + 59.999) == []

    async def test_what_is_busy_is_held_for_longer_each_time_until_it_takes_something(
        self, stage: Stage
    ) -> None:
        stage.queue = DeliveryQueue(
            stage.redis, KEYS, "one", Breaker(threshold=100, longest=5.0), wanted=any_entry
        )
        now, waits = NOW, []
        for _ in range(5):
            waits.append(await self.busy(stage, await stage.claim(now=now, most=2), now))
            now += waits[-1]
        assert waits == [1, 2, 4, 5, 5], "and two of one moment count once"
        [claim] = await stage.claim(now=now, most=1)
        await stage.settle([Settlement(claim, Delivered())], now)
        assert await self.busy(stage, await stage.claim(now=now, most=1), now, jitter=0.0) == 0.5

    async def busy(self, stage: Stage, claims: Sequence[Claim], now: float, jitter: float = 1.0) -> float:
        busy = [Settlement(claim, Retried(now + 9000, RECORD), BUSY) for claim in claims]
        assert (await stage.queue.settle(busy, now=now, jitter=jitter)).held
        wait = (await state(stage)).held_until - now
        assert await stage.claim(now=now + wait - 0.001) == []
        return wait

    async def test_being_busy_shortens_no_hold_that_was_asked_for(self, stage: Stage) -> None:
        asked = Effect(failed=True, hold_until=NOW + 60)
        results = [Retried(NOW + 300, RECORD)] * 2
        told = zip(await stage.claim(most=2), results, (asked, BUSY), strict=True)
        await stage.settle([Settlement(*each) for each in told])
        assert (await state(stage)).held_until == NOW + 60


class TestRate:
    async def test_replicas_share_one_bucket(self, stage: Stage) -> None:
        queues = [
            DeliveryQueue(stage.redis, KEYS, "one", rate=lambda: 20.0, wanted=any_entry) for _ in range(3)
        ]
        claimed: list[tuple[float, int]] = []
        for step in range(40):
            now = NOW + step * 0.05
            found = [await queue.claim(now=now, seconds=300, most=5) for queue in queues]
            claimed.append((now, sum(len(one.claims) for one in found)))
        assert sum(count for _, count in claimed) == 20
        for first, (begin, _) in enumerate(claimed):
            for last, (end, _) in enumerate(claimed[first:], start=first):
                through = sum(count for _, count in claimed[first : last + 1])
                assert through <= 20 * (end - begin) + 2 + 1e-3, (
                    "the rate, and a burst of a tenth of a second"
                )

    async def test_what_was_taken_from_the_bucket_for_nothing_is_put_back(self, stage: Stage) -> None:
        queue = DeliveryQueue(stage.redis, KEYS, "one", rate=lambda: 50.0, wanted=any_entry)
        others = await stage.claim()
        for _ in range(3):
            assert (await queue.claim(now=NOW, seconds=300, most=5)).claims == []
        await stage.settle([Settlement(claim, GiveBack()) for claim in others[:3]])
        assert len((await queue.claim(now=NOW, seconds=300, most=5)).claims) == 3
        await stage.settle([Settlement(claim, GiveBack()) for claim in others[3:]])
        assert len((await queue.claim(now=NOW, seconds=300, most=5)).claims) == 2, "a burst of five in all"

    @pytest.mark.parametrize("rate", [0.5, 3.0, 20.0])
    async def test_waiting_as_long_as_it_says_yields_one(self, stage: Stage, rate: float) -> None:
        queue, now, got = (
            DeliveryQueue(stage.redis, KEYS, "one", rate=lambda: rate, wanted=any_entry),
            NOW,
            0,
        )
        for _ in range(60):
            found = await queue.claim(now=now, seconds=1000, most=5)
            got += len(found.claims)
            if got == 20:
                break
            assert found.next_due is not None
            now = max(now, found.next_due)
        assert got == 20
        assert now - NOW == pytest.approx((20 - max(1.0, rate / 10)) / rate, abs=0.1)


class TestByHand:
    async def test_a_paused_lane_gives_nothing_and_keeps_everything(self, stage: Stage) -> None:
        await control.pause(stage.redis, KEYS, "one", NOW)
        assert await stage.claim() == []
        later = await publish(stage.redis, event(99))
        await stage.accept(*await stage.read())
        assert (await stage.waiting())[-1:] == later
        found = await state(stage)
        assert (found.paused, found.paused_at) == ("by hand", NOW)

    async def test_resumed_it_delivers_everything_in_order_whatever_had_been_tried(
        self, stage: Stage
    ) -> None:
        claims = await stage.claim(most=3)
        await fail(stage, claims[1:], NOW)  # due in five minutes; the first is still under way
        await control.pause(stage.redis, KEYS, "one", NOW)
        assert await control.resume(stage.redis, KEYS, "one", NOW) == 20
        found = await stage.claim()
        assert [claim.entry_id for claim in found] == (await stage.waiting())[1:]
        after = await state(stage)
        assert (after.depth, after.paused, after.held_until, after.failures) == (20, "", 0, 0)

    async def test_what_is_delivered_while_it_is_paused_is_delivered(self, stage: Stage) -> None:
        [claim] = await stage.claim(most=1)
        await control.pause(stage.redis, KEYS, "one", NOW)
        assert await stage.settle([Settlement(claim, Delivered())]) == Settled(1, 0)

    async def test_forgotten_nothing_of_it_is_left(self, stage: Stage) -> None:
        await fail(stage, await stage.claim(most=3), NOW)
        assert await control.forget(stage.redis, KEYS, "one") == 20
        assert await stage.redis.keys("*:one") == []
        members: Any = await stage.redis.smembers(KEYS.endpoints)
        assert members == {b"two"}


class TestLane:
    async def test_a_410_pauses_and_nothing_is_sent_after_it(self, world: World) -> None:
        async with receiving(answer(410), answer()) as receiver:
            to = endpoint(url=receiver.url, concurrency=1)
            with capture_logs() as logs:
                async with world.running(to):
                    ids = await publish(world.redis, *(event(number) for number in range(5)))
                    await receiver.received(1)
                    await world.clock.advance(7200)
                    assert len(receiver.requests) == 1
                    assert await world.waiting() == ids
                    await control.resume(world.redis, KEYS, "one", world.clock.time())
                    await world.let_pass(1, receiver.received(6))
                    await world.settled()
        assert [line["reason"] for line in logs if line["event"] == "endpoint.paused"] == ["http_410"]
        assert set(arrived(receiver).values()) == {1, 2}

    async def test_retry_after_holds_the_whole_lane_to_the_second(self, world: World) -> None:
        busy = answer(429, retry_after="600")
        async with (
            receiving(busy, answer()) as receiver,
            world.running(endpoint(url=receiver.url, concurrency=1)),
        ):
            await publish(world.redis, event(1))
            await world.attempted(1)
            await publish(world.redis, event(2))
            await world.clock.advance(599)
            assert len(receiver.requests) == 1
            await world.let_pass(1, receiver.received(3))
            await world.settled()

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_what_is_busy_is_slowed_though_it_does_not_say_for_how_long(
        self, world: World, status: int
    ) -> None:
        times: list[float] = []

        async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            times.append(world.clock.time())
            await answer(status)(reader, writer)

        async with (
            receiving(*[busy] * 3, answer()) as receiver,
            world.running(endpoint(url=receiver.url, concurrency=1)),
        ):
            await publish(world.redis, *(event(number) for number in range(50)))
            await receiver.received(1)
            await world.attempted(1)
            await world.clock.advance(0.74)
            assert len(receiver.requests) == 1, "held for three quarters of a second"
            await world.let_pass(0.01, world.settled())
            one, two, three = times
            assert two >= one + 0.75
            assert three >= two + 1.5
            assert set(arrived(receiver).values()) == {1, 2}

    async def test_a_dead_endpoint_is_probed_and_not_hammered(self, world: World) -> None:
        async with (
            receiving(*[reset] * 40, answer()) as receiver,
            world.running(endpoint(url=receiver.url, concurrency=4)),
        ):
            await publish(world.redis, *(event(number) for number in range(300)))
            await receiver.received(10)
            await world.clock.advance(0.5)
            assert len(receiver.requests) <= 14
            await world.let_pass(3600, world.settled())
        assert len(arrived(receiver)) == 300

    async def test_what_was_claimed_ahead_is_not_sent_once_it_is_held(self, world: World) -> None:
        go_on = asyncio.Event()

        async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            await answer(500)(reader, writer)

        async with (
            receiving(*[answer()] * 50, broken) as receiver,
            world.running(endpoint(url=receiver.url, concurrency=2)),
        ):
            await publish(world.redis, *(event(number) for number in range(50)))
            await receiver.received(50)
            await world.settled()
            world.clock.move(0.05)  # fifty in so little time: it claims far ahead
            await publish(world.redis, *(event(number) for number in range(50, 100)))

            async def all_claimed() -> bool:
                return len(await world.claimed()) == 50

            await until(all_claimed)
            go_on.set()

            async def none_claimed() -> bool:
                return not await world.claimed()

            await until(none_claimed)
            sent = len(receiver.requests) - 50
            assert 10 <= sent <= 11, "ten failures open it, one was under way, and the rest is given back"
            assert len(await world.due()) == 50
            assert (await lane_stats(world.redis, KEYS, "one")).held_until > world.clock.time()
