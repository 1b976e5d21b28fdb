"""The order of each task's events, on a real server: what stands behind another, goes on, or is passed over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.fakes import FakeClock
from tests.unit.webhooks.builders import KEYS, NOW, any_entry, endpoint, event, publish
from tests.unit.webhooks.receiver import Answer, Receiver, answer, receiving
from tests.unit.webhooks.stage import Stage
from tests.unit.webhooks.world import World
from watcher.settings import Endpoint
from watcher.state.connection import connect
from watcher.webhooks import control
from watcher.webhooks.delivery import Died, GiveBack, Record, Retried, Settlement, Superseded
from watcher.webhooks.dispatcher import Dispatched, Dispatcher
from watcher.webhooks.group import GROUP, Accepted, EventGroup
from watcher.webhooks.letters import Choice, letters, retry
from watcher.webhooks.outage import Outage
from watcher.webhooks.outcome import Delivered, Effect, Reason
from watcher.webhooks.queue import Breaker, Claims, DeliveryQueue
from watcher.webhooks.replay import replay
from watcher.webhooks.routing import Router
from watcher.webhooks.stats import lane_stats, needed_from

ORDERED = endpoint(events=("*",), order="task")
COALESCING = endpoint(events=("*",), order="task", coalesce=True)
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)
NEWS = ("queued", "processing", "success", "canceled")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The client that the daemon itself would use."""
    client = connect(redis_url)
    yield client
    await client.aclose()


class Line(Stage):
    """One reader of the stream and the queue of an endpoint that keeps the order."""

    def __init__(self, redis: Redis, to: Endpoint = ORDERED, **options: Any) -> None:
        super().__init__(redis)
        self.to = to
        self.queue = DeliveryQueue(redis, KEYS, "one", coalesce=to.coalesce, **options, wanted=any_entry)

    async def publish(self, *news: tuple[int, str]) -> list[str]:
        """Have events of tasks accepted; their entries' ids."""
        ids = await publish(self.redis, *(event(task, status) for task, status in news))
        assert await self.accept_new() == Accepted(len(news), len(news))
        return ids

    async def accept_new(self) -> Accepted:
        return await self.accept_entries(await self.group.read(count=100, block_ms=1))

    async def accept_entries(self, entries: Sequence[tuple[str, dict[bytes, bytes]]]) -> Accepted:
        router = Router((self.to,))
        return await self.group.accept(
            [router.route(*each) for each in entries], self.group.places([self.to]), now=NOW
        )

    async def ids(self, now: float = NOW) -> list[str]:
        """What is claimed now."""
        return [claim.entry_id for claim in await self.claim(now=now)]

    async def look(self, now: float = NOW) -> Claims:
        return await self.queue.claim(now=now, seconds=30.0, most=100)

    async def replay(self) -> None:
        async for _ in replay(self.redis, KEYS, self.to, low=0, high=2**43, now=NOW):
            pass

    async def retry(self) -> int:
        ids = [letter.id async for letter in letters(self.redis, KEYS, "one", Choice())]
        return await retry(self.redis, KEYS, "one", ids, NOW, coalesce=self.to.coalesce)

    async def nothing_is_left(self) -> None:
        left: Any = await self.redis.keys(b"{t}:*:one")
        assert set(left) <= {key.encode() for key in (KEYS.lane("one"), KEYS.dead("one"))}


@pytest.fixture
async def line(redis: Redis) -> Line:
    line = Line(redis)
    await line.group.join()
    return line


@pytest.fixture
async def newest(redis: Redis) -> Line:
    """Where what is overtaken is passed over."""
    line = Line(redis, COALESCING)
    await line.group.join()
    return line


# --- in order -----------------------------------------------------------------------------------------------


async def test_of_a_task_one_is_sent_after_the_other_and_other_tasks_flow(line: Line) -> None:
    ids = await line.publish((1, "queued"), (1, "processing"), (2, "success"), (1, "success"))
    one, two = await line.claim()
    assert [one.entry_id, two.entry_id] == [ids[0], ids[2]]
    assert await line.ids() == []
    assert (await line.settle([Settlement(two, Delivered())])).going_on == 0
    assert (await line.settle([Settlement(one, Delivered())])).going_on == 1
    [following] = await line.claim()
    assert following.entry_id == ids[1]
    await line.settle([Settlement(following, Delivered())])
    [last] = await line.claim()
    await line.settle([Settlement(last, Delivered())])
    assert last.entry_id == ids[3]
    await line.nothing_is_left()


