"""Every key that the watcher uses, under one hash tag a shard, so that one script can touch them all.

| key | type | holds |
|---|---|---|
| ``{ns}:lease`` | string | the holder's nonce; expires with the lease |
| ``{ns}:format`` | hash | the ``version`` of all this, and the ``next`` while it is being brought there |
| ``{ns}:mark`` | string | written to see what replicas have, or whether anything can be; expires |
| ``{ns}:scopes`` | set | keys of the scopes that are watched or of which something is remembered |
| ``{ns}:scope:<scope>`` | hash | ``start``: first-run rule, ``coverage``: intervals read, ``adopted``, … |
| ``{ns}:weight`` | string | what its scopes weigh in sharing the budget, and their number; expires as the lease does |
| ``{ns}:backfill`` | hash | what a backfill is to read, and how far it has come |
| ``{ns}:inflight:<scope>`` | sorted set | task id → created_at of what has not ended |
| ``{ns}:tasks:<scope>:<bucket>`` | hash | task id → record, for the tasks created in one hour |
| ``{ns}:buckets:<scope>`` | sorted set | the buckets there are, by their hour |
| ``{ns}:lifetimes`` | hash | document type → histogram of how long its tasks took |
| ``{ns}:events`` | stream | the events |
| ``{ns}:hinted`` | string | the id of the last hint that was taken in |
| ``{ns}:cursor:<group>`` | string | the id up to which a consumer group has acknowledged everything |
| ``{ns}:endpoints`` | set | names of the endpoints that ever had a delivery |
| ``{ns}:lagging`` | hash | endpoint whose events stay on the stream for now → from where on (``lag.lua``) |
| ``{ns}:due:<endpoint>`` | sorted set | stream id → when its next attempt is due (ms), -1 if it was superseded |
| ``{ns}:claimed:<endpoint>`` | sorted set | stream id → when the claim on it ends (ms); it is not in ``due`` |
| ``{ns}:lane:<endpoint>`` | hash | whether it is ``paused``, until when it is held, its ``failures`` in a row, … |
| ``{ns}:waiting:<endpoint>`` | sorted set | stream id → its time (ms), for what waits; what lags does not |
| ``{ns}:line:<endpoint>`` | sorted set | a task and a stream id, in the stream's order, where the order is kept |
| ``{ns}:ordered:<endpoint>`` | hash | stream id → its task, and when it is due; or ``>`` and what superseded it |
| ``{ns}:attempts:<endpoint>`` | hash | stream id → what its attempts gave so far |
| ``{ns}:kept:<endpoint>`` | hash | stream id → the event, of revived dead letters that the stream has dropped |
| ``{ns}:replay:<endpoint>`` | hash | the range that is being delivered again, and how far that has come |
| ``{ns}:dead:<endpoint>`` | stream | dead letters: the event, the reason, the last answer |
| ``{namespace}:layout`` | hash | ``shards`` that the state is spread over, the ``next`` number while it is moved, … |
| ``{namespace}:replicas`` | sorted set | replica that lives → when it joined (ms) |
| ``{namespace}:replicas:terms`` | sorted set | replica → until when it counts as living (ms) |
| ``{namespace}:replicas:doing`` | hash | replica → what it does |
| ``{namespace}:rate:<endpoint>`` | hash | the token bucket of an endpoint that has a rate |
| ``{namespace}:budget`` | sorted set | requests that started within the last window → when (µs) |
| ``{namespace}:budget:line`` | sorted set | request that waits to start → when it first asked to (µs) |
| ``{namespace}:budget:due`` | sorted set | request that waits to start → by when it must have asked again (µs) |
| ``{namespace}:budget:pause`` | string | there while no request may start; expires with the pause |
| ``{namespace}:hints`` | stream | hints for all shards: whoever gives one need not know of shards |

``{ns}`` is the shard's hash tag. What all shards share lies in the slot of ``{namespace}`` alone, so no script may
touch it together with a shard's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

from watcher.model import SECOND, Micros, Scope

BUCKET_WIDTH: Final = 3600 * SECOND
"""Span of ``created_at`` that one hash of records holds, in microseconds; it is forgotten at once."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one shard of a namespace."""

    namespace: str = "watcher"
    shard: int = 0
    shards: int = 1

    @property
    def tag(self) -> str:
        """The hash tag: ``{namespace}``, or ``{namespace:shard}`` where there are several shards."""
        return f"{{{self.namespace}}}" if self.shards == 1 else f"{{{self.namespace}:{self.shard}}}"

    @property
    def lease(self) -> str:
        """Key of the shard's lease."""
        return f"{self.tag}:lease"

    @property
    def format(self) -> str:
        """Key of the version of what the shard holds."""
        return f"{self.tag}:format"

    @property
    def mark(self) -> str:
        """Key that is written to see which replicas have everything before it, or whether the store takes writes."""
        return f"{self.tag}:mark"

    @property
    def scopes(self) -> str:
        """Key of the set of scopes."""
        return f"{self.tag}:scopes"

    @property
    def weight(self) -> str:
        """Key of what the shard's scopes weigh in the sharing of the budget."""
        return f"{self.tag}:weight"

    @property
    def backfill(self) -> str:
        """Key of the backfill that was asked for."""
        return f"{self.tag}:backfill"

    @property
    def lifetimes(self) -> str:
        """Key of what was learned of how long tasks take."""
        return f"{self.tag}:lifetimes"

    @property
    def events(self) -> str:
        """Key of the event stream; its name is part of the public contract."""
        return f"{self.tag}:events"

    @property
    def hints(self) -> str:
        """Key of the stream of hints, one for all shards; its name is part of the public contract."""
        return f"{{{self.namespace}}}:hints"

    @property
    def budget(self) -> str:
        """Key of the requests that started lately, of all shards."""
        return f"{{{self.namespace}}}:budget"

    @property
    def budget_line(self) -> str:
        """Key of the requests that wait to start, in their order."""
        return f"{{{self.namespace}}}:budget:line"

    @property
    def budget_due(self) -> str:
        """Key of when those that wait must have asked again."""
        return f"{{{self.namespace}}}:budget:due"

    @property
    def budget_pause(self) -> str:
        """Key of the pause in which no request starts."""
        return f"{{{self.namespace}}}:budget:pause"

    @property
    def layout(self) -> str:
        """Key of over how many shards the state is spread."""
        return f"{{{self.namespace}}}:layout"

    @property
    def replicas(self) -> str:
        """Key of the replicas that live, by when they joined."""
        return f"{{{self.namespace}}}:replicas"

    @property
    def replica_terms(self) -> str:
        """Key of until when each replica counts as living."""
        return f"{{{self.namespace}}}:replicas:terms"

    @property
    def replica_doing(self) -> str:
        """Key of what each replica does."""
        return f"{{{self.namespace}}}:replicas:doing"

    @property
    def hinted(self) -> str:
        """Key of the id up to which this shard has taken in the hints."""
        return f"{self.tag}:hinted"

    @property
    def endpoints(self) -> str:
        """Key of the set of endpoints' names."""
        return f"{self.tag}:endpoints"

    @property
    def lagging(self) -> str:
        """Key of from where on events stay on the stream for the endpoints that lag."""
        return f"{self.tag}:lagging"

    def scope(self, scope: Scope) -> str:
        """Key of a scope's progress."""
        return f"{self.tag}:scope:{scope.key}"

    def in_flight(self, scope: Scope) -> str:
        """Key of a scope's in-flight index."""
        return f"{self.tag}:inflight:{scope.key}"

    def tasks(self, scope: Scope, bucket: int) -> str:
        """Key of the records of one bucket."""
        return f"{self.tag}:tasks:{scope.key}:{bucket}"

    def buckets(self, scope: Scope) -> str:
        """Key of the index of a scope's buckets."""
        return f"{self.tag}:buckets:{scope.key}"

    def cursor(self, group: str) -> str:
        """Key of a consumer group's watermark."""
        return f"{self.tag}:cursor:{group}"

    def due(self, endpoint: str) -> str:
        """Key of an endpoint's due times."""
        return f"{self.tag}:due:{endpoint}"

    def rate(self, endpoint: str) -> str:
        """Key of the token bucket of an endpoint, one for all shards."""
        return f"{{{self.namespace}}}:rate:{endpoint}"

    def claimed(self, endpoint: str) -> str:
        """Key of an endpoint's claims."""
        return f"{self.tag}:claimed:{endpoint}"

    def lane(self, endpoint: str) -> str:
        """Key of how an endpoint's lane stands."""
        return f"{self.tag}:lane:{endpoint}"

    def waiting(self, endpoint: str) -> str:
        """Key of an endpoint's undelivered events."""
        return f"{self.tag}:waiting:{endpoint}"

    def line(self, endpoint: str) -> str:
        """Key of an endpoint's deliveries by task, where their order is kept."""
        return f"{self.tag}:line:{endpoint}"

    def ordered(self, endpoint: str) -> str:
        """Key of the tasks of an endpoint's deliveries, where their order is kept."""
        return f"{self.tag}:ordered:{endpoint}"

    def attempts(self, endpoint: str) -> str:
        """Key of an endpoint's attempts so far."""
        return f"{self.tag}:attempts:{endpoint}"

    def kept(self, endpoint: str) -> str:
        """Key of an endpoint's events that are kept for dead letters being delivered again."""
        return f"{self.tag}:kept:{endpoint}"

    def replay(self, endpoint: str) -> str:
        """Key of the replay to an endpoint that is under way."""
        return f"{self.tag}:replay:{endpoint}"

    def dead(self, endpoint: str) -> str:
        """Key of an endpoint's dead letters."""
        return f"{self.tag}:dead:{endpoint}"


def bucket_of(created_at: Micros) -> int:
    """Number of the bucket that holds a task created then."""
    return created_at // BUCKET_WIDTH


def shard_of(scope: Scope, shards: int) -> int:
    """The shard that a scope belongs to: the same on every machine and for ever."""
    return crc32(scope.key.encode()) % shards
