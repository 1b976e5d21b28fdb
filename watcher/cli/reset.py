"""``watcher reset``: forget a scope's state."""

from __future__ import annotations

from typing import Annotated

import typer

from watcher.cli.common import confirm, event_loop, open_store
from watcher.errors import ConfigurationError
from watcher.model import EntityId, Scope
from watcher.settings import Settings, load_settings
from watcher.state.keys import Keys, shard_of
from watcher.state.store import Store


def reset(
    scope: Annotated[str, typer.Argument(help="An entity's id, or - for the tasks that belong to none.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a scope's state: its next cycle is a first run, by WATCHER_POLL__START. Its events stay."""
    settings = load_settings()
    named = Scope(None if scope == "-" else EntityId(scope))
    event_loop(_reset(settings, named, yes))


async def _reset(settings: Settings, scope: Scope, yes: bool) -> None:
    shards = settings.redis.shards
    async with open_store(settings) as redis:
        store = Store(redis, Keys(settings.redis.namespace, shard_of(scope, shards), shards))
        known = await store.scopes()
        if scope not in known:
            names = ", ".join(each.key for each in known) or "none yet"
            raise ConfigurationError([f"scope: {scope.key} is not watched; there are: {names}"])
        await _confirmed(store, scope, yes)


async def _confirmed(store: Store, scope: Scope, yes: bool) -> None:
    state = await store.load(scope)
    question = (
        f"Forget scope {scope.key} ({len(state.in_flight)} in flight)? "
        "Tasks that end before its next cycle may go untold unless WATCHER_POLL__START covers them"
    )
    if not yes:
        confirm(question)
    await store.reset(scope)
    print(f"forgot scope {scope.key}")
