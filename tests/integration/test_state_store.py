"""The store on a real server: one atomic, fenced step a page, and nothing that is not in the table of keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import chain
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.unit.state.key_table import is_known
from watcher.errors import StoreError, StoreUnavailable
from watcher.model import EntityId, Micros, Scope, TaskId
from watcher.state.connection import connect
from watcher.state.coverage import Coverage, Interval
from watcher.state.keys import BUCKET_WIDTH, Keys
from watcher.state.lua import script
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState
from watcher.state.store import Change, Commit, Outcome, Store

pytestmark = pytest.mark.every_server

KEYS = Keys("t")
SCOPE = Scope()
NONCE = "host/1/abc"
HOUR = 500_000
"""Number of the bucket that these tests' tasks lie in."""

EMPTY = ScopeState()
BEGUN = ScopeState(
    Start(5, 5, 1), Coverage((Interval(Micros(1), Micros(5)),)), adopted=True, ladder={0: Micros(3)}
)


def created(bucket: int = HOUR, offset: int = 0) -> Micros:
    return Micros(bucket * BUCKET_WIDTH + offset)


def task_id(number: int) -> TaskId:
    return TaskId(f"task-{number}")


def success(stamp: int = 7) -> Known:
    return Known("success", 0, Micros(stamp), frozenset({"success"}))


def entry(number: int) -> dict[str, str | bytes]:
    return {"id": f"event-{number}", "data": b'{"n": %d}' % number}


