"""What follows from the settings alone, for the daemon and for commands that do a part of its work."""

from __future__ import annotations

from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.model import Micros, to_iso
from watcher.monite.budget import Window
from watcher.polling.diff import kinds_of
from watcher.polling.policy import PollPolicy
from watcher.polling.recorder import Publication
from watcher.settings import Settings
from watcher.state.budget import SharedBudget
from watcher.state.keys import Keys


def policy_of(settings: Settings) -> PollPolicy:
    """How to poll."""
    return PollPolicy(
        start=settings.poll.start,
        kinds=kinds_of(frozenset(settings.events.types)),
        interval=settings.poll.interval,
        horizon=settings.poll.horizon,
        stalled_after=settings.poll.stalled_after,
        target_delay=settings.poll.target_delay,
    )


def publication_of(settings: Settings) -> Publication:
    """How events look."""
    return Publication(
        namespace=settings.redis.namespace,
        source=f"{settings.monite.base_url}/ocr_tasks",
        recognized_data=settings.events.recognized_data,
        document_types=frozenset(settings.monite.document_types),
    )


def doubts(settings: Settings, now: Micros) -> list[str]:
    """What may be meant and is more likely a slip: a line each, naming the setting and how to mend it."""
    start = settings.poll.start
    if isinstance(start, str) or start <= now:
        return []
    return [
        f"WATCHER_POLL__START: {to_iso(start)} lies in the future, and no task created before it is ever told of; "
        "give an earlier time, baseline or all, unless that is meant"
    ]


def budget_of(settings: Settings, redis: Redis, clock: Clock) -> SharedBudget:
    """The request budget that everything with these settings shares; its keys are the same for all shards."""
    window = Window.of_rate(settings.monite.requests_per_second)
    keys = Keys(settings.redis.namespace, 0, settings.redis.shards)
    return SharedBudget(redis, keys, clock, limit=window.limit, window_seconds=window.length)
