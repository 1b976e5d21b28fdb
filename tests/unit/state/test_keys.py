"""Keys: one hash tag a shard, no two alike, every one in the module's table."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from tests.unit.state.key_table import is_known, patterns
from watcher.model import EntityId, Micros, Scope
from watcher.state.keys import BUCKET_WIDTH, Keys, bucket_of, shard_of

ENTITY = Scope(EntityId("3fa85f64-5717-4562-b3fc-2c963f66afa6"))


def all_keys(keys: Keys, scope: Scope) -> list[str]:
    return [
        keys.lease,
        keys.format,
        keys.mark,
        keys.scopes,
        keys.events,
        keys.endpoints,
        keys.lagging,
        keys.scope(scope),
        keys.in_flight(scope),
        keys.tasks(scope, 500_000),
        keys.buckets(scope),
        keys.cursor("webhooks"),
        keys.due("crm"),
        keys.waiting("crm"),
        keys.line("crm"),
        keys.ordered("crm"),
        keys.attempts("crm"),
        keys.claimed("crm"),
        keys.lane("crm"),
        keys.kept("crm"),
        keys.replay("crm"),
        keys.dead("crm"),
        keys.hinted,
        keys.backfill,
        keys.lifetimes,
        keys.weight,
    ]


def shared_keys(keys: Keys) -> list[str]:
    """What all shards use."""
    return [
        keys.hints,
        keys.budget,
        keys.budget_line,
        keys.budget_due,
        keys.budget_pause,
        keys.layout,
        keys.replicas,
        keys.replica_terms,
        keys.replica_doing,
        keys.rate("crm"),
    ]


def test_the_stream_has_the_name_that_subscribers_rely_on() -> None:
    assert Keys("watcher").events == "{watcher}:events"
    assert Keys("billing", shard=3, shards=8).events == "{billing:3}:events"


@pytest.mark.parametrize("keys", [Keys("ns"), Keys("ns", 2, 4)])
@pytest.mark.parametrize("scope", [Scope(), ENTITY])
def test_all_keys_of_a_shard_lie_in_one_slot(keys: Keys, scope: Scope) -> None:
    assert len({key_slot(key.encode()) for key in all_keys(keys, scope)}) == 1


def test_what_all_shards_use_lies_in_one_slot_and_is_the_same_for_each() -> None:
    shards = [Keys("ns", number, 4) for number in range(4)]
    assert {tuple(shared_keys(keys)) for keys in (*shards, Keys("ns"))} == {tuple(shared_keys(Keys("ns")))}
    assert len({key_slot(key.encode()) for key in shared_keys(Keys("ns"))}) == 1
    assert not set(shared_keys(Keys("ns"))) & set(shared_keys(Keys("other")))


def test_no_two_keys_are_alike() -> None:
    names = [
        *shared_keys(Keys("ns")),
        *all_keys(Keys("ns", 0, 2), Scope()),
        *all_keys(Keys("ns", 1, 2), Scope()),
        *all_keys(Keys("other"), Scope()),
    ]
    of_the_entity = {name for name in all_keys(Keys("ns", 0, 2), ENTITY) if ENTITY.key in name}
    assert [name for name, times in Counter([*names, *of_the_entity]).items() if times > 1] == []
    assert len(of_the_entity) == 4


@pytest.mark.parametrize("keys", [Keys("ns"), Keys("ns", 2, 4)])
def test_the_table_in_the_module_names_every_key(keys: Keys) -> None:
    names = [*all_keys(keys, ENTITY), *shared_keys(keys)]
    unknown = [name for name in names if not is_known(name, keys)]
    assert unknown == []


def test_every_line_of_the_table_is_of_use() -> None:
    names = [*all_keys(Keys("ns"), ENTITY), *shared_keys(Keys("ns"))]
    assert [each.pattern for each in patterns(Keys("ns")) if not any(map(each.fullmatch, names))] == []


def test_another_key_is_not_in_the_table() -> None:
    assert not is_known("{ns}:leases", Keys("ns"))
    assert not is_known("{other}:lease", Keys("ns"))


@given(st.integers(0, 2**53).map(Micros))
def test_a_bucket_holds_one_hour(created_at: Micros) -> None:
    bucket = bucket_of(created_at)
    assert bucket * BUCKET_WIDTH <= created_at < (bucket + 1) * BUCKET_WIDTH
    assert BUCKET_WIDTH == 3_600_000_000


@given(st.uuids(), st.integers(1, 64))
def test_a_scope_has_one_shard(entity: object, shards: int) -> None:
    scope = Scope(EntityId(str(entity)))
    assert 0 <= shard_of(scope, shards) < shards
    assert shard_of(scope, shards) == shard_of(Scope(scope.entity_id), shards)


def test_the_shard_of_a_scope_is_the_same_for_ever() -> None:
    """Another shard would be a first run for the scope: what ended meanwhile would be adopted in silence."""
    assert [shard_of(scope, 8) for scope in (Scope(), ENTITY)] == [0, 3]
    spread = Counter(shard_of(Scope(EntityId(f"entity-{n}")), 8) for n in range(4000))
    assert re.fullmatch(r"[0-7]{8}", "".join(str(shard) for shard in sorted(spread)))
    assert min(spread.values()) > 400
