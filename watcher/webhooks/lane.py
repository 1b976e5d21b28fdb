"""One endpoint's deliveries, from the claim to the settlement, apart from every other endpoint's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from watcher.clock import Clock
from watcher.fleet.slots import Slots
from watcher.steps import Step, reached
from watcher.webhooks.courier import Attempted, Courier, Ready
from watcher.webhooks.delivery import GiveBack, Settlement
from watcher.webhooks.outage import Outage
from watcher.webhooks.outcome import Reason
from watcher.webhooks.pace import Ahead, size_of
from watcher.webhooks.permission import Permission
from watcher.webhooks.queue import Claims, DeliveryQueue
from watcher.webhooks.settler import Settler
from watcher.webhooks.word import Word

_IDLE_SECONDS: Final = 0.5
"""Longest wait between two looks: another replica may have accepted deliveries for this lane, or left it its slots."""

_SHORTEST_SECONDS: Final = 0.001
"""Shortest wait between two looks that find nothing: the store counts in milliseconds."""

_log = structlog.get_logger()


class Lane:
    """Delivers to one endpoint, ``concurrency`` at once, no more than there are ``slots``, as soon as it is permitted.

    The slots are shared with the endpoint's lanes of other shards, and are this replica's part of them all. Where
    the permission has a rate, the queue gives only so many a second, so nothing is claimed before it can be sent
    at once.
    """

    def __init__(
        self,
        name: str,
        queue: DeliveryQueue,
        courier: Courier,
        *,
        permission: Permission,
        concurrency: int,
        slots: Slots,
        clock: Clock,
        outage: Outage,
        jitter: Callable[[], float],
        word: Word,
    ) -> None:
        self._name = name
        self._queue = queue
        self._courier = courier
        self._concurrency = concurrency
        self._slots = slots
        self._clock = clock
        self._outage = outage
        self._permission = permission
        self._ahead = Ahead(clock.monotonic())
        self._settler = Settler(
            name,
            queue,
            outage,
            courier.conclude,
            lambda: 1 if self._ready.empty() else self._ahead.at_once,
            clock,
            jitter,
            self._halt,
            word.spread,
            self.wake,
        )
        self._word = word
        self._ready: asyncio.Queue[tuple[Ready, int] | None] = asyncio.Queue()
        self._asking: asyncio.Task[None] | None = None
        self._low = 0
        self._idle = concurrency
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._halted = False
        self._halts = 0
        self._failed = 0

    def wake(self) -> None:
        """Look at once whether something is due."""
        self._news.set()

    def accepted(self, number: int, size: int) -> None:
        """So many events, of so many bytes together, were accepted, of which some are for this lane."""
        self._ahead.accepted.came(number, size)
        self._news.set()

    def stop(self) -> None:
        """Claim no more, give back what has not been begun, and let ``run`` end when the rest is done."""
        if self._stopping:
            return  # what is ready by now may be the workers' ends
        self._stopping = True
        self._halts += 1
        self._give_back_ready()
        self._news.set()
        self._room.set()
        if self._asking is not None:
            self._asking.cancel()

    async def run(self) -> None:
        """Deliver until stopped. Cancelled, it gives back what is under way."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._settler.run(), name=f"settle {self._name}")
                asking = self._asking = group.create_task(
                    self._permission.run(self._reconsider), name=f"permission {self._name}"
                )
                telling = group.create_task(self._word.run(), name=f"pass on {self._name}")
                await self._work()
                asking.cancel()
                telling.cancel()
        finally:
            self._give_back_ready()
            await self._settler.drain()
            await self._word.drain()

    def _reconsider(self) -> None:
        """The endpoint has said whether it may be sent to."""
        if self._permission.granted:
            self._room.set()
        elif not self._stopping:
            self._halts += 1
            self._give_back_ready()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supply(), name=f"claim {self._name}")
            for number in range(self._concurrency):
                group.create_task(self._deliver(), name=f"deliver {self._name} {number}")
        self._settler.close()

    async def _supply(self) -> None:
        """Keep the workers supplied with claims."""
        while not self._stopping:
            if self._halted:
                await self._settler.written()  # only then does the store know that it is to give nothing
                self._halted = False
            if not self._slots.size:
                self._news.clear()
                await self._wait_for(self._news, _IDLE_SECONDS)
                continue
            most = self._wanted()
            if most < 1:
                self._room.clear()
                await self._wait_for(self._room, _IDLE_SECONDS)  # or until there are more slots
                continue
            # Before the look, so that news that come meanwhile are not missed.
            self._news.clear()
            found = await self._claim(most)
            if len(found.claims) < most:
                until = _IDLE_SECONDS if found.next_due is None else found.next_due - self._clock.time()
                await self._wait_for(self._news, min(max(until, _SHORTEST_SECONDS), _IDLE_SECONDS))
        self._give_back_ready()
        for _ in range(self._concurrency):
            self._ready.put_nowait(None)

    def _wanted(self) -> int:
        """How many to claim now. Few at a time only while few are wanted at all."""
        if not self._permission.granted:
            return 0
        free = min(self._free(), self._ahead.portion)
        if self._permission.rate() is not None:
            return free - self._ready.qsize()
        target = max(free, self._ahead.size(self._clock.monotonic()))
        self._low = target // 2
        return target - self._ready.qsize() if self._ready.qsize() <= self._low else 0

    def _free(self) -> int:
        """How many could be sent at once. One at least where anybody is idle: it waits for a slot in its turn."""
        return min(self._idle, max(1, self._slots.size - self._slots.used))

    async def _claim(self, most: int) -> Claims:
        async def step() -> Claims:
            if self._stopping:  # meanwhile others may know better what the endpoint wants of what lags
                return Claims([], None)
            seconds = self._courier.claim_seconds
            return await self._queue.claim(now=self._clock.time(), seconds=seconds, most=most)

        turns = self._slots.turns
        found = await self._outage.through(f"claim {self._name}", step)
        if found.claims:
            reached(Step.DELIVERIES_CLAIMED)
            self._ahead.claimed.came(len(found.claims), sum(size_of(claim.fields) for claim in found.claims))
        if found.gone:
            _log.error("webhooks.events_gone", endpoint=self._name, count=found.gone)
        for overtaken in found.overtaken:
            self._settler.add(self._courier.pass_over(overtaken))
        for claim in found.claims:
            self._ready.put_nowait((self._courier.prepare(claim), turns))
        if self._halted or self._stopping or not self._permission.granted:
            self._give_back_ready()  # claimed before it was known
        return found

    async def _wait_for(self, event: asyncio.Event, seconds: float) -> None:
        """Wait for an event, so many seconds at most."""

        async def ring() -> None:
            await self._clock.sleep(seconds)
            event.set()

        timer = asyncio.create_task(ring(), name=f"timer {self._name}")
        try:
            await event.wait()
        finally:
            timer.cancel()

    async def _deliver(self) -> None:
        """Deliver one claim after the other."""
        while True:
            if self._ready.qsize() <= self._low:
                self._room.set()
            one = await self._ready.get()
            if one is None:
                return
            ready, turns = one
            self._idle -= 1
            self._ahead.sent()
            halts = self._halts
            result: Attempted | GiveBack = GiveBack()  # what a cancellation leaves
            try:
                async with self._slots:
                    if halts == self._halts and turns == self._slots.turns:
                        result = await self._courier.attempt(ready)
            finally:
                self._idle += 1
                stops = self._settle(ready, result)
            if stops:
                with self._slots.closed():  # to all who share them: what they have claimed was claimed before
                    await self._settler.written()
                    await self._word.told()

    def _settle(self, ready: Ready, result: Attempted | GiveBack) -> bool:
        """Have it written down. Whether nothing more is to be sent to the endpoint by anybody."""
        if isinstance(result, GiveBack):
            self._settler.add(Settlement(ready.claim, result))
            return False
        self._settler.add(result)
        if result.attempt.reason is Reason.SUCCESS:
            self._failed = 0
            return False
        effect = result.effect
        self._failed = self._failed + 1 if effect.failed else 0
        if effect.stops or self._failed >= self._queue.threshold:
            self._failed = 0
            self._halt()
        return effect.stops

    def _halt(self) -> None:
        """Begin nothing more that was claimed before the store knows that there is to be none."""
        if not self._stopping:  # else the supply does it, and what is ready then are the workers' ends
            self._halted = True
            self._halts += 1
            self._give_back_ready()

    def _give_back_ready(self) -> None:
        while not self._ready.empty():
            if (one := self._ready.get_nowait()) is not None:
                self._settler.add(Settlement(one[0].claim, GiveBack()))