async def test_a_task_of_another_entity_is_another_task(line: Line) -> None:
    entity = "9d2b4c8f-0000-4000-8000-000000000001"
    ids = await publish(line.redis, event(1, entity=entity), event(1), event(1, "error", entity=entity))
    await line.accept_new()
    assert await line.ids() == ids[:2]


async def test_events_of_one_millisecond_and_odd_ids_keep_the_streams_order(line: Line) -> None:
    content = event(1)
    ids = ["5-9", "5-10", "70-2", f"{2**60}-{2**64 - 2}", f"{2**60}-{2**64 - 1}"]
    for entry_id in ids:
        words = ["XADD", KEYS.events, entry_id]
        for name in ("id", "type", "source", "subject", "time"):
            words += [name, getattr(content, name)]
        await line.redis.execute_command(*words, "data", content.data)  # type: ignore[no-untyped-call] # the client's own
    await line.accept_new()
    for entry_id in ids:
        [claim] = await line.claim(now=NOW + 1)
        assert claim.entry_id == entry_id
        await line.settle([Settlement(claim, Delivered())])


async def test_a_retry_keeps_its_place(line: Line) -> None:
    ids = await line.publish((1, "processing"), (1, "success"))
    [claim] = await line.claim()
    assert (await line.settle([Settlement(claim, Retried(NOW + 300, RECORD))])).going_on == 0
    await line.publish((1, "canceled"))
    assert await line.ids(NOW + 299) == []
    assert await line.ids(NOW + 300) == ids[:1]


@pytest.mark.parametrize("gone", [False, True], ids=["given up", "no longer on the stream"])
async def test_a_dead_letter_lets_the_next_go_on(line: Line, gone: bool) -> None:
    ids = await line.publish((1, "processing"), (1, "success"))
    if gone:
        await line.redis.xdel(KEYS.events, ids[0])
    [claim] = await line.claim()
    assert bool(claim.fields) is not gone
    assert (await line.settle([Settlement(claim, Died(RECORD, b""))])).going_on == 1
    assert await line.ids() == ids[1:]
    [letter] = await line.dead()
    assert letter["entry_id"] == ids[0]


async def test_what_is_given_back_or_whose_claim_ends_is_still_the_first(line: Line) -> None:
    ids = await line.publish((1, "processing"), (1, "success"))
    [claim] = await line.claim()
    assert (await line.settle([Settlement(claim, GiveBack())])).going_on == 0
    [lost] = await line.claim()
    [again] = await line.claim(now=NOW + 30)  # the worker died
    assert {claim.entry_id, lost.entry_id, again.entry_id} == {ids[0]}
    assert (await line.settle([Settlement(lost, Died(RECORD, b""))])).stale == 1
    assert await line.ids(NOW + 31) == []
    assert (await line.settle([Settlement(lost, Delivered())], now=NOW + 31)).going_on == 1
    assert await line.ids(NOW + 32) == ids[1:]


async def test_what_stands_behind_waits_and_is_counted_and_its_event_is_kept(line: Line) -> None:
    ids = await line.publish((1, "queued"), (1, "processing"), (1, "success"))
    assert (await lane_stats(line.redis, KEYS, "one")).depth == 3
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Delivered())])
    assert (await lane_stats(line.redis, KEYS, "one")).depth == 2
    assert await needed_from(line.redis, KEYS) == f"{ids[1].split('-')[0]}-0"


async def test_resuming_lets_nobody_pass(line: Line) -> None:
    ids = await line.publish((1, "processing"), (1, "success"), (2, "success"))
    one, two = await line.claim()
    await line.settle([Settlement(each, Retried(NOW + 300, RECORD)) for each in (two, one)])
    await control.pause(line.redis, KEYS, "one", NOW)
    assert await line.ids(NOW + 400) == []
    assert await control.resume(line.redis, KEYS, "one", NOW + 1) == 3
    assert await line.ids(NOW + 1) == [ids[0], ids[2]]