def ended(number: int, *, bucket: int = HOUR) -> Commit:
    """A task that was in flight has ended: one record, one index, one event."""
    change = Change(task_id(number), created(bucket), None, success())
    return Commit(SCOPE, [change], {task_id(number): None}, [entry(number)])


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    """As the daemon connects."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def store(client: Redis) -> AsyncIterator[Store]:
    """A store whose lease is held, and a check that it leaves no key that nobody has declared."""
    await client.set(KEYS.lease, NONCE)
    yield Store(client, KEYS)
    assert [name for name in await names(client) if not is_known(name, KEYS)] == []


async def names(client: Redis) -> list[str]:
    return sorted(name.decode() for name in cast("list[bytes]", await client.keys()))


async def everything(client: Redis) -> dict[str, object]:
    """All keys with all they hold."""
    return {name: await client.dump(name) for name in await names(client)}


async def told(client: Redis) -> list[dict[bytes, bytes]]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await client.xrange(KEYS.events))
    return [fields for _, fields in entries]


class TestCommit:
    async def test_writes_records_index_progress_and_events(self, store: Store, client: Redis) -> None:
        other = Known("processing", 0, Micros(6))
        commit = Commit(
            SCOPE,
            [
                Change(task_id(1), created(), None, success()),
                Change(task_id(2), created(HOUR + 1, 9), None, other),
            ],
            {task_id(2): created(HOUR + 1, 9)},
            [entry(1), entry(2)],
            EMPTY,
            BEGUN,
        )
        assert await store.commit(commit, NONCE) is Outcome.APPLIED
        wanted = {task_id(1): created(), task_id(2): created(HOUR + 1, 9), task_id(3): created()}
        assert await store.known(SCOPE, wanted) == {task_id(1): success(), task_id(2): other}
        assert await store.load(SCOPE) == replace(BEGUN, in_flight={task_id(2): created(HOUR + 1, 9)})
        assert await told(client) == [
            {b"id": b"event-1", b"data": b'{"n": 1}'},
            {b"id": b"event-2", b"data": b'{"n": 2}'},
        ]
        buckets = await client.zrange(KEYS.buckets(SCOPE), 0, -1)
        assert buckets == [str(HOUR).encode(), str(HOUR + 1).encode()]
        assert await client.zscore(KEYS.buckets(SCOPE), str(HOUR)) == HOUR

    async def test_moves_what_is_known_and_takes_out_what_has_ended(self, store: Store) -> None:
        at_work = Known("processing", 0, Micros(6))
        first = Commit(SCOPE, [Change(task_id(1), created(), None, at_work)], {task_id(1): created()})
        assert await store.commit(first, NONCE) is Outcome.APPLIED
        second = Commit(SCOPE, [Change(task_id(1), created(), at_work, success())], {task_id(1): None})
        assert await store.commit(second, NONCE) is Outcome.APPLIED
        assert await store.known(SCOPE, {task_id(1): created()}) == {task_id(1): success()}
        assert await store.load(SCOPE) == EMPTY

    async def test_an_instant_is_kept_to_the_microsecond(self, store: Store) -> None:
        last = Micros(2**53 - 1)
        commit = Commit(SCOPE, flight={task_id(1): last, task_id(2): Micros(0)})
        await store.commit(commit, NONCE)
        assert (await store.load(SCOPE)).in_flight == {task_id(1): last, task_id(2): 0}

    @pytest.mark.parametrize(
        "commit",
        [
            Commit(SCOPE, before=EMPTY, after=BEGUN),
            Commit(SCOPE, [Change(task_id(1), created(), None, success())]),
            Commit(SCOPE, flight={task_id(1): created()}),
        ],
        ids=["progress", "record", "in flight"],
    )
    async def test_a_scope_of_which_something_is_remembered_can_be_found(
        self, store: Store, commit: Commit
    ) -> None:
        assert await store.commit(commit, NONCE) is Outcome.APPLIED
        assert await store.scopes() == (SCOPE,)

    async def test_an_empty_page_applies_and_writes_nothing(self, store: Store, client: Redis) -> None:
        before = await everything(client)
        assert await store.commit(Commit(SCOPE), NONCE) is Outcome.APPLIED
        assert await store.commit(Commit(SCOPE, before=BEGUN, after=BEGUN), NONCE) is Outcome.APPLIED
        assert await everything(client) == before

    async def test_a_full_page_fits(self, store: Store, client: Redis) -> None:
        changes = [Change(task_id(n), created(HOUR + n), None, success()) for n in range(100)]
        flight = {task_id(n): created(HOUR + n) for n in range(100)}
        commit = Commit(SCOPE, changes, flight, [entry(n) for n in range(200)])
        assert await store.commit(commit, NONCE) is Outcome.APPLIED
        assert len(await told(client)) == 200
        assert len((await store.load(SCOPE)).in_flight) == 100

    @pytest.mark.parametrize("holder", [None, "host/2/def", ""])
    async def test_without_the_lease_it_is_fenced(
        self, store: Store, client: Redis, holder: str | None
    ) -> None:
        await client.delete(KEYS.lease)
        if holder is not None:
            await client.set(KEYS.lease, holder)
        before = await everything(client)
        assert await store.commit(replace(ended(1), before=EMPTY, after=BEGUN), NONCE) is Outcome.FENCED
        assert await store.commit(Commit(SCOPE), NONCE) is Outcome.FENCED
        assert await everything(client) == before

    async def test_a_record_that_moved_is_a_conflict(self, store: Store, client: Redis) -> None:
        await store.commit(ended(1), NONCE)
        before = await everything(client)
        stale = Change(task_id(1), created(), Known("processing", 0, Micros(6)), success(9))
        fresh = Change(task_id(2), created(HOUR + 1), None, success())
        commit = Commit(SCOPE, [fresh, stale], {task_id(2): created()}, [entry(2)], EMPTY, BEGUN)
        assert await store.commit(commit, NONCE) is Outcome.CONFLICT
        absent = Change(task_id(3), created(), success(), success(9))
        assert await store.commit(Commit(SCOPE, [absent]), NONCE) is Outcome.CONFLICT
        assert await everything(client) == before

    @pytest.mark.parametrize(
        "moved",
        [
            {"start": Start(6, 6, 2)},
            {"coverage": Coverage()},
            {"adopted": False},
            {"ladder": {0: Micros(4)}},
        ],
        ids=lambda moved: next(iter(moved)),
    )
    async def test_progress_that_moved_is_a_conflict(
        self, store: Store, client: Redis, moved: dict[str, object]
    ) -> None:
        await store.commit(Commit(SCOPE, before=EMPTY, after=BEGUN), NONCE)
        before = await everything(client)
        (name,) = moved
        further = {
            "start": Start(7, 7, 3),
            "coverage": BEGUN.coverage.add(Interval(Micros(5), Micros(9))),
            "adopted": False,
            "ladder": {0: Micros(5)},
        }
        expected = replace(BEGUN, **moved)  # type: ignore[arg-type] # each value is of its field's type
        wanted = replace(BEGUN, **{name: further[name]})  # type: ignore[arg-type] # as above
        if name == "adopted":
            wanted = replace(BEGUN, adopted=True)
        commit = replace(ended(1), before=expected, after=wanted)
        assert await store.commit(commit, NONCE) is Outcome.CONFLICT
        assert await everything(client) == before

    async def test_progress_that_is_not_to_move_may_have_moved(self, store: Store) -> None:
        """A page in the middle of a listing does not touch coverage; another listing may just have."""
        await store.commit(Commit(SCOPE, before=EMPTY, after=BEGUN), NONCE)
        assert await store.commit(replace(ended(1), before=EMPTY, after=EMPTY), NONCE) is Outcome.APPLIED

    async def test_replayed_it_writes_and_tells_nothing(self, store: Store, client: Redis) -> None:
        """As when the answer was lost on its way and the client sends the script once more."""
        commit = replace(ended(1), before=EMPTY, after=BEGUN)
        assert await store.commit(commit, NONCE) is Outcome.APPLIED
        before = await everything(client)
        assert await store.commit(commit, NONCE) is Outcome.CONFLICT
        assert await everything(client) == before

    async def test_scopes_do_not_meet(self, store: Store) -> None:
        other = Scope(EntityId("entity"))
        await store.commit(replace(ended(1), before=EMPTY, after=BEGUN), NONCE)
        commit = replace(ended(1), scope=other, before=EMPTY, after=BEGUN)
        assert await store.commit(commit, NONCE) is Outcome.APPLIED
        assert await store.load(other) == BEGUN

    async def test_it_survives_a_server_that_forgot_its_scripts(self, store: Store, client: Redis) -> None:
        await store.commit(ended(1), NONCE)
        await client.script_flush()
        assert await store.commit(ended(2), NONCE) is Outcome.APPLIED


class TestAllOrNothing:
    """Whatever a step meets, it has either written everything or nothing."""

    COMMIT = replace(ended(1), flight={task_id(1): None, task_id(2): created()}, before=EMPTY, after=BEGUN)

    @pytest.mark.parametrize("wrong", ["events", "in_flight", "buckets", "scopes", "scope", "tasks"])
    async def test_on_a_key_of_another_type(self, redis: Redis, wrong: str) -> None:
        name = {
            "events": KEYS.events,
            "in_flight": KEYS.in_flight(SCOPE),
            "buckets": KEYS.buckets(SCOPE),
            "scopes": KEYS.scopes,
            "scope": KEYS.scope(SCOPE),
            "tasks": KEYS.tasks(SCOPE, HOUR),
        }[wrong]
        await redis.set(KEYS.lease, NONCE)
        await redis.set(name, "a text")
        before = await everything(redis)
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await Store(redis, KEYS).commit(self.COMMIT, NONCE)
        if wrong == "events":
            with pytest.raises(StoreError, match="WRONGTYPE"):
                await Store(redis, KEYS).commit(replace(self.COMMIT, entries=()), NONCE)
        assert await everything(redis) == before

    async def test_on_a_lease_of_another_type(self, redis: Redis) -> None:
        await redis.sadd(KEYS.lease, NONCE)
        before = await everything(redis)
        with pytest.raises(StoreError, match="WRONGTYPE"):
            await Store(redis, KEYS).commit(self.COMMIT, NONCE)
        assert await everything(redis) == before

    async def test_on_a_stream_that_has_come_to_its_end(self, redis: Redis) -> None:
        await redis.set(KEYS.lease, NONCE)
        await Store(redis, KEYS).register(SCOPE)
        await redis.xadd(KEYS.events, {"id": "x"}, id=f"{2**64 - 1}-{2**64 - 1}")
        before = await everything(redis)
        with pytest.raises(StoreError, match="last possible ID"):
            await Store(redis, KEYS).commit(self.COMMIT, NONCE)
        assert await everything(redis) == before

    async def test_on_a_server_without_memory(self, redis: Redis) -> None:
        await redis.set(KEYS.lease, NONCE)
        before = await everything(redis)
        await redis.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await Store(redis, KEYS).commit(self.COMMIT, NONCE)
        finally:
            await redis.config_set("maxmemory", "0")
        assert await everything(redis) == before

    NAMES = (
        KEYS.lease,
        KEYS.events,
        KEYS.in_flight(SCOPE),
        KEYS.buckets(SCOPE),
        KEYS.scopes,
        KEYS.scope(SCOPE),
        KEYS.tasks(SCOPE, HOUR),
    )
    # What the script is given, part by part: records, flight, buckets, width of an entry, entries.
    GOOD = (
        ["2", "6", "start", "", "{}", "7", "task", "", "success|0|1|"],
        ["2", "task", "", "other", "17"],
        ["1", "500000"],
        ["4", "1", "id", "event", "data", "{}"],
    )

    @staticmethod
    async def run(redis: Redis, *parts: list[str]) -> list[bytes]:
        keys = TestAllOrNothing.NAMES
        arguments = [NONCE, SCOPE.key, *chain.from_iterable(parts)]
        answer = await redis.eval(script("watcher.state", "commit"), len(keys), *keys, *arguments)
        return cast("list[bytes]", answer)

    async def test_good_arguments_are_taken(self, redis: Redis) -> None:
        await redis.set(KEYS.lease, NONCE)
        assert await self.run(redis, *self.GOOD) == [b"applied", 1]
        assert await names(redis) == sorted(self.NAMES)

    @pytest.mark.parametrize(
        ("part", "arguments", "message"),
        [
            (0, ["x"], "a count is not a whole number"),
            (0, ["-1"], "a count is not a whole number"),
            (0, ["1.5"], "a count is not a whole number"),
            (0, ["9", "6", "start", "", "{}"], "a count is not a whole number|too few"),
            (0, ["1", "8", "f", "", "v"], "no such hash"),
            (0, ["1", "x", "f", "", "v"], "no such hash|index"),
            (0, ["1", "2", "f", "", "v"], "hash|WRONGTYPE"),
            (1, ["1", "task", "soon"], "created_at is not a whole number"),
            (1, ["1", "task", "nan"], "created_at is not a whole number"),
            (1, ["1", "task", "-5"], "created_at is not a whole number"),
            (2, ["1", "inf"], "bucket is not a whole number"),
            (3, ["3", "1", "id", "event", "data"], "names and values"),
            (3, ["0", "0"], "names and values"),
            (3, ["4", "1", "id", "event", "data"], "too few"),
            (3, ["4", "1", "id", "event", "data", "{}", "more"], "too many"),
            (3, [], "too few"),
        ],
    )
    async def test_bad_arguments(self, redis: Redis, part: int, arguments: list[str], message: str) -> None:
        await redis.set(KEYS.lease, NONCE)
        await redis.xadd(KEYS.events, {"id": "x"})
        before = await everything(redis)
        parts = [arguments if number == part else good for number, good in enumerate(self.GOOD)]
        with pytest.raises(ResponseError, match=message):
            await self.run(redis, *parts)
        assert await everything(redis) == before


class TestForget:
    async def test_forgets_whole_buckets_before_the_instant(self, store: Store, client: Redis) -> None:
        for number, bucket in enumerate((HOUR, HOUR + 1, HOUR + 2)):
            await store.commit(ended(number, bucket=bucket), NONCE)
        assert await store.forget(SCOPE, Micros(created(HOUR + 2) - 1), NONCE) == 1
        assert await store.forget(SCOPE, created(HOUR + 2), NONCE) == 1
        assert await store.forget(SCOPE, created(HOUR + 2), NONCE) == 0
        wanted = {task_id(number): created(HOUR + number) for number in range(3)}
        assert await store.known(SCOPE, wanted) == {task_id(2): success()}
        assert await client.zrange(KEYS.buckets(SCOPE), 0, -1) == [str(HOUR + 2).encode()]
        assert len(await told(client)) == 3

    @pytest.mark.parametrize("offset", [0, BUCKET_WIDTH - 1])
    async def test_keeps_a_bucket_in_which_a_task_is_in_flight(self, store: Store, offset: int) -> None:
        for number, bucket in enumerate((HOUR - 1, HOUR, HOUR + 1)):
            await store.commit(ended(number, bucket=bucket), NONCE)
        await store.commit(Commit(SCOPE, flight={task_id(9): created(HOUR, offset)}), NONCE)
        assert await store.forget(SCOPE, created(HOUR + 5), NONCE) == 2
        assert await store.known(SCOPE, {task_id(1): created(HOUR)}) == {task_id(1): success()}
        await store.commit(Commit(SCOPE, flight={task_id(9): None}), NONCE)
        assert await store.forget(SCOPE, created(HOUR + 5), NONCE) == 1

    async def test_goes_on_behind_many_buckets_that_must_be_kept(self, store: Store) -> None:
        """Tasks that never end must not keep the records of all others for ever."""
        for number in range(120):
            change = Change(task_id(number), created(HOUR + number), None, success())
            commit = Commit(SCOPE, [change], {task_id(number): created(HOUR + number)})
            await store.commit(commit, NONCE)
        for number in range(120, 240):
            await store.commit(ended(number, bucket=HOUR + number), NONCE)
        assert await store.forget(SCOPE, created(HOUR + 500), NONCE) == 120
        assert await store.known(SCOPE, {task_id(130): created(HOUR + 130)}) == {}
        assert await store.known(SCOPE, {task_id(5): created(HOUR + 5)}) == {task_id(5): success()}

    async def test_without_the_lease_nothing_is_forgotten(self, store: Store, client: Redis) -> None:
        await store.commit(ended(1), NONCE)
        before = await everything(client)
        assert await store.forget(SCOPE, created(HOUR + 5), "another") == 0
        assert await everything(client) == before

    async def test_a_scope_never_watched_has_nothing_to_forget(self, store: Store) -> None:
        assert await store.forget(SCOPE, created(HOUR + 5), NONCE) == 0


class TestReset:
    async def test_forgets_the_scope_and_keeps_its_events(self, store: Store, client: Redis) -> None:
        await store.register(SCOPE)
        await store.commit(replace(ended(1), before=EMPTY, after=BEGUN), NONCE)
        await store.commit(Commit(SCOPE, flight={task_id(2): created()}), NONCE)
        await store.reset(SCOPE)
        assert await names(client) == [KEYS.events, KEYS.lease]
        assert len(await told(client)) == 1
        assert await store.load(SCOPE) == EMPTY
        assert await store.scopes() == ()

    async def test_leaves_other_scopes_alone(self, store: Store) -> None:
        other = Scope(EntityId("entity"))
        for scope in (SCOPE, other):
            await store.register(scope)
            await store.commit(replace(ended(1), scope=scope, before=EMPTY, after=BEGUN), NONCE)
        await store.reset(SCOPE)
        assert await store.scopes() == (other,)
        assert await store.load(other) == BEGUN
        assert await store.known(other, {task_id(1): created()}) == {task_id(1): success()}

    async def test_what_a_running_daemon_writes_next_is_a_conflict(self, store: Store) -> None:
        await store.commit(Commit(SCOPE, before=EMPTY, after=BEGUN), NONCE)
        await store.reset(SCOPE)
        further = replace(BEGUN, coverage=BEGUN.coverage.add(Interval(Micros(5), Micros(9))))
        assert await store.commit(Commit(SCOPE, before=BEGUN, after=further), NONCE) is Outcome.CONFLICT


class TestReading:
    async def test_a_scope_never_watched_is_empty(self, store: Store) -> None:
        assert await store.load(SCOPE) == EMPTY
        assert await store.known(SCOPE, {}) == {}
        assert await store.scopes() == ()

    async def test_scopes_are_told_by_what_they_list(self, store: Store) -> None:
        entity = Scope(EntityId("entity"))
        for scope in (entity, SCOPE, entity):
            await store.register(scope)
        assert set(await store.scopes()) == {SCOPE, entity}

    async def test_a_record_that_is_not_the_watchers_is_said_to_be_so(
        self, store: Store, client: Redis
    ) -> None:
        await client.hset(KEYS.tasks(SCOPE, HOUR), task_id(1), "what is this")
        with pytest.raises(StoreError, match="watcher reset") as caught:
            await store.known(SCOPE, {task_id(1): created()})
        assert not isinstance(caught.value, StoreUnavailable)

    async def test_progress_that_is_not_the_watchers_is_said_to_be_so(
        self, store: Store, client: Redis
    ) -> None:
        await client.hset(KEYS.scope(SCOPE), "coverage", "[5]")
        with pytest.raises(StoreError, match="watcher reset") as caught:
            await store.load(SCOPE)
        assert not isinstance(caught.value, StoreUnavailable)

    async def test_a_store_that_is_away_is_said_to_be_away(self) -> None:
        nowhere = connect("unix:///nowhere/at/all")
        store = Store(nowhere, KEYS)
        try:
            for asking in (
                store.load(SCOPE),
                store.known(SCOPE, {task_id(1): created()}),
                store.commit(ended(1), NONCE),
                store.register(SCOPE),
                store.scopes(),
                store.forget(SCOPE, created(), NONCE),
                store.reset(SCOPE),
                store.load_lifetimes(),
                store.save_lifetimes({"-": b"[1]"}, NONCE),
            ):
                with pytest.raises(StoreUnavailable):
                    await asking
        finally:
            await nowhere.aclose()


class TestLifetimes:
    async def test_what_was_learned_is_read_back_and_added_to(self, store: Store) -> None:
        assert await store.load_lifetimes() == {}
        await store.save_lifetimes({"invoice": b"[1]", "-": b"[2]"}, NONCE)
        await store.save_lifetimes({"-": b"[3]", "receipt": b"[4]"}, NONCE)
        assert await store.load_lifetimes() == {"invoice": b"[1]", "-": b"[3]", "receipt": b"[4]"}

    async def test_nothing_is_kept_for_whoever_has_lost_the_lease(self, store: Store) -> None:
        await store.save_lifetimes({"-": b"[1]"}, NONCE)
        await store.save_lifetimes({"-": b"[2]"}, "another")
        assert await store.load_lifetimes() == {"-": b"[1]"}

    async def test_nothing_learned_leaves_no_key(self, store: Store, client: Redis) -> None:
        await store.save_lifetimes({}, NONCE)
        assert KEYS.lifetimes not in await names(client)
