"""Reads the events and makes deliveries of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from redis.exceptions import RedisError

from watcher.clock import Clock
from watcher.events.envelope import EventFormatError
from watcher.events.group import GroupLost
from watcher.settings import Endpoint
from watcher.steps import Step, reached
from watcher.webhooks.group import Accepted, Entry, EventGroup
from watcher.webhooks.outage import Outage
from watcher.webhooks.pace import Portion, size_of
from watcher.webhooks.routing import Routed, Router

_BLOCK_MS: Final = 1000
_LEAVE_SECONDS: Final = 2.0

TAKE_OVER_AFTER: Final = 10.0
"""Seconds after which entries of a consumer that said nothing are taken over; accepting a batch takes a few
milliseconds. Should the other one still live, acceptance is decided in the store, and only one gets it."""
_TAKE_OVER_EVERY: Final = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one turn did. ``read`` counts entries, ``accepted`` those that this process accepted first."""

    read: int
    accepted: int
    deliveries: int

    def __add__(self, other: Dispatched) -> Dispatched:
        return Dispatched(
            self.read + other.read, self.accepted + other.accepted, self.deliveries + other.deliveries
        )


class Dispatcher:
    """Fans events out to the endpoints. Any number may run: each entry is accepted by exactly one.

    ``told`` is called with an endpoint's position whenever it got deliveries, and with the number and the bytes of the
    events among which they were.
    """

    def __init__(
        self,
        group: EventGroup,
        endpoints: Sequence[Endpoint],
        *,
        clock: Clock,
        outage: Outage,
        told: Callable[[int, int, int], None],
        take_over_after: float = TAKE_OVER_AFTER,
    ) -> None:
        self._group = group
        self._places = group.places(endpoints)
        self._router = Router(endpoints)
        self._clock = clock
        self._outage = outage
        self._told = told
        self._portion = Portion()
        self._idle_ms = int(take_over_after * 1000)
        self._take_over_at = clock.monotonic()
        self._stopping = False

    def stop(self) -> None:
        """Let ``run`` end after its turn. Cancelling it besides ends a turn that only waits."""
        self._stopping = True

    async def run(self) -> None:
        """Dispatch until stopped or cancelled; what was read by then is accepted before it ends."""
        try:
            await self._start()
            while not self._stopping:
                try:
                    await self._outage.through("dispatch", self.run_once)
                except GroupLost:
                    _log.warning("webhooks.group_lost")
                    await self._start()
        finally:
            # A cancelled read may have been given entries already.
            with suppress(RedisError, GroupLost, TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self.accept_pending()

    async def run_once(self) -> Dispatched:
        """Accept what is new, after at most a second, and what others have left lying, now and then.

        Raises:
            GroupLost: the group has to be made again.
            redis.RedisError: the store is in trouble; nothing is lost.
        """
        left = Dispatched(0, 0, 0)
        if self._clock.monotonic() >= self._take_over_at:
            most = self._portion.number
            left = await self._dispatch(await self._group.take_over(idle_ms=self._idle_ms, count=most))
            if left.read < most:
                self._take_over_at = self._clock.monotonic() + _TAKE_OVER_EVERY
        entries = await self._group.read(count=self._portion.number, block_ms=_BLOCK_MS)
        return left + await self._dispatch(entries)

    async def accept_pending(self) -> None:
        """Accept what this consumer was given and has not accepted."""
        most = 0
        accepted = Dispatched(0, 0, 0)
        while accepted.read >= most:
            most = self._portion.number
            accepted = await self._dispatch(await self._group.pending(count=most))

    async def _start(self) -> None:
        start = await self._outage.through("join", self._group.join)
        if start is not None:
            _log.info("webhooks.group_created", after=start)
        with suppress(GroupLost):  # then the first read says so too
            await self._outage.through("pending", self.accept_pending)

    async def _dispatch(self, entries: Sequence[Entry]) -> Dispatched:
        if not entries:
            return Dispatched(0, 0, 0)
        reached(Step.ENTRIES_READ)
        size = sum(size_of(fields) for _, fields in entries)
        self._portion.came(len(entries), size)
        routed = [self._route(entry_id, fields) for entry_id, fields in entries]
        reached(Step.ENTRIES_ROUTED)
        accepted = await self._accept(routed)
        reached(Step.ENTRIES_ACCEPTED)
        done = Dispatched(len(entries), accepted.entries, accepted.deliveries)
        while accepted.behind:
            # The oldest first, whoever has it: who accepts an entry is decided in the store.
            done += await self._dispatch(await self._group.take_over(idle_ms=0, count=self._portion.number))
            accepted = await self._accept(routed)
            done += Dispatched(0, accepted.entries, accepted.deliveries)
        for position in {position for one in routed for position in one.endpoints}:
            self._told(position, len(entries), size)
        return done

    async def _accept(self, routed: Sequence[Routed]) -> Accepted:
        return await self._group.accept(routed, self._places, now=self._clock.time())

    def _route(self, entry_id: str, fields: dict[bytes, bytes]) -> Routed:
        try:
            return self._router.route(entry_id, fields)
        except EventFormatError as error:
            # Accepted for nobody, so that it is said once and does not come again.
            _log.warning("webhooks.entry_ignored", entry_id=entry_id, why=str(error))
            return Routed(entry_id, ())
