"""``watcher reshard``: change the number of shards that the scopes are spread over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated

import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from watcher.cli.common import confirm, console, event_loop
from watcher.clock import SystemClock
from watcher.errors import ConfigurationError
from watcher.fleet.registry import forget_the_dead
from watcher.ops.reshard import Progress, Survey, survey
from watcher.ops.reshard import reshard as moved
from watcher.settings import Settings, load_settings
from watcher.settings.sections import MOST_SHARDS
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer


def reshard(
    to: Annotated[int, typer.Option("--to", help="How many shards there are to be.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Spread the scopes over another number of shards, while no daemon runs. Broken off, it is run again."""
    if not 1 <= to <= MOST_SHARDS:
        raise ConfigurationError([f"--to: must be from 1 to {MOST_SHARDS}"])
    event_loop(_reshard(load_settings(), to, yes, dry_run))


async def _reshard(settings: Settings, to: int, yes: bool, dry_run: bool) -> None:
    namespace, out = settings.redis.namespace, console()
    async with _store(settings) as (redis, alone):
        found = await survey(redis, namespace, to)
        if found is None:
            out.print(f"there are {to} shards already; WATCHER_REDIS__SHARDS={to} is the setting that fits")
            return
        _show(found, out)
        if dry_run:
            return
        if not yes:
            confirm(f"Move the state to {to} shards?")
        if alone:
            await forget_the_dead(redis, found.layout.all)
        done = await _with_bar(redis, found, settings.redis.wait_replicas)
    out.print(f"moved {done.moved} scopes in {done.keys} keys")
    out.print(f"now set WATCHER_REDIS__SHARDS={to} and start the daemon")


def _show(found: Survey, out: Console) -> None:
    out.print(
        f"{found.moving} of {found.scopes} scopes change their place, "
        f"from {found.layout.shards} to {found.layout.upcoming} shards"
    )
    for each in found.left:
        out.print(
            f"retired {each.tag}: {each.events} events, {each.waiting} deliveries and {each.dead} dead letters "
            "stay there; the daemon goes on delivering them"
        )


async def _with_bar(redis: Redis, found: Survey, wait_replicas: int) -> Progress:
    columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=found.moving)

        def tell(at: Progress) -> None:
            text = f"{at.moved} scopes, {at.keys} keys"
            progress.update(bar, completed=at.moved, total=at.of, description=text)

        return await moved(redis, SystemClock(), found, tell, wait_replicas)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[tuple[Redis, bool]]:
    """The store, and whether it is this process's alone: an embedded one, which runs only meanwhile.

    Raises:
        StoreError: it cannot be run here; of an embedded one also, that a daemon runs it.
    """
    wanted = settings.redis
    if wanted.url is not None:
        async with aclosing(connect(wanted.url.get_secret_value())) as redis:
            yield redis, False
        return
    server = EmbeddedServer(wanted.data_dir)
    await server.start()
    try:
        async with aclosing(connect(server.url)) as redis:
            yield redis, True
    finally:
        await server.stop()
