"""An endpoint's deliveries beside a plain model, whatever is done to them in whatever order, on a real server.

Each is in one place: it waits (and is either due or claimed), it was delivered, or it is a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.integration.conftest import Server
from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, publish
from watcher.state.connection import connect
from watcher.webhooks import control
from watcher.webhooks.group import GROUP, EventGroup
from watcher.webhooks.letters import Choice, drop, letters, retry
from watcher.webhooks.outcome import Delivered, Effect, Reason
from watcher.webhooks.queue import (
    Breaker,
    Claim,
    DeliveryQueue,
    Died,
    GiveBack,
    Record,
    Retried,
    Settlement,
)
from watcher.webhooks.replay import replay
from watcher.webhooks.routing import Routed

T = TypeVar("T")
CLAIM_SECONDS = 30.0
RECORD = Record(1, 5, 6, 500, Reason.HTTP_5XX)
EFFECTS = st.sampled_from(
    [Effect(), Effect(failed=True), Effect(failed=True, hold_until=NOW + 60), Effect(gone=True)]
)


class Deliveries(RuleBasedStateMachine):
    """The store's steps as rules; ``waiting``, ``done`` and ``dead`` are what they should come to."""

    claims = Bundle("claims")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = NOW
        self.waiting: set[str] = set()
        self.done: set[str] = set()
        self.dead: set[str] = set()
        self.published = 0
        self.redis = connect(url)

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    @initialize()
    def begin(self) -> None:
        async def step() -> None:
            await self.redis.flushall()
            self.group = EventGroup(self.redis, KEYS, "me")
            self.queue = DeliveryQueue(self.redis, KEYS, "one", Breaker(threshold=2, patience=200.0))
            await self.group.join()

        self.run(step())

    def teardown(self) -> None:
        self.run(self.redis.aclose())
        self.runner.close()

    @rule(number=st.integers(1, 4))
    def publish(self, number: int) -> None:
        async def step() -> list[str]:
            events = [event(self.published + each) for each in range(number)]
            ids = await publish(self.redis, *events)
            await self.accept()
            return ids

        self.waiting |= set(self.run(step()))
        self.published += number

    async def accept(self) -> None:
        found = await self.group.read(count=1000, block_ms=1)
        await self.group.accept([Routed(entry_id, (0,)) for entry_id, _ in found], [endpoint()], now=self.now)

    @rule()
    def read_what_waits_again(self) -> None:
        """As when the group was lost and its cursor had not come so far."""

        async def step() -> None:
            found: Any = await self.redis.zrange(KEYS.waiting("one"), 0, -1)
            for entry_id in found:
                ms, sequence = entry_id.decode().split("-")
                before = f"{ms}-{int(sequence) - 1}" if int(sequence) else f"{int(ms) - 1}-{2**64 - 1}"
                await self.redis.xgroup_setid(KEYS.events, GROUP, before)
                one = await self.group.read(count=1, block_ms=1)
                routed = [Routed(each, (0,)) for each, _ in one if each == entry_id.decode()]
                await self.group.accept(routed, [endpoint()], now=self.now)
            await self.redis.xgroup_setid(KEYS.events, GROUP, "$")

        self.run(step())

    @rule(seconds=st.sampled_from([0.5, 3.0, 29.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=claims, most=st.integers(1, 5))
    def claim(self, most: int) -> Any:
        found = self.run(self.queue.claim(now=self.now, seconds=CLAIM_SECONDS, most=most)).claims
        assert {one.entry_id for one in found} <= self.waiting
        return multiple(*found)

    @rule(claim=claims, effect=EFFECTS)
    def deliver(self, claim: Claim, effect: Effect) -> None:
        self.run(self.queue.settle([Settlement(claim, Delivered(), effect)], now=self.now))
        if claim.entry_id in self.waiting:
            self.waiting.discard(claim.entry_id)
            self.done.add(claim.entry_id)

    @rule(claim=claims, effect=EFFECTS, wait=st.sampled_from([0.0, 5.0, 300.0]))
    def fail(self, claim: Claim, effect: Effect, wait: float) -> None:
        self.run(
            self.queue.settle([Settlement(claim, Retried(self.now + wait, RECORD), effect)], now=self.now)
        )

    @rule(claim=claims, effect=EFFECTS)
    def die(self, claim: Claim, effect: Effect) -> None:
        settled = self.run(self.queue.settle([Settlement(claim, Died(RECORD, b""), effect)], now=self.now))
        if settled.settled:
            self.waiting.discard(claim.entry_id)
            self.dead.add(claim.entry_id)

    @rule(claim=claims)
    def give_back(self, claim: Claim) -> None:
        self.run(self.queue.settle([Settlement(claim, GiveBack())], now=self.now))

    @rule()
    def pause(self) -> None:
        self.run(control.pause(self.redis, KEYS, "one", self.now))
        assert self.run(self.queue.claim(now=self.now, seconds=1, most=100)).claims == []

    @rule()
    def resume(self) -> None:
        self.run(control.resume(self.redis, KEYS, "one", self.now))

    @rule()
    def replay(self) -> None:
        async def step() -> None:
            async for _ in replay(self.redis, KEYS, endpoint(), low=0, high=2**43, now=self.now):
                pass

        self.run(step())
        self.waiting |= self.done | self.dead
        self.done.clear()

    @rule(again=st.booleans())
    def empty_the_dead_letters(self, again: bool) -> None:
        async def step() -> set[str]:
            found = [letter async for letter in letters(self.redis, KEYS, "one", Choice())]
            ids = [letter.id for letter in found]
            await (
                retry(self.redis, KEYS, "one", ids, self.now) if again else drop(self.redis, KEYS, "one", ids)
            )
            return set()

        self.run(step())
        if again:
            self.waiting |= self.dead
        self.done |= self.dead - self.waiting
        self.dead.clear()

    @invariant()
    def each_is_in_one_place(self) -> None:
        async def look() -> tuple[list[str], list[str], list[str], set[str]]:
            places = [KEYS.waiting("one"), KEYS.due("one"), KEYS.claimed("one")]
            found: list[Any] = [await self.redis.zrange(place, 0, -1) for place in places]
            dead: Any = await self.redis.xrange(KEYS.dead("one"))
            waiting, due, claimed = ([each.decode() for each in place] for place in found)
            return waiting, due, claimed, {letter[b"entry_id"].decode() for _, letter in dead}

        if not hasattr(self, "queue"):
            return
        waiting, due, claimed, dead = self.run(look())
        assert set(waiting) == self.waiting
        assert sorted(due + claimed) == sorted(waiting), "in one of them, and not in both"
        assert dead == self.dead


def test_no_delivery_is_ever_in_two_places_or_in_none(redis_server: Server) -> None:
    class Here(Deliveries):
        def __init__(self) -> None:
            super().__init__(redis_server.url)

    run_state_machine_as_test(
        Here,
        settings=settings(max_examples=settings().max_examples, stateful_step_count=30, deadline=None),
    )
