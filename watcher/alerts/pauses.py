"""Tells people of endpoints that the watcher has paused: nothing is sent to one until somebody resumes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from watcher.alerts.alerts import Notifier, trouble_of
from watcher.alerts.grouping import Kind
from watcher.alerts.message import Message
from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.model import Pause, from_seconds, to_iso
from watcher.state.keys import Keys
from watcher.state.store import store_errors

LOOK: Final = 10.0
"""Seconds between two looks."""

_WHY: Final[dict[str, str]] = {
    Pause.GONE: "It answered 410 Gone, so it wants no more webhooks.",
    Pause.FAILING: "Every delivery to it has failed for days.",
}

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Found:
    """A pause, since when, and since when the one was that people have been told of (unix milliseconds)."""

    reason: str
    since: int
    told: int | None


class PauseAlerts:
    """The paused endpoints of one shard, for the process that holds its lease.

    That people have been told is written beside the pause, so each pause is told once, by whoever leads. What an
    endpoint told one shard is passed on to all, and several may learn of it by themselves at a time: the leader of the
    first of ``shards`` that did tells it.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        notifiers: Sequence[Notifier],
        clock: Clock,
        metrics: Metrics,
        shards: Callable[[], Sequence[Keys]] = tuple,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._notifiers = notifiers
        self._clock = clock
        self._metrics = metrics
        self._shards = shards
        self._failing = False

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        while True:
            await self.run_once()
            await self._clock.sleep(LOOK)

    async def run_once(self) -> int:
        """Tell of every pause that nobody has been told of; how many notifications were accepted.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        sent = 0
        with store_errors():
            names: Any = await self._redis.smembers(self._keys.endpoints)
            for name in sorted(name.decode() for name in names):
                found = await self._found(self._keys, name)
                # What was told is the pause that began then, and no later one.
                if found is None or found.told == found.since or await self._others_to_tell(name, found):
                    continue
                message = compose_pause(name, found.reason, found.since / 1000)
                if accepted := await self._tell(name, message):
                    sent += accepted
                    await self._redis.hset(self._keys.lane(name), "told", found.since)
        return sent

    async def _found(self, keys: Keys, name: str) -> _Found | None:
        """The pause that a shard found out about by itself. Whoever pauses one by hand knows it."""
        fields: Any = await self._redis.hmget(keys.lane(name), "paused", "paused_at", "told", "paused_by")
        reason, since, told, by = (None if each is None else each.decode() for each in fields)
        if reason is None or since is None or reason == Pause.BY_HAND or by is not None:
            return None
        return _Found(reason, int(since), None if told is None else int(told))

    async def _others_to_tell(self, name: str, found: _Found) -> bool:
        """Whether another shard found out before; of the same moment, one whose tag comes before."""
        for keys in self._shards():
            if keys.tag == self._keys.tag:
                continue
            other = await self._found(keys, name)
            if other is not None and (other.since, keys.tag) < (found.since, self._keys.tag):
                return True
        return False

    async def _tell(self, name: str, message: Message) -> int:
        """How many notifiers took it; the others are not asked again, since people know."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(trouble_of(each, message)) for each in self._notifiers]
        troubles = [task.result() for task in tasks]
        for trouble in troubles:
            self._metrics.alerts_sent.labels("sent" if trouble is None else "failed").inc()
        accepted = sum(trouble is None for trouble in troubles)
        if accepted:
            _log.info("alert.sent", kind="endpoint_paused", endpoint=name)
        elif not self._failing:
            _log.warning("alert.failed", kind="endpoint_paused", endpoint=name, reason=troubles[0])
        self._failing = not accepted
        return accepted


def compose_pause(name: str, reason: str, since: float) -> Message:
    """What people are told of a pause that began at ``since`` (unix seconds)."""
    moment = to_iso(from_seconds(since))[:19].replace("T", " ")
    return Message(
        Kind.ERROR,
        f"Webhook endpoint {name} is paused",
        f"{_WHY.get(reason, reason)}\nSince {moment} UTC nothing is sent to it, and everything is kept.\n"
        f"Once it is mended: watcher endpoints resume {name}",
    )
