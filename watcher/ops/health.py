"""Whether the daemon does its work: a decision on facts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STALE_AFTER: Final = 3
"""Intervals after which the last complete scan is too old to be called ready.

Where the budget allows the scopes, being so many, a look less often than once an interval, it is as many of those.
"""


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What is known of one shard.

    ``held``: this process polls it. ``held_elsewhere``: another does. ``scan_age`` is the seconds since the
    scope that waits longest had a complete scan, None before the first. ``pause`` is the seconds that are planned
    from one scan of a scope to the next, at most. ``trouble`` says why a scan failed, or the
    store refused the lease.
    """

    shard: int
    held: bool
    held_elsewhere: bool
    scan_age: float | None
    trouble: str | None
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What readiness depends on.

    ``interval`` is in seconds, ``store_trouble`` None while the store answers, ``refused`` why it did not take what
    this replica wrote last, None where it did, and ``paused`` the seconds for which the API wants no requests, 0 when
    it takes them.
    """

    interval: float
    store_trouble: str | None
    dead_workers: Sequence[str]
    shards: Sequence[ShardFacts]
    paused: float = 0.0
    refused: str | None = None


def reasons_not_ready(facts: Facts) -> list[str]:
    """Why the daemon is not ready, in words for an operator; empty when it is."""
    reasons = [f"worker {name} has died and is being started again" for name in facts.dead_workers]
    if facts.store_trouble is not None:
        return [*reasons, f"the store is away: {facts.store_trouble}"]
    if facts.refused is not None:
        reasons.append(f"the store did not take this replica's last write: {facts.refused}")
    found = [(shard.shard, reason) for shard in facts.shards if (reason := _shard(shard, facts))]
    several = len(facts.shards) > 1
    return [*reasons, *(f"shard {shard}: {reason}" if several else reason for shard, reason in found)]


def _shard(shard: ShardFacts, facts: Facts) -> str | None:
    because = f" (last trouble: {shard.trouble})" if shard.trouble else ""
    if not shard.held:
        return None if shard.held_elsewhere else f"nobody holds the lease yet{because}"
    if facts.paused >= 1:
        because = f" (the API wants no requests for another {facts.paused:.0f} s)"
    if shard.scan_age is None:
        return f"no complete scan yet{because}"
    if shard.scan_age > STALE_AFTER * max(facts.interval, shard.pause):
        return f"the last complete scan was {shard.scan_age:.0f} s ago{because}"
    return None
