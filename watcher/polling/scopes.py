"""Which scopes a shard watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from watcher.model import EntityId, Scope
from watcher.monite.wire import Entity
from watcher.state.keys import shard_of


class EntitySource(Protocol):
    """What discovery needs of the API."""

    def active_entities(self) -> AsyncIterator[Entity]:
        """Every active entity. Raises ``MoniteError``; what came before that is not the whole list."""
        ...


class ListedScopes:
    """The entities named in the settings, or, with none named, the tasks that belong to none."""

    def __init__(self, entities: Iterable[EntityId], shard: int = 0, shards: int = 1) -> None:
        wanted = [Scope(entity) for entity in entities] or [Scope()]
        self._scopes = frozenset(scope for scope in wanted if shard_of(scope, shards) == shard)

    async def scopes(self) -> frozenset[Scope]:
        """The scopes of this shard."""
        return self._scopes


class DiscoveredScopes:
    """Every active entity that the API lists."""

    def __init__(self, source: EntitySource, shard: int = 0, shards: int = 1) -> None:
        self._source = source
        self._shard = shard
        self._shards = shards

    async def scopes(self) -> frozenset[Scope]:
        """The scopes of this shard. Raises ``MoniteError`` when entities cannot be listed now."""
        found = [Scope(EntityId(entity.id)) async for entity in self._source.active_entities()]
        return frozenset(scope for scope in found if shard_of(scope, self._shards) == self._shard)
