"""The steps of webhooks at the store, on a real server: each one whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.unit.webhooks.builders import KEYS, NOW, any_entry, event, fields, place, publish
from tests.unit.webhooks.stage import ENDPOINTS, Stage
from watcher.events.envelope import from_fields
from watcher.events.group import GroupLost
from watcher.metrics import Metrics
from watcher.state.lua import script
from watcher.webhooks.delivery import Died, GiveBack, Record, Retried, Settlement
from watcher.webhooks.group import GROUP, Accepted
from watcher.webhooks.outcome import Delivered, Reason
from watcher.webhooks.queue import DeliveryQueue, Settled
from watcher.webhooks.routing import Routed
from watcher.webhooks.stats import LaneStats, all_stats, lane_stats, needed_from, set_gauges

pytestmark = pytest.mark.every_server

ORDER_KEYS = [KEYS.line("one"), KEYS.ordered("one")]
ACCEPT_KEYS = [KEYS.events, KEYS.cursor(GROUP), KEYS.endpoints, KEYS.lagging]
ACCEPT_KEYS += [KEYS.due("one"), KEYS.waiting("one")]
SETTLE_WORDS = ["", 5, 10, 2000, 60000, 1, 5000, 0, 1000]
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)


@pytest.fixture
async def stage(redis: Redis) -> Stage:
    stage = Stage(redis)
    await stage.group.join()
    return stage


@pytest.fixture
async def accepted(stage: Stage) -> list[str]:
    """Three events that wait for delivery."""
    await publish(stage.redis, event(1), event(2), event(3))
    ids = await stage.read()
    await stage.accept(*ids)
    return ids


# --- join ---------------------------------------------------------------------------------------------------


async def test_the_first_group_begins_with_the_oldest_event(redis: Redis) -> None:
    ids = await publish(redis, event(1), event(2))
    stage = Stage(redis)
    assert await stage.group.join() == "0-0"
    assert await stage.group.join() is None
    assert await stage.read() == ids


async def test_a_group_without_a_stream_is_made_with_it(redis: Redis) -> None:
    stage = Stage(redis)
    with pytest.raises(GroupLost):
        await stage.read()
    with pytest.raises(GroupLost):
        await stage.group.take_over(idle_ms=0, count=10)
    assert await stage.group.join() == "0-0"
    assert await stage.read() == []
    ids = await publish(redis, event(1))
    assert await stage.read() == ids


async def test_a_lost_group_goes_on_after_what_was_acknowledged(stage: Stage, accepted: list[str]) -> None:
    later = await publish(stage.redis, event(4), event(5))
    assert await stage.read(count=1) == later[:1]  # read, and lost with the group
    await stage.redis.xgroup_destroy(KEYS.events, GROUP)
    with pytest.raises(GroupLost):
        await stage.read()
    assert await stage.group.join() == accepted[-1]
    assert await stage.read() == later


async def test_a_cursor_of_another_stream_is_not_believed(stage: Stage, accepted: list[str]) -> None:
    await stage.redis.delete(KEYS.events)
    assert await stage.group.join() == "0-0"
    await stage.redis.xgroup_destroy(KEYS.events, GROUP)
    await stage.redis.set(KEYS.cursor(GROUP), "99999999999999-0")
    [entry_id] = await publish(stage.redis, event(9))
    assert await stage.group.join() == "0-0"
    assert await stage.cursor() == "0-0"
    assert await stage.read() == [entry_id]


async def test_consumers_long_gone_are_forgotten_unless_something_is_pending(redis: Redis) -> None:
    for name in ("idle", "busy"):
        one = Stage(redis, name)
        await one.group.join()
        await publish(redis, event(1))
        [entry_id] = await one.read(count=1)
        if name == "idle":
            await one.accept(entry_id)
    join = redis.register_script(script("watcher.events", "join"))
    assert await join(keys=[KEYS.events, KEYS.cursor(GROUP)], args=[GROUP, "oldest", -1]) == [b"there", b""]
    consumers: Any = await redis.xinfo_consumers(KEYS.events, GROUP)
    assert [one["name"] for one in consumers] == [b"busy"]
    assert await join(keys=[KEYS.events, KEYS.cursor(GROUP)], args=[GROUP, "oldest", 86_400_000]) == [
        b"there",
        b"",
    ]
    assert len(await redis.xinfo_consumers(KEYS.events, GROUP)) == 1


# --- accept -------------------------------------------------------------------------------------------------


async def test_accepting_makes_deliveries_and_acknowledges_in_one_step(stage: Stage) -> None:
    ids = await publish(stage.redis, event(1), event(2), event(3))
    await stage.read()
    done = await stage.group.accept(
        [Routed(ids[0], (0,)), Routed(ids[1], ()), Routed(ids[2], (0, 1))],
        stage.group.places(ENDPOINTS),
        now=NOW,
    )
    assert done == Accepted(entries=3, deliveries=3)
    assert await stage.waiting("one") == [ids[0], ids[2]]
    assert await stage.waiting("two") == [ids[2]]
    assert set(await stage.due("one")) == {ids[0], ids[2]}
    assert await stage.redis.smembers(KEYS.endpoints) == {b"one", b"two"}
    assert await stage.group.pending(count=10) == []
    assert await stage.cursor() == ids[-1]


async def test_what_is_for_nobody_leaves_nothing_behind(stage: Stage) -> None:
    [entry_id] = await publish(stage.redis, event(1))
    await stage.read()
    assert await stage.accept(entry_id, to=()) == Accepted(1, 0)
    assert await stage.redis.smembers(KEYS.endpoints) == set()
    assert await stage.cursor() == entry_id


async def test_an_entry_is_accepted_once_whoever_reads_it(stage: Stage) -> None:
    [entry_id] = await publish(stage.redis, event(1))
    await stage.read()
    other = Stage(stage.redis, "other")
    assert [one for one, _ in await other.group.take_over(idle_ms=0, count=10)] == [entry_id]
    assert await other.accept(entry_id) == Accepted(1, 2)
    [claim] = await other.claim()
    await other.settle([Settlement(claim, Delivered())])
    # The first reader stood still all the while, and goes on now.
    assert await stage.accept(entry_id) == Accepted(0, 0)
    assert await stage.waiting() == []


async def test_accepting_what_waits_already_leaves_its_due_time(stage: Stage, accepted: list[str]) -> None:
    [first, *_] = await stage.claim(now=NOW, most=1)
    await stage.settle([Settlement(first, Retried(NOW + 300, RECORD))])
    await stage.redis.xgroup_setid(KEYS.events, GROUP, "0")
    await stage.read()
    assert (await stage.accept(*accepted)).entries == 3
    assert (await stage.due())[first.entry_id] == (NOW + 300) * 1000


async def test_deliveries_are_due_in_the_streamsplace(stage: Stage) -> None:
    await stage.redis.execute_command("XADD", KEYS.events, "5-9", "a", "b")  # type: ignore[no-untyped-call] # the client's own
    for number in (10, 11, 5000, 6000):
        await stage.redis.execute_command("XADD", KEYS.events, f"5-{number}", "a", "b")  # type: ignore[no-untyped-call] # as above
    ids = await stage.read()
    assert ids == ["5-9", "5-10", "5-11", "5-5000", "5-6000"]
    await stage.accept(*reversed(ids))
    assert [claim.entry_id for claim in await stage.claim()] == ids


async def test_a_server_whose_clock_is_ahead_delays_nothing(stage: Stage) -> None:
    await stage.redis.execute_command("XADD", KEYS.events, f"{int(NOW + 3600) * 1000}-0", "a", "b")  # type: ignore[no-untyped-call] # the client's own
    await stage.accept(*await stage.read())
    assert len(await stage.claim(now=NOW)) == 1


async def test_the_first_delay_of_a_schedule_is_kept(redis: Redis, stage: Stage) -> None:
    # The settings want 0 there; the step itself takes what it is told.
    await publish(redis, event(1))
    [entry_id] = await stage.read()
    accept = redis.register_script(script("watcher.webhooks", "accept"))
    moment = int(entry_id.split("-")[0])
    words: list[str | int] = [GROUP, moment, 1, "", f"{entry_id}:,1", "one", 5000, "none"]
    assert await accept(keys=ACCEPT_KEYS, args=words) == [1, 1, 0, []]
    assert (await stage.due())[entry_id] == pytest.approx(moment + 5000, abs=1)


async def test_the_cursor_stays_before_what_another_reader_has_not_accepted(stage: Stage) -> None:
    ids = await publish(stage.redis, *(event(number) for number in range(1, 5)))
    other = Stage(stage.redis, "other")
    assert await other.read(count=2) == ids[:2]
    assert await stage.read() == ids[2:]
    await stage.accept(*ids[2:])
    before = await stage.cursor()
    assert before is not None
    assert place(before) < place(ids[0])
    await other.accept(ids[1])
    assert await stage.cursor() == before
    await other.accept(ids[0])
    assert await stage.cursor() == ids[-1]


@pytest.mark.parametrize(("first", "before"), [("7-3", "7-2"), ("7-0", "6-18446744073709551615")])
async def test_the_id_before_an_id(redis: Redis, first: str, before: str) -> None:
    for entry_id in (first, "8-0"):
        await redis.execute_command("XADD", KEYS.events, entry_id, "a", "b")  # type: ignore[no-untyped-call] # the client's own
    stage = Stage(redis)
    await stage.group.join()
    await stage.read()
    await stage.accept("8-0")
    assert await stage.cursor() == before
    await redis.xgroup_destroy(KEYS.events, GROUP)
    assert await stage.group.join() == before
    assert await stage.read() == [first, "8-0"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["webhooks"],
        ["webhooks", "now", 9, "", "1-0:,1", "one", 0, "none"],
        ["webhooks", 5, "room", "", "1-0:,1", "one", 0, "none"],
        ["webhooks", 5, 9, "", "1-0:,1", "one", 0],
        ["webhooks", 5, 9, "", "1-0:,1", "one", "soon", "none"],
        ["webhooks", 5, 9, "", "1-0:,1", "one", 0, "some"],
        ["webhooks", 5, 9, "", "1-0:,2", "one", 0, "none"],
        ["webhooks", 5, 9, "", "1-0:,0", "one", 0, "none"],
        ["webhooks", 5, 9, "", "1-0:,x", "one", 0, "none"],
        ["webhooks", 5, 9, "", "1-0", "one", 0, "none"],
        ["webhooks", 5, 9, "", "ID:,1 1-:,1", "one", 0, "none"],
        ["webhooks", 5, 9, "", "ID:,1", "one", 0, "none", "two", 0, "none"],
        ["webhooks", 5, 9, "", "ID:,1=-/task 1-0:,1", "one", 0, "task"],
        ["webhooks", 5, 9, "", "ID:,1=-/task 1-0:,1=", "one", 0, "newest"],
        ["webhooks", 5, 9, "", "ID:,1=-/task 1-0:,1=>task", "one", 0, "task"],
        ["webhooks", 5, 9, "", "ID:,1-/task", "one", 0, "task"],
        ["webhooks", 5, 9, "", "ID:,1", "one", 0, "none", "task"],
    ],
)
async def test_accept_refuses_wrong_arguments_before_it_writes(
    stage: Stage, arguments: Sequence[Any]
) -> None:
    [entry_id] = await publish(stage.redis, event(1))
    await stage.read()
    words = [word.replace("ID", entry_id) if isinstance(word, str) else word for word in arguments]
    accept = stage.redis.register_script(script("watcher.webhooks", "accept"))
    ordered = ORDER_KEYS if {"task", "newest"} & set(words) else []
    with pytest.raises(ResponseError, match="accept: "):
        await accept(keys=[*ACCEPT_KEYS, *ordered], args=words)
    assert [one for one, _ in await stage.group.pending(count=10)] == [entry_id]
    assert await stage.waiting() == []


# --- claim and settle ---------------------------------------------------------------------------------------


async def test_a_claim_holds_the_event_and_keeps_others_away(stage: Stage, accepted: list[str]) -> None:
    claims = await stage.claim(seconds=30, most=2)
    assert [claim.entry_id for claim in claims] == accepted[:2]
    assert from_fields(claims[0].fields) == event(1)
    assert {claim.ends for claim in claims} == {int((NOW + 30) * 1000)}
    assert [claim.entry_id for claim in await stage.claim()] == accepted[2:]
    assert await stage.claim(now=NOW + 29.999) == []
    again = await stage.claim(now=NOW + 30)
    assert [claim.entry_id for claim in again] == accepted
    assert all(claim.ends > claims[0].ends for claim in again)


async def test_two_claimers_share_and_never_overlap(stage: Stage) -> None:
    await publish(stage.redis, *(event(number) for number in range(50)))
    await stage.accept(*await stage.read())
    queues = [DeliveryQueue(stage.redis, KEYS, "one", wanted=any_entry) for _ in range(4)]
    rounds: list[Awaitable[Any]] = [queue.claim(now=NOW, seconds=30, most=7) for queue in queues * 3]
    found = [claim.entry_id for claims in await asyncio.gather(*rounds) for claim in claims.claims]
    assert len(found) == len(set(found)) == 50


async def test_a_claim_tells_when_the_next_is_due(stage: Stage, accepted: list[str]) -> None:
    first = await stage.queue.claim(now=NOW, seconds=30, most=1)
    assert first.next_due is not None
    assert first.next_due < NOW  # the second is due already
    await stage.queue.claim(now=NOW, seconds=30, most=1)
    rest = await stage.queue.claim(now=NOW + 1, seconds=30, most=10)
    assert rest.next_due == NOW + 30  # the first claim's end
    assert (await stage.queue.claim(now=NOW + 1, seconds=30, most=10)).next_due == NOW + 30
    assert (
        await DeliveryQueue(stage.redis, KEYS, "nobody", wanted=any_entry).claim(now=NOW, seconds=1, most=1)
    ).next_due is None


async def test_an_event_that_is_gone_is_claimed_without_fields(stage: Stage, accepted: list[str]) -> None:
    await stage.redis.xdel(KEYS.events, accepted[0])
    [gone, there, _] = await stage.claim()
    assert gone.entry_id == accepted[0]
    assert gone.fields == {}
    assert there.fields == fields(event(2))


async def test_what_is_delivered_is_forgotten_even_after_the_claim(stage: Stage, accepted: list[str]) -> None:
    old = await stage.claim(now=NOW)
    await stage.settle([Settlement(old[0], Retried(NOW, RECORD))])
    await stage.claim(now=NOW + 60)
    assert await stage.settle([Settlement(claim, Delivered()) for claim in old]) == Settled(3, 0)
    assert await stage.waiting() == []
    assert await stage.due() == {}
    assert await stage.redis.exists(KEYS.attempts("one")) == 0
    assert await stage.waiting("two") == accepted


async def test_a_retry_is_due_at_its_time_with_its_record(stage: Stage, accepted: list[str]) -> None:
    [first, *_] = await stage.claim()
    assert first.record is None
    assert await stage.settle([Settlement(first, Retried(NOW + 2.5, RECORD))]) == Settled(1, 0)
    assert await stage.claim(now=NOW + 2.499) == []
    [again] = await stage.claim(now=NOW + 2.5)
    assert again.entry_id == first.entry_id
    assert again.record == RECORD


async def test_a_dead_letter_holds_the_event_and_the_reason(stage: Stage, accepted: list[str]) -> None:
    [first, second, _] = await stage.claim()
    done = await stage.settle(
        [
            Settlement(first, Died(Record(10, 5, int(NOW * 1000), 404, Reason.HTTP_4XX), b"no such hook")),
            Settlement(second, Died(Record(3, 5, int(NOW * 1000), None, Reason.DNS), b"")),
        ]
    )
    assert done == Settled(2, 0)
    letter, other = await stage.dead()
    assert {
        name: letter.pop(name)
        for name in ("entry_id", "reason", "attempts", "status", "answer", "failed_at", "history")
    } == {
        "entry_id": first.entry_id,
        "reason": "http_4xx",
        "attempts": "10",
        "status": "404",
        "answer": "no such hook",
        "failed_at": "2027-01-15T08:00:00.000000Z",
        "history": "[]",
    }
    assert {name.encode(): value.encode() for name, value in letter.items()} == fields(event(1))
    assert (other["reason"], other["status"]) == ("dns", "")
    assert await stage.waiting() == [accepted[2]]
    assert set(await stage.claimed()) == {accepted[2]}


async def test_the_dead_letter_of_a_gone_event_still_names_it(stage: Stage, accepted: list[str]) -> None:
    await stage.redis.xdel(KEYS.events, accepted[0])
    [gone, *_] = await stage.claim(most=1)
    await stage.settle([Settlement(gone, Died(Record(0, 5, 5, None, Reason.EVENT_GONE), b""))])
    [letter] = await stage.dead()
    assert letter["entry_id"] == accepted[0]
    assert letter["reason"] == "event_gone"
    assert "data" not in letter


@pytest.mark.parametrize(
    "late", [Retried(NOW + 5, RECORD), Died(RECORD, b"late"), GiveBack()], ids=["retry", "dead", "give back"]
)
async def test_what_comes_after_the_claims_end_is_stale(
    stage: Stage, accepted: list[str], late: Retried | Died | GiveBack
) -> None:
    old = await stage.claim(now=NOW)
    [new, *_] = await stage.claim(now=NOW + 30)
    assert await stage.settle([Settlement(claim, late) for claim in old]) == Settled(0, 3)
    assert set((await stage.claimed()).values()) == {new.ends / 1000}
    assert await stage.due() == {}
    assert await stage.dead() == []
    assert await stage.redis.exists(KEYS.attempts("one")) == 0
    assert await stage.settle([Settlement(new, late)]) == Settled(1, 0)


async def test_settling_twice_changes_nothing(stage: Stage, accepted: list[str]) -> None:
    one, two, three = await stage.claim()
    settlements = [
        Settlement(one, Delivered()),
        Settlement(two, Retried(NOW + 5, RECORD)),
        Settlement(three, Died(RECORD, b"")),
    ]
    assert await stage.settle(settlements) == Settled(3, 0)
    after = await stage.due(), await stage.waiting(), await stage.dead()
    assert await stage.settle(settlements) == Settled(0, 3)
    assert (await stage.due(), await stage.waiting(), await stage.dead()) == after


async def test_what_is_given_back_is_due_as_it_was(stage: Stage, accepted: list[str]) -> None:
    before = await stage.due()
    claims = await stage.claim()
    assert await stage.due() != before
    await stage.settle([Settlement(claim, GiveBack()) for claim in reversed(claims)])
    assert await stage.due() == before
    assert [claim.entry_id for claim in await stage.claim()] == accepted


async def test_a_delivery_settled_after_everything_was_flushed_does_no_harm(
    stage: Stage, accepted: list[str]
) -> None:
    one, two, three = await stage.claim()
    await stage.redis.flushall()
    done = await stage.settle(
        [
            Settlement(one, Delivered()),
            Settlement(two, Retried(NOW, RECORD)),
            Settlement(three, Died(RECORD, b"")),
        ]
    )
    assert done == Settled(0, 3)
    assert await stage.redis.keys() == []


async def test_scripts_come_back_after_the_server_forgot_them(stage: Stage, accepted: list[str]) -> None:
    claims = await stage.claim()
    await stage.redis.script_flush()
    assert await stage.settle([Settlement(claim, Delivered()) for claim in claims]) == Settled(3, 0)


async def test_a_server_out_of_memory_still_lets_deliveries_go(stage: Stage, accepted: list[str]) -> None:
    await stage.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(ResponseError, match=r"OOM|used memory"):
            await publish(stage.redis, event(9))
        claims = await stage.claim()
        results: list[Retried | Died | Delivered] = [Retried(NOW, RECORD), Died(RECORD, b""), Delivered()]
        for claim, result in zip(claims, results, strict=True):
            assert await stage.settle([Settlement(claim, result)]) == Settled(1, 0)
    finally:
        await stage.redis.config_set("maxmemory", "0")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["ID"],
        ["nonsense", *SETTLE_WORDS[1:]],
        *[["ID", *SETTLE_WORDS[1:at], "x", *SETTLE_WORDS[at + 1 :]] for at in range(1, 9)],
        ["ID", *SETTLE_WORDS[1:], "vanished", "ID"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, 0, "none", 0, 5],
        ["ID", *SETTLE_WORDS[1:], "retry", "x", 5, 0, "none", 0, 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", "token", 0, "none", 0, 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, "first", "none", 0, 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, 2, "none", 0, 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "superseded", "ID", 5, 1, "superseded", "ID", 5, 0],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, 0, "odd", 0, 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, 0, "failed", "long", 5, "{}"],
        ["ID", *SETTLE_WORDS[1:], "retry", "ID", 5, 0, "none", 0, "soon", "{}"],
        ["ID", *SETTLE_WORDS[1:], "release", "ID", 5, 0, "soon"],
        ["ID", *SETTLE_WORDS[1:], "delivered", "ID", 5, 0, "soon"],
        ["ID", *SETTLE_WORDS[1:], "dead", "ID", 5, 0, "none", 0, "dns", 1, "", "", "now"],
        ["ID", *SETTLE_WORDS[1:], "superseded", "ID", 5],
        ["ID", *SETTLE_WORDS[1:], "superseded", "ID", "token", 0],
    ],
)
async def test_settle_refuses_wrong_arguments_before_it_writes(
    stage: Stage, accepted: list[str], arguments: Sequence[Any]
) -> None:
    words = [accepted[0] if word == "ID" else word for word in arguments]
    settle = stage.redis.register_script(script("watcher.webhooks", "settle"))
    keys = [KEYS.due("one"), KEYS.claimed("one"), KEYS.waiting("one"), KEYS.attempts("one")]
    keys += [KEYS.dead("one"), KEYS.events, KEYS.lane("one"), KEYS.kept("one"), *ORDER_KEYS]
    with pytest.raises(ResponseError, match="settle: "):
        await settle(keys=keys, args=words)
    assert await stage.waiting() == accepted
    assert list(await stage.due()) == accepted


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [5],
        [5, 6, 1],
        [5, 5, 1, 10, 0, "one", "g", 1],
        [5, 6, 0, 10, 0, "one", "g", 1],
        [5, 6, 1, 0, 0, "one", "g", 1],
        ["now", 6, 1, 10, 0, "one", "g", 1],
        [5, 6, 1, 10],
        [5, 6, 1, 10, 2, "one", "g", 1],
        [5, 6, 1, 10, 0, "one"],
        [5, 6, 1, 10, 0, "one", "g"],
    ],
)
async def test_claim_refuses_wrong_arguments(
    stage: Stage, accepted: list[str], arguments: Sequence[Any]
) -> None:
    claim = stage.redis.register_script(script("watcher.webhooks", "claim"))
    keys = [KEYS.due("one"), KEYS.claimed("one"), KEYS.attempts("one"), KEYS.events]
    keys += [KEYS.lane("one"), KEYS.kept("one"), *ORDER_KEYS, KEYS.lagging]
    with pytest.raises(ResponseError, match="claim: "):
        await claim(keys=keys, args=arguments)


# --- figures ------------------------------------------------------------------------------------------------


async def test_figures_of_a_lane(stage: Stage, accepted: list[str]) -> None:
    assert await lane_stats(stage.redis, KEYS, "nobody") == LaneStats(0, 0.0, 0)
    [first, *_] = await stage.claim()
    await stage.settle([Settlement(first, Died(RECORD, b""))])
    server: Any = await stage.redis.time()
    figures = await lane_stats(stage.redis, KEYS, "one")
    assert (figures.depth, figures.dead_letters) == (2, 1)
    oldest = int(accepted[1].split("-")[0]) / 1000
    assert figures.oldest_undelivered_seconds >= round(server[0] + server[1] / 1e6 - oldest, 2) - 0.01
    assert figures.oldest_undelivered_seconds < 100
    assert set(await all_stats(stage.redis, [KEYS], ["three"])) == {"one", "two", "three"}


async def test_the_oldest_age_is_the_servers(stage: Stage) -> None:
    server: Any = await stage.redis.time()
    await stage.redis.execute_command("XADD", KEYS.events, f"{(server[0] - 500) * 1000}-0", "a", "b")  # type: ignore[no-untyped-call] # the client's own
    await stage.accept(*await stage.read())
    figures = await lane_stats(stage.redis, KEYS, "one")
    assert figures.oldest_undelivered_seconds == pytest.approx(500, abs=5)
    metrics = Metrics()
    set_gauges(metrics, {"one": replace(figures, dead_letters=3, paused="by hand"), "two": LaneStats()})
    shown = {
        (name, endpoint): metrics.registry.get_sample_value(f"watcher_{name}", {"endpoint": endpoint})
        for name in (
            "delivery_queue_depth",
            "delivery_oldest_undelivered_seconds",
            "dead_letters",
            "endpoint_paused",
        )
        for endpoint in ("one", "two")
    }
    assert list(shown.values()) == [1, 0, figures.oldest_undelivered_seconds, 0, 3, 0, 1, 0]


async def test_nothing_is_needed_where_nothing_was_ever_read(redis: Redis) -> None:
    await publish(redis, event(1))
    assert await needed_from(redis, KEYS) is None


async def test_what_is_needed_is_the_oldest_waiting_or_what_was_not_accepted(
    stage: Stage, accepted: list[str]
) -> None:
    def before(entry_id: str, needed: str | None) -> bool:
        return needed is not None and place(needed) <= place(entry_id)

    assert before(accepted[0], await needed_from(stage.redis, KEYS))
    for name in ("one", "two"):
        queue = DeliveryQueue(stage.redis, KEYS, name, wanted=any_entry)
        found = await queue.claim(now=NOW, seconds=30, most=10)
        await queue.settle([Settlement(claim, Delivered()) for claim in found.claims], now=NOW)
    ms, sequence = place(accepted[-1])
    assert await needed_from(stage.redis, KEYS) == f"{ms}-{sequence + 1}"
    [unread] = await publish(stage.redis, event(9))
    assert before(unread, await needed_from(stage.redis, KEYS))
    await stage.read()
    assert before(unread, await needed_from(stage.redis, KEYS))  # given out, not accepted


async def test_trimming_what_is_not_needed_loses_no_delivery(stage: Stage, accepted: list[str]) -> None:
    for name in ("one", "two"):
        queue = DeliveryQueue(stage.redis, KEYS, name, wanted=any_entry)
        found = await queue.claim(now=NOW, seconds=30, most=1)
        await queue.settle([Settlement(claim, Delivered()) for claim in found.claims], now=NOW)
    needed = await needed_from(stage.redis, KEYS)
    await stage.redis.xtrim(KEYS.events, minid=needed or "", approximate=False)
    assert all(claim.fields for claim in await stage.claim())
