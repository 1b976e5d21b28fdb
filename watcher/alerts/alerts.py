"""Reads the events, and tells people of those that they must know of.

What people have not been told of stays pending in the consumer group, so that whoever holds the shard's lease
next tells them: every error is told at least once, at most one message at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from redis.asyncio import Redis

from watcher.alerts.channel import Channel, first_untold
from watcher.alerts.grouping import Group, Occurrence
from watcher.alerts.message import Message, compose
from watcher.alerts.reading import occurrence_of
from watcher.clock import Clock
from watcher.events.envelope import EventFormatError
from watcher.events.group import ConsumerGroup, First, GroupLost
from watcher.metrics import Metrics
from watcher.state.keys import Keys

GROUP: Final = "alerts"
CONSUMER: Final = "leader"
"""One name for whoever holds the lease: a successor goes on with its predecessor's pending entries."""

TICK: Final = 1.0
"""Seconds between two looks at the stream. None of them waits at the server: a reader that died while it waited
there would still be given an entry, and nobody would see it."""

_BATCH: Final = 200
_BEGINNING: Final = "0-0"

_log = structlog.get_logger()


class NotAccepted(Exception):  # noqa: N818 - an answer, not a fault of the caller
    """A notification was not accepted; its text says why in a few words, without any part of a URL."""


class Notifier(Protocol):
    """Tells people, over one way of reaching them."""

    @property
    def service(self) -> str:
        """What kind of way, for logs: never where it leads."""
        ...

    async def notify(self, message: Message) -> None:
        """Send a message. Raises ``NotAccepted``."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn did: stream entries read and acknowledged, notifications accepted and not accepted."""

    read: int = 0
    acknowledged: int = 0
    sent: int = 0
    failed: int = 0


class Alerts:
    """The alerts of one shard, in the process that holds its lease.

    Every method raises ``StoreUnavailable`` when the store does not answer; nothing is lost by it.
    """

    def __init__(
        self, redis: Redis, keys: Keys, notifiers: Sequence[Notifier], clock: Clock, metrics: Metrics
    ) -> None:
        self._group = ConsumerGroup(redis, keys, GROUP)
        self._notifiers = notifiers
        self._clock = clock
        self._metrics = metrics
        self._channels = [Channel() for _ in notifiers]
        self._reached = _BEGINNING
        self._held = 0

    async def prepare(self) -> None:
        """Make sure, before events are published, that they will be read.

        The very first time, alerts begin with what is published from then on.
        """
        await self._join_from("newest")

    async def run(self) -> None:
        """Tell people until cancelled. ``prepare`` comes first. What is pending is read anew each time."""
        self._begin()
        while True:
            await self.run_once()
            await self._clock.sleep(TICK)

    async def run_once(self) -> Turn:
        """Read what there is, notify of what is due, acknowledge what has been told."""
        try:
            read, passed = await self._read()
            sent, failed = await self._notify()
            return Turn(read, passed + await self._acknowledge_told(), sent, failed)
        except GroupLost:
            _log.warning("alerts.group_lost")
            self._begin()
            await self._join_from("oldest")
            return Turn()

    async def needed_from(self) -> str:
        """The stream id from which on entries are still needed; everything below it may be trimmed."""
        return await self._group.cursor() or _BEGINNING

    def _begin(self) -> None:
        self._channels = [one.begun_again() for one in self._channels]
        self._reached = _BEGINNING
        self._held = 0

    async def _join_from(self, first: First) -> None:
        start = await self._group.join(first=first)
        if start is not None:
            _log.info("alerts.group_created", after=start)

    async def _read(self) -> tuple[int, int]:
        """Entries read, and those acknowledged at once since nobody is told of them."""
        read = passed = 0
        while entries := await self._group.read(CONSUMER, self._reached, _BATCH):
            told_of = [(entry_id, self._occurrence(entry_id, fields)) for entry_id, fields in entries]
            passed += await self._group.acknowledge([entry_id for entry_id, one in told_of if one is None])
            self._gather([one for _, one in told_of if one is not None])
            self._reached = entries[-1][0]
            read += len(entries)
        return read, passed

    def _gather(self, occurrences: Sequence[Occurrence]) -> None:
        now = self._clock.monotonic()
        for one in occurrences:
            self._channels = [channel.add(one, now) for channel in self._channels]
        self._held += len(occurrences)

    @staticmethod
    def _occurrence(entry_id: str, fields: Mapping[bytes, bytes] | None) -> Occurrence | None:
        if fields is None:
            # It was pending, so it was to be told; what it said nobody knows any more.
            _log.warning("alerts.entry_gone", entry_id=entry_id)
            return None
        try:
            return occurrence_of(entry_id, fields)
        except EventFormatError as error:
            _log.warning("alerts.entry_ignored", entry_id=entry_id, why=str(error))
            return None

    async def _notify(self) -> tuple[int, int]:
        """Notifications accepted and not accepted. The notifiers are told at the same time."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._notify_one(position), name=f"alerts notifier {position + 1}")
                for position in range(len(self._notifiers))
            ]
        results = [task.result() for task in tasks]
        return sum(sent for sent, _ in results), sum(failed for _, failed in results)

    async def _notify_one(self, position: int) -> tuple[int, int]:
        sent = 0
        for group in self._channels[position].due(self._clock.monotonic()):
            trouble = await trouble_of(self._notifiers[position], compose(group))
            self._note(position, group, trouble)
            if trouble is not None:
                return sent, 1
            sent += 1
        return sent, 0

    def _note(self, position: int, group: Group, trouble: str | None) -> None:
        channel, now = self._channels[position], self._clock.monotonic()
        log = _log.bind(notifier=position + 1, service=self._notifiers[position].service)
        self._metrics.alerts_sent.labels("sent" if trouble is None else "failed").inc()
        if trouble is None:
            self._channels[position] = channel.told(group.kind, now)
            if channel.failing_since is not None:
                seconds = round(now - channel.failing_since, 3)
                log.info("alert.recovered", failures=channel.failures, seconds=seconds)
            log.info("alert.sent", kind=group.kind.value, count=group.count)
        else:
            self._channels[position] = channel.failed(now)
            if channel.failing_since is None:
                log.warning("alert.failed", kind=group.kind.value, count=group.count, reason=trouble)

    async def _acknowledge_told(self) -> int:
        """Acknowledge every entry before the first that somebody has yet to be told of."""
        if not self._held:
            return 0
        untold = first_untold(self._channels, self._clock.monotonic())
        end = self._reached if untold is None else f"({untold}"
        done = 0
        while entry_ids := await self._group.pending(CONSUMER, end, _BATCH):
            done += await self._group.acknowledge(entry_ids)
        self._held -= done
        return done


async def trouble_of(notifier: Notifier, message: Message) -> str | None:
    """Why a message was not accepted; None when it was."""
    try:
        await notifier.notify(message)
    except NotAccepted as error:
        return str(error)
    except Exception as error:
        # All of them: a notifier's own fault must not stop the others. Its text might hold the URL.
        return type(error).__name__
    return None