async def test_a_replay_comes_in_order_before_what_waits(line: Line) -> None:
    ids = await line.publish(*((1, status) for status in NEWS[:2]))
    for _ in ids:
        [claim] = await line.claim()
        await line.settle([Settlement(claim, Delivered())])
    [last] = await line.publish((1, "success"))
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Retried(NOW + 300, RECORD))])
    await line.replay()
    for entry_id in (*ids, last):
        [claim] = await line.claim(NOW + 300)
        assert claim.entry_id == entry_id
        await line.settle([Settlement(claim, Delivered())])
    await line.nothing_is_left()


@pytest.mark.parametrize("meanwhile", [False, True], ids=["before the replay", "after it"])
async def test_what_is_to_wait_still_does_after_an_older_one_went_before_it(
    line: Line, meanwhile: bool
) -> None:
    first, second = await line.publish((1, "processing"), (1, "success"))
    for _ in range(2):
        [claim] = await line.claim()
        assert (await line.settle([Settlement(claim, Delivered())])).settled == 1
    await line.replay()
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Delivered())])
    [claim] = await line.claim()
    assert claim.entry_id == second
    if meanwhile:
        await line.replay()
    await line.settle([Settlement(claim, Retried(NOW + 3600, RECORD))])
    await line.replay()
    [claim] = await line.claim(NOW + 1)
    assert claim.entry_id == first
    await line.settle([Settlement(claim, GiveBack())], NOW + 1)
    [claim] = await line.claim(NOW + 1)
    await line.settle([Settlement(claim, Delivered())], NOW + 1)
    assert await line.ids(NOW + 3599) == []
    assert await line.ids(NOW + 3600) == [second]


async def test_resumed_what_was_to_wait_goes_when_its_turn_comes(line: Line) -> None:
    first, second = await line.publish((1, "processing"), (1, "success"))
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Delivered())])
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Retried(NOW + 3600, RECORD))])
    await line.replay()
    await control.resume(line.redis, KEYS, "one", NOW)
    [claim] = await line.claim()
    assert claim.entry_id == first
    await line.settle([Settlement(claim, Delivered())])
    assert await line.ids() == [second]


async def test_what_is_being_sent_is_not_taken_back_for_an_older_one(line: Line) -> None:
    first, second = await line.publish((1, "processing"), (1, "success"))
    [claim] = await line.claim()
    await line.settle([Settlement(claim, Delivered())])
    [claim] = await line.claim()
    assert claim.entry_id == second
    await line.replay()
    assert await line.ids() == []
    failed = await line.settle([Settlement(claim, Retried(NOW + 300, RECORD))])
    assert failed.going_on == 1, "the older one"
    assert await line.ids() == [first]
    assert await line.settle([Settlement(claim, Retried(NOW, RECORD))]) == await line.settle(
        [Settlement(claim, GiveBack())]
    ), "both stale"
    # Having been delivered all the same, it leaves the line, which was not its turn.
    assert (await line.settle([Settlement(claim, Delivered())])).going_on == 0
    assert await line.ids() == []


async def test_dead_letters_are_retried_in_order(line: Line) -> None:
    ids = await line.publish(*((1, status) for status in NEWS))
    for _ in range(2):
        [claim] = await line.claim()
        await line.settle([Settlement(claim, Died(RECORD, b""))])
    assert await line.retry() == 2
    for entry_id in ids:
        [claim] = await line.claim()
        assert claim.entry_id == entry_id
        await line.settle([Settlement(claim, Delivered())])
    await line.nothing_is_left()


async def test_forgetting_an_endpoint_leaves_nothing(line: Line) -> None:
    await line.publish((1, "processing"), (1, "success"))
    await line.claim()
    assert await control.forget(line.redis, KEYS, "one") == 2
    await line.nothing_is_left()


async def test_an_order_that_is_set_and_unset_blocks_nothing_and_loses_nothing(line: Line) -> None:
    line.to = endpoint(events=("*",))
    before = await line.publish((1, "queued"), (1, "processing"))
    line.to = ORDERED
    ordered = await line.publish((1, "success"), (1, "canceled"))
    line.to = endpoint(events=("*",))
    after = await line.publish((1, "error"))
    await line.redis.xgroup_setid(KEYS.events, GROUP, "0")
    await line.accept_new()  # once more, as after the group was lost: what stands behind stays there
    claims = await line.claim()
    assert [claim.entry_id for claim in claims] == [*before, ordered[0], *after]
    await line.settle([Settlement(claim, Delivered()) for claim in claims])
    [last] = await line.claim()
    assert last.entry_id == ordered[1]
    await line.settle([Settlement(last, Delivered())])
    await line.nothing_is_left()


