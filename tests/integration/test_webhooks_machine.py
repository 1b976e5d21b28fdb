"""An endpoint's deliveries beside a plain model, whatever is done to them in whatever order, on a real server.

Each is in one place: it waits (and is due, claimed or behind another of its task), it is left on the stream, it is done
with, or it is a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.integration.conftest import Server
from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, publish
from watcher.settings import Endpoint
from watcher.state.connection import connect
from watcher.webhooks import control
from watcher.webhooks.delivery import Claim, Died, GiveBack, Record, Retried, Settlement, Superseded
from watcher.webhooks.group import GROUP, Entry, EventGroup
from watcher.webhooks.letters import Choice, drop, letters, retry
from watcher.webhooks.outcome import Delivered, Effect, Reason
from watcher.webhooks.queue import Breaker, Claims, DeliveryQueue
from watcher.webhooks.replay import replay
from watcher.webhooks.routing import Router

T = TypeVar("T")
CLAIM_SECONDS = 30.0
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)
EFFECTS = st.sampled_from(
    [
        *[Effect()] * 5,  # so that it is not paused or held most of the time
        *[Effect(failed=True), Effect(failed=True, hold_until=NOW + 60), Effect(gone=True)],
    ]
)
BACK = st.integers(0, 5)
CLAIMED = precondition(lambda self: self.claims)
ORDERS = st.sampled_from(
    [endpoint(events=("*",), **more) for more in ({}, {"order": "task"}, {"order": "task", "coalesce": True})]
)


def place(entry_id: str) -> tuple[int, int]:
    """Where an entry is on the stream."""
    ms, sequence = entry_id.split("-")
    return int(ms), int(sequence)


class Deliveries(RuleBasedStateMachine):
    """The store's steps as rules; ``waiting``, ``done`` and ``dead`` are what they should come to.

    ``left`` are those that stay on the stream for now, since the endpoint lags: it has room for two that are due.
    ``dead`` says of each whether its order was kept. ``lined`` are those whose order is kept if they wait, and
    ``overtaken`` those of them that were passed over, as far as that was told. ``later`` is when those that failed
    are due again, ``asked`` when somebody asked to have one again (ms).
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = NOW
        self.waiting: set[str] = set()
        self.left: set[str] = set()
        self.done: set[str] = set()
        self.dead: dict[str, bool] = {}
        self.gone: set[str] = set()
        self.claims: list[Claim] = []
        self.tasks: dict[str, int] = {}
        self.lined: set[str] = set()
        self.overtaken: set[str] = set()
        self.later: dict[str, float] = {}
        self.asked: dict[str, int] = {}
        self.redis = connect(url)

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    @initialize(to=ORDERS)
    def begin(self, to: Endpoint) -> None:
        async def step() -> None:
            await self.redis.flushall()
            self.group = EventGroup(self.redis, KEYS, "me", room=2)
            self.roomy = EventGroup(self.redis, KEYS, "me")
            await self.group.join()

        self.run(step())
        self.reload(to)

    @rule(to=ORDERS)
    def reload(self, to: Endpoint) -> None:
        self.to = to
        breaker = Breaker(threshold=2, patience=200.0)
        self.queue = DeliveryQueue(
            self.redis, KEYS, "one", breaker, coalesce=to.coalesce, wanted=Router((to,)).word
        )

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    @rule(tasks=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def publish(self, tasks: list[int]) -> None:
        async def step() -> list[str]:
            first = len(self.tasks)
            events = [event(task, f"news{number}") for number, task in enumerate(tasks, first)]
            ids = await publish(self.redis, *events)
            await self.accept(self.group, await self.group.read(count=1000, block_ms=1))
            return ids

        lagged = self.run(self.lags())
        ids = self.run(step())
        self.tasks |= dict(zip(ids, tasks, strict=True))
        if lagged:
            self.left |= set(ids)
        else:
            self.wait_for(ids)
            _, due, *_ = self.run(self.look())
            due_now = sum(0 <= at <= self.now * 1000 for at in due.values())
            assert self.run(self.lags()) == (due_now >= 2 and not self.to.coalesce)

    @rule(tasks=st.lists(st.integers(0, 1), min_size=1, max_size=4), most=st.sampled_from([1, 3, 50]))
    def fall_behind_and_catch_up(self, tasks: list[int], most: int) -> None:
        self.publish([0, 1, 0])
        self.publish(tasks)
        self.claim(most, told=True)
        self.claim(most, told=True)

    async def lags(self) -> bool:
        found: Any = await self.redis.hexists(KEYS.lagging, "one")
        return bool(found)

    async def accept(self, group: EventGroup, entries: Iterable[Entry]) -> None:
        router = Router((self.to,))
        routed = [router.route(*each) for each in entries]
        accepted = await group.accept(routed, group.places([self.to]), now=self.now)
        assert not accepted.behind

    def wait_for(self, ids: Iterable[str]) -> None:
        """What was delivered or is new waits (again), in the order that is kept now."""
        new = set(ids) - self.waiting
        self.waiting |= new
        self.lined = (self.lined - new) | (new if self.to.order == "task" else set())

    def leave(self, entry_id: str) -> None:
        self.later.pop(entry_id, None)
        self.asked.pop(entry_id, None)
        self.waiting.discard(entry_id)
        self.overtaken.discard(entry_id)

    @rule()
    def read_what_waits_again(self) -> None:
        """As when the group was lost and its cursor had not come so far."""

        async def step() -> None:
            found: Any = await self.redis.zrange(KEYS.waiting("one"), 0, -1)
            for entry_id in found:
                ms, sequence = entry_id.decode().split("-")
                before = f"{ms}-{int(sequence) - 1}" if int(sequence) else f"{int(ms) - 1}-{2**64 - 1}"
                await self.redis.xgroup_setid(KEYS.events, GROUP, before)
                for one in await self.group.read(count=1, block_ms=1):
                    if one[0] == entry_id.decode():
                        await self.accept(self.roomy, [one])
                    else:
                        await self.redis.xack(KEYS.events, GROUP, one[0])
            await self.redis.xgroup_setid(KEYS.events, GROUP, "$")

        self.run(step())

    @rule(seconds=st.sampled_from([0.5, 3.0, 29.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(most=st.sampled_from([1, 3, 50]), told=st.booleans())
    def claim(self, most: int, told: bool) -> None:
        found = self.run(self.queue.claim(now=self.now, seconds=CLAIM_SECONDS, most=most))
        self.draw(found)
        assert {one.entry_id for one in found.claims} <= self.waiting
        self.told(found, told)
        for one in found.claims:
            assert self.is_first(one.entry_id), "only when nothing of its task is ahead of it"
            assert self.later.pop(one.entry_id, 0) <= self.now
        self.claims += found.claims

    def draw(self, found: Claims) -> None:
        """What was drawn from the stream waits: the first of what was left there."""
        stored, *_ = self.run(self.look())
        drawn = set(stored) - self.waiting
        assert drawn <= self.left - self.gone
        self.left -= drawn
        if drawn:
            assert max(map(place, drawn)) <= min(map(place, self.left - self.gone), default=(2**63, 0))
            self.wait_for(drawn)
        if not self.run(self.lags()):
            assert self.left <= self.gone, "nothing is left for one that does not lag"
            assert found.gone == len(self.left) or not found.gone
            self.done |= self.left
            self.left.clear()

    def lately(self, back: int) -> Claim:
        """A claim that was made lately, settled or not."""
        return self.claims[-1 - back % len(self.claims)]

    def is_first(self, entry_id: str) -> bool:
        in_line = (self.lined & self.waiting) - self.overtaken
        return entry_id not in in_line or all(
            place(entry_id) <= place(each) for each in in_line if self.tasks[each] == self.tasks[entry_id]
        )

    def told(self, found: Claims, settled: bool) -> None:
        """What was passed over is told of; if the process dies before that is written, it is told of again."""
        for each in found.overtaken:
            entry_id = each.claim.entry_id
            assert entry_id in self.lined & self.waiting
            self.overtaken.add(entry_id)
            if not settled:
                continue
            assert self.run(self.queue.settle([Settlement(each.claim, Superseded())], now=self.now)).settled
            self.leave(entry_id)
            self.done.add(entry_id)

    @CLAIMED
    @rule(back=BACK, effect=EFFECTS)
    def deliver(self, back: int, effect: Effect) -> None:
        claim = self.lately(back)
        self.run(self.queue.settle([Settlement(claim, Delivered(), effect)], now=self.now))
        if claim.entry_id in self.waiting and self.asked.get(claim.entry_id, 0) in (0, claim.asked):
            self.leave(claim.entry_id)
            self.done.add(claim.entry_id)

    @CLAIMED
    @rule(back=BACK, effect=EFFECTS, wait=st.sampled_from([0.0, 5.0, 300.0]))
    def fail(self, back: int, effect: Effect, wait: float) -> None:
        claim = self.lately(back)
        again = Retried(self.now + wait, msgspec.structs.replace(RECORD, asked=claim.asked))
        settled = self.run(self.queue.settle([Settlement(claim, again, effect)], now=self.now))
        if settled.settled:
            self.later[claim.entry_id] = self.now + wait

    @CLAIMED
    @rule(back=BACK, effect=EFFECTS)
    def die(self, back: int, effect: Effect) -> None:
        claim = self.lately(back)
        settled = self.run(self.queue.settle([Settlement(claim, Died(RECORD, b""), effect)], now=self.now))
        if settled.settled:
            self.dead.setdefault(claim.entry_id, claim.entry_id in self.lined)
            self.leave(claim.entry_id)

    @CLAIMED
    @rule(back=BACK)
    def give_back(self, back: int) -> None:
        claim = self.lately(back)
        self.run(self.queue.settle([Settlement(claim, GiveBack())], now=self.now))

    @rule()
    def pause(self) -> None:
        self.run(control.pause(self.redis, KEYS, "one", self.now))
        found = self.run(self.queue.claim(now=self.now, seconds=1, most=100))
        self.draw(found)
        assert found.claims == []
        self.told(found, settled=True)

    @rule()
    def resume(self) -> None:
        self.run(control.resume(self.redis, KEYS, "one", self.now))
        self.later.clear()

    @rule()
    def replay(self) -> None:
        async def step() -> None:
            async for _ in replay(self.redis, KEYS, self.to, low=0, high=2**43, now=self.now):
                pass

        self.run(step())
        again = (self.done | self.dead.keys()) - self.gone
        self.asked |= dict.fromkeys(again - self.waiting, int(self.now * 1000))
        self.wait_for(again)
        self.done &= self.gone

    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """As when somebody else trims the stream."""
        if there := sorted(self.tasks.keys() - self.gone, key=place):
            entry_id = data.draw(st.sampled_from(there))
            self.run(self.delete(entry_id))
            self.gone.add(entry_id)

    async def delete(self, entry_id: str) -> None:
        await self.redis.xdel(KEYS.events, entry_id)

    @rule()
    def drop(self) -> None:
        dropped = self.run(control.forget(self.redis, KEYS, "one"))
        assert dropped >= len(self.waiting) + bool(self.left - self.gone)
        self.done |= self.waiting | self.left | self.dead.keys()
        self.waiting.clear()
        self.left.clear()
        self.later.clear()
        self.asked.clear()
        self.overtaken.clear()
        self.dead.clear()

    @rule(again=st.booleans())
    def empty_the_dead_letters(self, again: bool) -> None:
        async def step() -> None:
            ids = [letter.id async for letter in letters(self.redis, KEYS, "one", Choice())]
            if again:
                await retry(self.redis, KEYS, "one", ids, self.now, coalesce=self.to.coalesce)
            else:
                await drop(self.redis, KEYS, "one", ids)

        self.run(step())
        for entry_id, lined in self.dead.items():
            if entry_id in self.waiting:
                continue
            if again:
                self.waiting.add(entry_id)
                self.asked[entry_id] = int(self.now * 1000)
                self.lined = self.lined | {entry_id} if lined else self.lined - {entry_id}
            else:
                self.done.add(entry_id)
        self.dead.clear()

    async def look(self) -> tuple[list[str], dict[str, float], list[str], set[str], dict[str, str], int]:
        waiting: Any = await self.redis.zrange(KEYS.waiting("one"), 0, -1)
        due: Any = await self.redis.zrange(KEYS.due("one"), 0, -1, withscores=True)
        claimed: Any = await self.redis.zrange(KEYS.claimed("one"), 0, -1)
        dead: Any = await self.redis.xrange(KEYS.dead("one"))
        ordered: Any = await self.redis.hgetall(KEYS.ordered("one"))
        return (
            [each.decode() for each in waiting],
            {each.decode(): at for each, at in due},
            [each.decode() for each in claimed],
            {letter[b"entry_id"].decode() for _, letter in dead},
            {each.decode(): task.decode() for each, task in ordered.items()},
            await self.redis.zcard(KEYS.line("one")),
        )

    @invariant()
    def each_is_in_one_place_and_nothing_stands_behind_nothing(self) -> None:
        if not hasattr(self, "queue"):
            return
        waiting, due, claimed, dead, ordered, in_line = self.run(self.look())
        assert set(waiting) == self.waiting
        assert dead == set(self.dead)
        assert not set(due) & set(claimed), "never in both"
        assert ordered.keys() == self.lined & self.waiting
        assert {*due, *claimed} | ordered.keys() == set(waiting), "in one of them, or behind another"
        lines: dict[str, list[str]] = {}
        for entry_id, task in ordered.items():
            if task.startswith(">"):
                assert due.get(entry_id, -1) == -1
                assert place(task[1:]) > place(entry_id)
                assert self.tasks[task[1:]] == self.tasks[entry_id], "by a newer one of the same task"
                assert entry_id in due or entry_id in claimed
            else:
                lines.setdefault(task.split()[0], []).append(entry_id)
        assert in_line == sum(map(len, lines.values()))
        for line in lines.values():
            assert len({self.tasks[each] for each in line}) == 1
            [going] = [each for each in line if each in due or each in claimed]
            assert going in claimed or going == min(line, key=place), (
                "the first, unless it was claimed before"
            )


def test_no_delivery_is_ever_in_two_places_or_in_none(redis_server: Server) -> None:
    class Here(Deliveries):
        def __init__(self) -> None:
            super().__init__(redis_server.url)

    run_state_machine_as_test(
        Here,
        settings=settings(max_examples=settings().max_examples, stateful_step_count=40, deadline=None),
    )
