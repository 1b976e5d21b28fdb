"""Sending again what was sent, or given up, before; on a real server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, place, publish
from tests.unit.webhooks.receiver import answer, receiving
from tests.unit.webhooks.stage import Stage
from tests.unit.webhooks.world import World, arrived
from watcher.events.stream import trim
from watcher.model import from_seconds
from watcher.state.lua import script
from watcher.webhooks.delivery import Died, Past, Record, Retried, Settlement
from watcher.webhooks.letters import Choice, Letter, drop, letters, retry
from watcher.webhooks.outcome import Delivered, Reason
from watcher.webhooks.queue import Settled
from watcher.webhooks.replay import Replay, replay
from watcher.webhooks.stats import needed_from

pytestmark = pytest.mark.every_server

EVERYTHING = Choice()
LETTER = Letter("one", "1700000000000-0", "event", "ocr_task.success", "task", "http_5xx", 10, "500", "", "")


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
async def stage(redis: Redis) -> Stage:
    stage = Stage(redis)
    await stage.group.join()
    return stage


async def replayed(redis: Redis, low: int = 0, high: int = 2**42) -> list[Replay]:
    return [at async for at in replay(redis, KEYS, endpoint(), low=low, high=high, now=NOW)]


async def found(redis: Redis, choice: Choice = EVERYTHING) -> list[Letter]:
    return [letter async for letter in letters(redis, KEYS, "one", choice)]


class TestReplay:
    async def test_what_was_delivered_is_delivered_again_with_its_id_and_marked_in_the_log(
        self, world: World
    ) -> None:
        events = [event(1), event(2), event(3, "processing")]
        async with receiving() as receiver:
            with capture_logs() as logs:
                async with world.running(endpoint(url=receiver.url)):
                    await publish(world.redis, *events)
                    await receiver.received(2)
                    await world.settled()
                    *_, last = await replayed(world.redis)
                    assert (last.read, last.delivered) == (3, 2)
                    await world.let_pass(1, receiver.received(4))
                    await world.settled()
        assert arrived(receiver) == {events[0].id: 2, events[1].id: 2}
        lines = [line.get("replayed", False) for line in logs if line["event"] == "delivery.attempted"]
        assert lines == [False, False, True, True]
        assert receiver.requests[0].body in [request.body for request in receiver.requests[2:]]

    async def test_what_waits_is_left_as_it_is(self, stage: Stage) -> None:
        await publish(stage.redis, event(1), event(2))
        await stage.accept(*await stage.read(), to=(0,))
        before = await stage.due()
        assert (await replayed(stage.redis))[-1].delivered == 0
        assert await stage.due() == before

    async def test_only_the_range_is_read(self, stage: Stage) -> None:
        for ms in (5, 6, 7, 8):
            await stage.redis.execute_command("XADD", KEYS.events, f"{ms}-0", "a", "b")  # type: ignore[no-untyped-call] # the client's own
        assert [at.read for at in await replayed(stage.redis, 6, 8)] == [0, 2]

    async def test_interrupted_it_goes_on_where_it_stopped(self, stage: Stage) -> None:
        ids = await publish(stage.redis, *(event(number) for number in range(1200)))
        low, high = int(ids[0].split("-")[0]), int(ids[-1].split("-")[0]) + 1
        async for at in replay(stage.redis, KEYS, endpoint(), low=low, high=high, now=NOW):
            if at.read == 500:
                break
        rest = await replayed(stage.redis, low, high + 60_000)  # now is later by now
        assert [at.read for at in rest] == [0, 500, 700]
        assert await stage.waiting() == ids
        assert rest[-1].share_done > rest[0].share_done
        assert [at.read for at in await replayed(stage.redis, low, high)][-1] == 1200, "done, it begins anew"

    async def test_it_is_sent_in_order(self, stage: Stage) -> None:
        ids = await publish(stage.redis, *(event(number) for number in range(20)))
        await replayed(stage.redis)
        assert [claim.entry_id for claim in await stage.claim()] == ids

    async def test_a_delivery_that_is_told_twice_takes_no_later_one_away(self, stage: Stage) -> None:
        ids = await publish(stage.redis, event(1), event(2))
        await stage.accept(*await stage.read(), to=(0,))
        for number in range(3):
            now = NOW + 60 * number
            done = [Settlement(claim, Delivered()) for claim in await stage.claim(now=now)]
            assert await stage.settle(done, now) == Settled(2, 0)
            async for _ in replay(stage.redis, KEYS, endpoint(), low=0, high=2**42, now=now + 1):
                pass
            assert await stage.settle(done, now) == Settled(0, 2), "the answer had been lost"
            assert await stage.waiting() == ids

    async def test_a_delivery_that_took_longer_than_its_claim_is_one_whatever_came_of_it_since(
        self, stage: Stage
    ) -> None:
        await publish(stage.redis, event(1))
        await stage.accept(*await stage.read(), to=(0,))
        for number in range(2):
            now = NOW + 600 * number
            [late] = await stage.claim(now=now)
            [claim] = await stage.claim(now=now + 30)
            history = (Past(5, 5, 500, Reason.HTTP_5XX, '"asked":7'),)
            record = Record(1, 5, 6, 500, Reason.HTTP_5XX, claim.asked, history)
            await stage.settle([Settlement(claim, Retried(now + 30, record))], now + 30)
            assert await stage.settle([Settlement(late, Delivered())], now + 31) == Settled(1, 0)
            assert await stage.waiting() == []
            await replayed(stage.redis)


@pytest.mark.parametrize(
    ("reached", "share"),
    [("100-0", 0.0), ("(125-7", 0.25), ("(199-0", 0.99), ("(200-0", 1.0), ("(300-0", 1.0)],
)
def test_how_much_is_done_counts_by_time(reached: str, share: float) -> None:
    assert Replay(100, 200, reached).share_done == share


class TestLetters:
    @pytest.fixture
    async def dead(self, stage: Stage) -> list[str]:
        """Two dead letters; the ids of their events on the stream."""
        ids = await publish(stage.redis, event(1), event(2, "error"))
        await stage.accept(*await stage.read(), to=(0,))
        claims = await stage.claim()
        reasons = (Reason.HTTP_5XX, Reason.DNS)
        await stage.settle(
            [
                Settlement(claim, Died(Record(10, 5, int(NOW * 1000), 500, reason), b"no"))
                for claim, reason in zip(claims, reasons, strict=True)
            ]
        )
        return ids

    async def test_they_say_what_happened(self, stage: Stage, dead: list[str]) -> None:
        one, two = await found(stage.redis)
        assert (one.endpoint, one.type, one.reason, one.attempts, one.status) == (
            "one",
            "ocr_task.success",
            "http_5xx",
            10,
            "500",
        )
        assert (one.event_id, one.answer) == (event(1).id, "no")
        assert (two.type, two.reason) == ("ocr_task.error", "dns")

    @pytest.mark.parametrize(
        ("choice", "fits"),
        [
            (Choice(), True),
            (Choice(ids=frozenset({"1700000000000-0"})), True),
            (Choice(ids=frozenset({"event"})), True),
            (Choice(ids=frozenset({"other"})), False),
            (Choice(type="ocr_task.success"), True),
            (Choice(type="ocr_task.error"), False),
            (Choice(reason="http_5xx"), True),
            (Choice(reason="dns"), False),
            (Choice(since=1_700_000_000_000), True),
            (Choice(since=1_700_000_000_001), False),
            (Choice(until=1_700_000_000_001), True),
            (Choice(until=1_700_000_000_000), False),
            (Choice(type="ocr_task.success", reason="dns"), False),
        ],
    )
    def test_they_are_chosen_by_all_that_is_given(self, choice: Choice, fits: bool) -> None:
        assert choice.fits(LETTER) is fits
        assert not Choice(ids=frozenset({"x"})).fits(replace(LETTER, event_id=""))

    async def test_more_than_are_read_at_once_are_all_there(self, stage: Stage) -> None:
        for number in range(450):
            await stage.redis.xadd(KEYS.dead("one"), {"entry_id": f"1-{number}", "reason": "dns"})
        assert len(await found(stage.redis)) == 450
        ids = [letter.id for letter in await found(stage.redis)]
        assert await drop(stage.redis, KEYS, "one", ids) == 450
        assert await found(stage.redis) == []

    @pytest.mark.parametrize("trimmed", [False, True], ids=["on the stream", "trimmed"])
    async def test_retried_they_are_delivered_after_all(
        self, stage: Stage, dead: list[str], trimmed: bool
    ) -> None:
        if trimmed:
            await stage.redis.xtrim(KEYS.events, maxlen=0)
        ids = [letter.id for letter in await found(stage.redis)]
        assert await retry(stage.redis, KEYS, "one", ids, NOW) == 2
        assert await found(stage.redis) == []
        claims = await stage.claim()
        assert [claim.fields[b"id"].decode() for claim in claims] == [event(1).id, event(2, "error").id]
        assert all(claim.asked == NOW * 1000 for claim in claims)
        await stage.settle([Settlement(claim, Delivered()) for claim in claims])
        assert await stage.waiting() == []
        assert not await stage.redis.exists(KEYS.kept("one"), KEYS.attempts("one"))

    async def test_one_that_dies_again_is_as_it_was_though_the_stream_has_dropped_it(
        self, stage: Stage, dead: list[str]
    ) -> None:
        await stage.redis.xtrim(KEYS.events, maxlen=0)
        before = await found(stage.redis)
        await retry(stage.redis, KEYS, "one", [before[0].id], NOW)
        [claim] = await stage.claim()
        await stage.settle([Settlement(claim, Died(Record(3, 5, int(NOW * 1000), None, Reason.DNS), b""))])
        after = (await found(stage.redis))[-1]
        assert (after.event_id, after.type, after.reason, after.attempts) == (
            event(1).id,
            "ocr_task.success",
            "dns",
            3,
        )

    async def test_one_that_is_gone_meanwhile_is_not_counted(self, stage: Stage, dead: list[str]) -> None:
        [one, two] = [letter.id for letter in await found(stage.redis)]
        await drop(stage.redis, KEYS, "one", [one])
        assert await retry(stage.redis, KEYS, "one", [one, two], NOW) == 1

    async def test_a_lane_sends_them(self, world: World) -> None:
        async with (
            receiving(answer(500), answer()) as receiver,
            world.running(endpoint(url=receiver.url, retry_schedule=(0,))),
        ):
            await publish(world.redis, event(1))
            await receiver.received(1)
            await world.settled()
            [letter] = await found(world.redis)
            await retry(world.redis, KEYS, "one", [letter.id], world.clock.time())
            await world.let_pass(1, receiver.received(2))
            await world.settled()
        assert arrived(receiver) == {event(1).id: 2}


class TestTrimming:
    """What was not needed when the trimmer looked may be when it trims."""

    @pytest.fixture
    async def ended(self, stage: Stage) -> str:
        """One that was given up and one that was delivered; from where something was needed then."""
        ids = await publish(stage.redis, event(1), event(2))
        await stage.accept(*await stage.read(), to=(0,))
        one, two = await stage.claim()
        died = Died(Record(1, 5, 6, 500, Reason.HTTP_5XX), b"")
        await stage.settle([Settlement(one, died), Settlement(two, Delivered())])
        needed = await needed_from(stage.redis, KEYS)
        assert needed is not None
        assert place(needed) > place(ids[-1])
        return needed

    async def trim(self, redis: Redis, needed: str) -> int:
        return await trim(redis, KEYS, from_seconds(NOW), needed)

    async def test_nothing_that_waits_by_then_is_lost(self, stage: Stage, ended: str) -> None:
        [letter] = await found(stage.redis)
        assert await retry(stage.redis, KEYS, "one", [letter.id], NOW) == 1
        assert (await replayed(stage.redis))[-1].delivered == 1
        assert await self.trim(stage.redis, ended) == 0
        claims = await stage.claim(now=NOW + 1)
        assert {claim.fields[b"id"].decode() for claim in claims} == {event(1).id, event(2).id}
        await stage.settle([Settlement(claim, Delivered()) for claim in claims])
        assert await self.trim(stage.redis, ended) == 2

    async def test_what_an_endpoint_that_was_not_known_waits_for_is_needed(
        self, stage: Stage, ended: str
    ) -> None:
        step = stage.redis.register_script(script("watcher.events", "trim"))
        await stage.redis.sadd(KEYS.endpoints, "new")
        assert await step(keys=[KEYS.events, KEYS.endpoints, KEYS.waiting("one")], args=[ended, "one"]) == -1
        assert await self.trim(stage.redis, ended) == 2

    async def test_what_is_trimmed_while_it_is_read_is_not_delivered_again(
        self, stage: Stage, ended: str
    ) -> None:
        range_at = replay(stage.redis, KEYS, endpoint(), low=0, high=2**42, now=NOW)
        entries: Any = await stage.redis.xrange(KEYS.events)
        real = stage.redis.xrange

        async def xrange(*words: Any, **options: Any) -> Any:
            entries = await real(*words, **options)
            await stage.redis.xtrim(KEYS.events, maxlen=1, approximate=False)
            return entries

        stage.redis.xrange = xrange  # type: ignore[method-assign] # as if somebody were quicker
        at = [each async for each in range_at][-1]
        assert (at.read, at.delivered) == (2, 1)
        assert entries[0][0].decode() not in await stage.waiting()

    @pytest.mark.parametrize("words", [[], ["x"], ["5-0"], ["5-0", "one", "two"]])
    async def test_trim_refuses_wrong_arguments(self, stage: Stage, ended: str, words: list[str]) -> None:
        step = stage.redis.register_script(script("watcher.events", "trim"))
        with pytest.raises(ResponseError, match="trim: "):
            await step(keys=[KEYS.events, KEYS.endpoints, KEYS.waiting("one")], args=words)
        assert await stage.redis.xlen(KEYS.events) == 2


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("revive", 8, ["soon", "{}", 0, "1-0"]),
        ("revive", 8, [5, "{}", 0, "x"]),
        ("revive", 8, [5, "{}", "1-0"]),
        ("revive", 8, [5]),
        ("redeliver", 7, ["soon", "one", "{}", 0, "1-0"]),
        ("redeliver", 7, [5, "one", "{}", 0, "x"]),
        ("redeliver", 7, [5, "one", "{}", 0, "1-0="]),
        ("redeliver", 7, [5, "one", "{}", 0, "1-0=>task"]),
        ("redeliver", 7, [5, "one", "{}", 0, "1-0=a task"]),
        ("redeliver", 7, [5, "one", "{}", "1-0"]),
        ("redeliver", 7, [5, "one"]),
        ("reorder", 3, ["soon", "0", 5]),
        ("reorder", 3, [5, "x", 5]),
        ("reorder", 3, [5, "0"]),
        ("reorder", 3, [5]),
        ("resume", 1, ["soon"]),
        ("resume", 1, []),
    ],
)
async def test_wrong_arguments_are_refused(
    stage: Stage, name: str, keys: int, words: list[str | int]
) -> None:
    step = stage.redis.register_script(script("watcher.webhooks", name))
    places = [KEYS.due("one"), KEYS.waiting("one"), KEYS.attempts("one"), KEYS.dead("one"), KEYS.events]
    places += [KEYS.kept("one"), KEYS.events, KEYS.line("one"), KEYS.ordered("one")]
    with pytest.raises(ResponseError, match=f"{name}: "):
        await step(keys=places[:keys], args=words)
    assert await stage.waiting() == []