async def test_without_an_order_nothing_is_kept_of_tasks(line: Line) -> None:
    line.to = endpoint(events=("*",))
    await line.publish((1, "processing"), (1, "success"))
    assert not await line.redis.exists(KEYS.line("one"), KEYS.ordered("one"))


# --- readers ------------------------------------------------------------------------------------------------


async def test_what_another_reader_has_is_accepted_first(line: Line) -> None:
    ids = await publish(line.redis, event(1, "processing"), event(2), event(1, "success"))
    other = EventGroup(line.redis, KEYS, "other")
    assert [each for each, _ in await other.read(count=1, block_ms=1)] == ids[:1]
    mine = await line.group.read(count=10, block_ms=1)
    assert await line.accept_entries(mine) == Accepted(0, 0, behind=True)
    assert await line.waiting() == []
    plain = Router((endpoint(),)).route(*mine[0])
    assert await line.group.accept([plain], line.group.places([endpoint()]), now=NOW) == Accepted(1, 1), (
        "where no order is kept"
    )
    everything = await line.group.take_over(idle_ms=0, count=10)
    assert await line.accept_entries(everything) == Accepted(2, 2)
    assert await line.ids() == ids[:2]


async def test_a_dispatcher_takes_over_what_a_dead_one_was_given(redis: Redis) -> None:
    line, clock = Line(redis), FakeClock(NOW)
    await line.group.join()
    ids = await publish(redis, *(event(1, status) for status in NEWS[:3]))
    await EventGroup(redis, KEYS, "dead").read(count=2, block_ms=1)
    one = Dispatcher(line.group, (ORDERED,), clock=clock, outage=Outage(clock), told=lambda *_: None)
    clock.move(-1)  # so that it is not yet time to look for what is left lying
    turn = await one.run_once()
    assert (turn.accepted, turn.deliveries) == (3, 3)
    assert await one.run_once() == Dispatched(0, 0, 0)
    assert await line.ids() == ids[:1]


async def test_a_lost_group_is_no_reason_to_accept(line: Line) -> None:
    await publish(line.redis, event(1))
    found = await line.group.read(count=10, block_ms=1)
    await line.redis.xgroup_destroy(KEYS.events, GROUP)
    assert await line.accept_entries(found) == Accepted(0, 0)


# --- passed over --------------------------------------------------------------------------------------------


async def test_what_waits_is_passed_over_for_a_newer_event(newest: Line) -> None:
    ids = await newest.publish(*((1, status) for status in NEWS), (2, "success"))
    found = await newest.look()
    assert [claim.entry_id for claim in found.claims] == ids[3:]
    assert [(each.claim.entry_id, each.by) for each in found.overtaken] == [
        (entry_id, event(1, later).id) for entry_id, later in zip(ids, NEWS[1:], strict=False)
    ]
    assert found.overtaken[0].claim.fields[b"id"].decode() == event(1, NEWS[0]).id
    done = await newest.settle(
        [
            *(Settlement(each.claim, Superseded()) for each in found.overtaken),
            *(Settlement(claim, Delivered()) for claim in found.claims),
        ]
    )
    assert (done.settled, done.stale, done.going_on) == (5, 0, 0)
    await newest.nothing_is_left()


async def test_what_waits_to_be_repeated_is_passed_over(newest: Line) -> None:
    [first] = await newest.publish((1, "processing"))
    [claim] = await newest.claim()
    await newest.settle([Settlement(claim, Retried(NOW + 300, RECORD))])
    [second] = await newest.publish((1, "success"))
    found = await newest.look()
    assert [each.claim.entry_id for each in found.overtaken] == [first]
    assert [each.entry_id for each in found.claims] == [second]
    assert found.claims[0].record is None


@pytest.mark.parametrize("result", [Retried(NOW + 300, RECORD), GiveBack()], ids=["retry", "give back"])
async def test_what_is_being_sent_is_passed_over_only_if_it_was_not_delivered(
    newest: Line, result: Retried | GiveBack
) -> None:
    first = await newest.publish((1, "queued"))
    [claim] = await newest.claim()
    second = await newest.publish((1, "processing"))
    third = await newest.publish((1, "success"))
    found = await newest.look()
    assert (found.claims, list(found.overtaken)) == ([], [])
    assert (await newest.settle([Settlement(claim, result)])).going_on == 1
    found = await newest.look()
    assert [each.claim.entry_id for each in found.overtaken] == [*first, *second]
    assert [each.entry_id for each in found.claims] == third


