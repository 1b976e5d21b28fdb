"""What the watcher remembers: scopes, coverage, in-flight tasks and records, and the step that moves them.

Every write goes through one script a page (``scripts/commit.lua``) that is fenced by the lease's nonce.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

from redis.asyncio import Redis
from redis.exceptions import RedisError

from watcher.errors import StoreError, StoreUnavailable
from watcher.model import EntityId, Micros, Scope, TaskId
from watcher.state.backfill import Job, decode
from watcher.state.keys import BUCKET_WIDTH, Keys, bucket_of
from watcher.state.lua import script
from watcher.state.records import Known, RecordError
from watcher.state.scope import ScopeState


class Outcome(StrEnum):
    """What became of a commit."""

    APPLIED = "applied"
    FENCED = "fenced"
    """Another holds the lease: nothing was written, and nothing more may be."""
    CONFLICT = "conflict"
    """Something had changed since it was read: nothing was written; read again."""


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it was read (None: absent) and as it is to be."""

    task_id: TaskId
    created_at: Micros
    before: Known | None
    after: Known


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that one page brought.

    ``flight`` maps a task to its created_at, or None once it has ended. ``entries`` are the stream entries to
    append, all with the same fields. ``before`` and ``after`` are the scope's progress; where they differ,
    start, coverage, adoption, ladder and what was backfilled are moved in the same step. ``backfill`` is the
    progress of the backfill under way, as it was and as it is to be.
    """

    scope: Scope
    changes: Sequence[Change] = ()
    flight: Mapping[TaskId, Micros | None] = field(default_factory=dict)
    entries: Sequence[Mapping[str, str | bytes]] = ()
    before: ScopeState | None = None
    after: ScopeState | None = None
    backfill: tuple[bytes, bytes] | None = None


class Store:
    """One shard's state in Redis.

    Every method raises ``StoreUnavailable`` when the store does not answer or cannot work now, and
    ``StoreError`` when what it holds is not the watcher's.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self.keys = keys
        self._commit = redis.register_script(script(__package__, "commit"))
        self._forget = redis.register_script(script(__package__, "forget"))
        self._keep = redis.register_script(script(__package__, "keep"))
        self._reset = redis.register_script(script(__package__, "reset"))

    async def load(self, scope: Scope) -> ScopeState:
        """The scope's progress and what is in flight; an empty state for one never watched."""
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(self.keys.scope(scope))
                pipe.zrange(self.keys.in_flight(scope), 0, -1, withscores=True)
                fields, flight = await pipe.execute()
            in_flight = {TaskId(_text(member)): Micros(int(score)) for member, score in flight}
            return ScopeState.decode(fields, in_flight)

    async def known(self, scope: Scope, created: Mapping[TaskId, Micros]) -> dict[TaskId, Known]:
        """The records of those tasks, given with their created_at, that have one."""
        buckets: dict[int, list[TaskId]] = {}
        for task_id, created_at in created.items():
            buckets.setdefault(bucket_of(created_at), []).append(task_id)
        if not buckets:
            return {}
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                for bucket, ids in buckets.items():
                    pipe.hmget(self.keys.tasks(scope, bucket), ids)
                answers = await pipe.execute()
            pairs = zip(chain(*buckets.values()), chain(*answers), strict=True)
            return {task_id: Known.decode(record) for task_id, record in pairs if record is not None}

    async def commit(self, commit: Commit, nonce: str) -> Outcome:
        """Write one page's changes if the lease is still held under ``nonce`` and nothing else moved."""
        keys = [
            self.keys.lease,
            self.keys.events,
            self.keys.in_flight(commit.scope),
            self.keys.buckets(commit.scope),
            self.keys.scopes,
            self.keys.scope(commit.scope),
        ]
        hashes: dict[int, int] = {}
        records: list[bytes | str | int] = []
        for name, before, after in _progress(commit.before, commit.after):
            records += (len(keys), name, before, after)
        if commit.backfill is not None:
            keys.append(self.keys.backfill)
            records += (len(keys), "progress", *commit.backfill)
        for change in commit.changes:
            bucket = bucket_of(change.created_at)
            if bucket not in hashes:
                keys.append(self.keys.tasks(commit.scope, bucket))
                hashes[bucket] = len(keys)
            before = b"" if change.before is None else change.before.encode()
            records += (hashes[bucket], change.task_id, before, change.after.encode())
        flight = [
            part
            for task_id, created_at in commit.flight.items()
            for part in (task_id, "" if created_at is None else str(created_at))
        ]
        entries = [list(chain.from_iterable(entry.items())) for entry in commit.entries]
        args: list[bytes | str | int] = [
            nonce,
            commit.scope.key,
            len(records) // 4,
            *records,
            len(commit.flight),
            *flight,
            len(hashes),
            *hashes,
            len(entries[0]) if entries else 2,
            len(entries),
            *chain.from_iterable(entries),
        ]
        with store_errors():
            answer = await self._commit(keys=keys, args=args)
        return Outcome(answer[0].decode())

    async def register(self, scope: Scope) -> None:
        """Note that the scope is watched, before there is something to remember of it."""
        with store_errors():
            await self._redis.sadd(self.keys.scopes, scope.key)

    async def scopes(self) -> tuple[Scope, ...]:
        """Every scope that was ever watched, and not forgotten since."""
        with store_errors():
            members = await self._redis.smembers(self.keys.scopes)
        names = sorted(_text(member) for member in members)
        return tuple(Scope(None if name == "-" else EntityId(name)) for name in names)

    async def forget(self, scope: Scope, before: Micros, nonce: str) -> int:
        """Forget records of tasks created before an instant, in whole buckets without in-flight tasks.

        Returns the number of buckets forgotten; it stops where the lease is another's.
        """
        forgotten = kept = 0
        with store_errors():
            while True:
                members = await self._redis.zrange(
                    self.keys.buckets(scope),
                    "-inf",
                    f"({bucket_of(before)}",
                    byscore=True,
                    offset=kept,
                    num=100,
                )
                if not members:
                    return forgotten
                buckets = [int(_text(member)) for member in members]
                keys = [
                    self.keys.lease,
                    self.keys.in_flight(scope),
                    self.keys.buckets(scope),
                    self.keys.scope(scope),
                    *(self.keys.tasks(scope, bucket) for bucket in buckets),
                ]
                gone = int(await self._forget(keys=keys, args=[nonce, BUCKET_WIDTH, *buckets]))
                if gone < 0:
                    return forgotten
                forgotten += gone
                kept += len(buckets) - gone

    async def load_lifetimes(self) -> dict[str, bytes]:
        """What was learned of how long tasks take, by document type, as it was saved."""
        with store_errors():
            fields = await self._redis.hgetall(self.keys.lifetimes)
        return {_text(name): value for name, value in fields.items() if isinstance(value, bytes)}

    async def save_lifetimes(self, histograms: Mapping[str, bytes], nonce: str) -> None:
        """Keep what was learned; nothing is kept when the lease is another's."""
        args: list[str | bytes] = [nonce]
        for document_type, record in histograms.items():
            args += (document_type, record)
        if histograms:
            with store_errors():
                await self._keep(keys=[self.keys.lease, self.keys.lifetimes], args=args)

    async def backfill(self) -> Job | None:
        """The backfill that was asked for last, done or not; None if there is none, or it was called off."""
        with store_errors():
            return decode(*await self._redis.hmget(self.keys.backfill, "request", "progress"))

    async def reset(self, scope: Scope) -> None:
        """Forget everything about a scope: the next run is a first run for it. Its events stay."""
        with store_errors():
            buckets = await self._redis.zrange(self.keys.buckets(scope), 0, -1)
            keys = [
                self.keys.scopes,
                self.keys.scope(scope),
                self.keys.in_flight(scope),
                self.keys.buckets(scope),
                *(self.keys.tasks(scope, int(_text(bucket))) for bucket in buckets),
            ]
            await self._reset(keys=keys, args=[scope.key])


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the client's errors into the watcher's own."""
    try:
        yield
    except RecordError as error:
        raise StoreError(
            f"the store holds what this watcher did not write: {error}; "
            "set another WATCHER_REDIS__NAMESPACE, or forget the scope with `watcher reset`"
        ) from error
    except RedisError as error:
        raise StoreUnavailable(f"the store: {error}") from error


def _text(value: object) -> str:
    """What the client returned, as text; it is bytes unless the client was told to decode."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _progress(before: ScopeState | None, after: ScopeState | None) -> Iterator[tuple[str, bytes, bytes]]:
    """The fields of a scope's hash that are to move, each with its old and new text."""
    if before is None or after is None:
        return
    old, new = before.encode(), after.encode()
    for name in new:
        if old[name] != new[name]:
            yield name, old[name], new[name]
