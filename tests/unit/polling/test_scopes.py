"""Which scopes a shard watches: every scope has exactly one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from watcher.model import EntityId, Scope
from watcher.monite.errors import MoniteError
from watcher.monite.wire import Entity
from watcher.polling.scopes import DiscoveredScopes, ListedScopes

IDS = [EntityId(f"entity-{number}") for number in range(20)]


class Listing:
    def __init__(self, failure: MoniteError | None = None) -> None:
        self.failure = failure

    async def active_entities(self) -> AsyncIterator[Entity]:
        for entity_id in IDS:
            yield Entity(entity_id, "active")
        if self.failure is not None:
            raise self.failure


async def test_without_entities_it_is_the_tasks_of_none() -> None:
    assert await ListedScopes([]).scopes() == {Scope()}


async def test_each_entity_named_is_a_scope() -> None:
    assert await ListedScopes(IDS[:2]).scopes() == {Scope(IDS[0]), Scope(IDS[1])}


async def test_each_entity_found_is_a_scope() -> None:
    assert await DiscoveredScopes(Listing()).scopes() == {Scope(entity_id) for entity_id in IDS}


@pytest.mark.parametrize("shards", [2, 3, 8])
async def test_the_shards_share_them_out(shards: int) -> None:
    named = [await ListedScopes(IDS, shard, shards).scopes() for shard in range(shards)]
    found = [await DiscoveredScopes(Listing(), shard, shards).scopes() for shard in range(shards)]
    assert named == found
    assert sorted(scope.key for part in named for scope in part) == sorted(IDS)


async def test_the_tasks_of_no_entity_belong_to_one_shard_too() -> None:
    parts = [await ListedScopes([], shard, 4).scopes() for shard in range(4)]
    assert sorted(len(part) for part in parts) == [0, 0, 0, 1]


async def test_half_a_listing_is_no_listing() -> None:
    failing = Listing(MoniteError("bad gateway"))
    with pytest.raises(MoniteError, match="bad gateway"):
        await DiscoveredScopes(failing).scopes()