async def test_delivered_or_dead_it_is_not_passed_over_and_the_newest_goes_on(newest: Line) -> None:
    await newest.publish((1, "queued"))
    for result in (Delivered(), Died(RECORD, b"")):
        [claim] = await newest.claim()
        ids = await newest.publish((1, "processing"), (1, "success"))
        assert (await newest.settle([Settlement(claim, result)])).going_on == 1
        found = await newest.look()
        assert [each.claim.entry_id for each in found.overtaken] == ids[:1]
        await newest.settle([Settlement(found.overtaken[0].claim, Superseded())])
        await newest.settle([Settlement(found.claims[0], GiveBack())])
        assert found.claims[0].entry_id == ids[1]


async def test_what_comes_late_is_passed_over_for_what_is_being_sent(newest: Line) -> None:
    ids = await newest.publish((1, "processing"))
    [claim] = await newest.claim()
    await newest.settle([Settlement(claim, Delivered())])
    ids += await newest.publish((1, "success"))
    [claim] = await newest.claim()
    await newest.replay()
    found = await newest.look()
    assert (found.claims, [each.claim.entry_id for each in found.overtaken]) == ([], ids[:1])
    assert found.overtaken[0].by == event(1, "success").id


@pytest.mark.parametrize("again", ["replay", "retry"])
async def test_what_is_sent_again_is_passed_over_as_well(newest: Line, again: str) -> None:
    first = await newest.publish((1, "processing"))
    [claim] = await newest.claim()
    dead = again == "retry"
    await newest.settle([Settlement(claim, Died(RECORD, b"") if dead else Delivered())])
    second = await newest.publish((1, "success"))
    await (newest.retry() if dead else newest.replay())
    found = await newest.look()
    assert [each.claim.entry_id for each in found.overtaken] == first
    assert [each.entry_id for each in found.claims] == second


async def test_what_was_not_told_is_told_by_the_next(newest: Line) -> None:
    ids = await newest.publish((1, "processing"), (1, "success"))
    [lost] = (await newest.look()).overtaken  # and its process dies
    assert list((await newest.look(NOW + 29)).overtaken) == []
    [again] = (await newest.look(NOW + 30)).overtaken
    assert again.claim.entry_id == lost.claim.entry_id == ids[0]
    assert (await newest.settle([Settlement(lost.claim, Superseded())])).stale == 1
    assert (await newest.settle([Settlement(again.claim, Superseded())])).settled == 1
    assert await newest.waiting() == ids[1:]


async def test_what_is_passed_over_takes_nobodys_turn(redis: Redis) -> None:
    line = Line(redis, COALESCING, breaker=Breaker(threshold=1), rate=lambda: 1.0)
    await line.group.join()
    await line.publish((2, "queued"))
    [claim] = await line.claim()
    failed = Settlement(claim, Retried(NOW + 1000, RECORD), Effect(failed=True))
    assert (await line.settle([failed])).opened > 0
    first, second = await line.publish((1, "processing"), (1, "success"))
    found = await line.look(NOW + 1)
    [passed] = found.overtaken
    assert passed.claim.entry_id == first, "held as it is"
    await line.settle([Settlement(passed.claim, Superseded())])
    await line.publish((3, "processing"), (3, "success"))
    found = await line.look(NOW + 100)
    assert [each.entry_id for each in found.claims] == [second], "the probe"
    [passed] = found.overtaken
    assert (await line.settle([Settlement(passed.claim, Superseded())], now=NOW + 100)).settled == 1
    assert await line.ids(NOW + 101) == [], "there is one probe"


async def test_on_a_pause_what_was_passed_over_is_told_and_resuming_leaves_it_so(newest: Line) -> None:
    ids = await newest.publish((1, "processing"), (1, "success"))
    await control.pause(newest.redis, KEYS, "one", NOW)
    await control.resume(newest.redis, KEYS, "one", NOW)
    await control.pause(newest.redis, KEYS, "one", NOW)
    found = await newest.look()
    assert (found.claims, [each.claim.entry_id for each in found.overtaken]) == ([], ids[:1])


async def test_more_than_are_passed_over_at_once_are_so_one_after_the_other(redis: Redis) -> None:
    line = Line(redis)
    await line.group.join()
    for start in range(0, 360, 60):
        await line.publish(*((number % 3, f"news{start + number}") for number in range(60)))
    ids = await line.waiting()
    coalescing = Line(redis, COALESCING)
    claims = await line.claim()
    await coalescing.settle([Settlement(claim, Delivered()) for claim in claims])
    sent, passed = [claim.entry_id for claim in claims], []
    while await coalescing.waiting():
        found = await coalescing.look()
        assert len(found.overtaken) <= 100
        sent += [each.entry_id for each in found.claims]
        passed += [each.claim.entry_id for each in found.overtaken]
        done = [Settlement(each.claim, Superseded()) for each in found.overtaken]
        await coalescing.settle([*done, *(Settlement(each, Delivered()) for each in found.claims)])
    assert sent[-3:] == ids[-3:]
    assert len(sent) == 3 * 3
    assert sorted(passed + sent) == sorted(ids)
    await coalescing.nothing_is_left()


# --- the whole ----------------------------------------------------------------------------------------------


def arrivals(receiver: Receiver, names: dict[str, tuple[int, str]]) -> dict[int, list[str]]:
    """What arrived of each task, in its order."""
    found: dict[int, list[str]] = defaultdict(list)
    for request in receiver.requests:
        task, status = names[request.headers["webhook-id"]]
        found[task].append(status)
    return found


def named(tasks: Sequence[int], news: Sequence[str] = NEWS) -> dict[str, tuple[int, str]]:
    return {event(task, status).id: (task, status) for status in news for task in tasks}


async def test_while_a_task_is_repeated_its_later_events_wait_and_other_tasks_flow(redis: Redis) -> None:
    world = World(redis)
    names = named(range(1, 21))
    script: list[Answer] = [answer(500), answer(404), answer()]
    async with receiving(*script) as receiver:
        to = endpoint(url=receiver.url, events=("*",), order="task", concurrency=8, retry_schedule=(0, 5, 60))
        async with world.running(to), world.running(to, consumer="another"):
            await publish(redis, *(event(*name) for name in names.values()))
            await receiver.received(2 + 18 * len(NEWS))
            blocked = {names[request.headers["webhook-id"]][0] for request in receiver.requests[:2]}
            assert len(blocked) == 2
            early = arrivals(receiver, names)
            assert [early[task] for task in blocked] == [[NEWS[0]]] * 2, "the first, which failed"
            await world.let_pass(5, receiver.received(2 + 20 * len(NEWS)))
            await world.settled()
    for task, seen in arrivals(receiver, names).items():
        assert seen == ([NEWS[0], *NEWS] if task in blocked else list(NEWS))
    assert not await redis.exists(KEYS.line("one"), KEYS.ordered("one"))


async def test_after_a_failure_only_the_newest_of_a_task_is_sent_and_the_rest_is_told_of(
    redis: Redis,
) -> None:
    world = World(redis)
    names = named([1])
    async with receiving(answer(500), answer()) as receiver:
        to = endpoint(url=receiver.url, events=("*",), order="task", coalesce=True)
        with capture_logs() as logs:
            async with world.running(to):
                await publish(redis, event(1, NEWS[0]))
                await world.attempted(1)
                await publish(redis, *(event(1, status) for status in NEWS[1:]))
                await world.let_pass(0.5, world.settled())
    assert arrivals(receiver, names)[1][0] == NEWS[0]
    assert arrivals(receiver, names)[1][-1] == NEWS[-1]
    lines = [line for line in logs if line["event"] == "delivery.superseded"]
    passed = [names[line["event_id"]][1] for line in lines]
    assert passed[0] == NEWS[0]
    assert sorted(passed + arrivals(receiver, names)[1][1:]) == sorted(NEWS), "each once"
    for line in lines:
        assert (line["endpoint"], line["type"]) == ("one", f"ocr_task.{names[line['event_id']][1]}")
        assert NEWS.index(names[line["superseded_by"]][1]) > NEWS.index(names[line["event_id"]][1])
    labels = {"endpoint": "one", "outcome": "superseded"}
    counted = world.metrics.registry.get_sample_value("watcher_delivery_attempts_total", labels)
    assert counted == len(lines)
