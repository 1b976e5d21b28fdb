"""``watcher status``: how everything stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from watcher.cli.common import console, event_loop, open_store
from watcher.cli.endpoints import state_of
from watcher.cli.tables import Rows
from watcher.clock import SystemClock
from watcher.fleet.registry import Doing
from watcher.model import from_seconds
from watcher.ops.status import Status, read_status
from watcher.settings import Settings, load_settings
from watcher.state.spread import fitting


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show replicas and what each does, lease holders, scopes, coverage lag, and what waits for each endpoint."""
    found = event_loop(_read(load_settings()))
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        _print(found, console())


async def _read(settings: Settings) -> Status:
    names = [endpoint.name for endpoint in settings.webhooks]
    async with open_store(settings) as redis:
        layout = await fitting(redis, settings.redis.namespace, settings.redis.shards)
        now = from_seconds(SystemClock().time())
        return await read_status(redis, layout.active, names, now, layout.retired)


def _print(found: Status, out: Console) -> None:
    if found.replicas:
        replicas = Rows(
            "replica", "since", "release", "polls shards", "attempts under way", "reaches the API"
        )
        for replica in found.replicas:
            since = datetime.fromtimestamp(replica.since, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            replicas.add(replica.name, since, *_doing(replica.doing))
        replicas.show(out)
    for shard in found.shards:
        holder = f"{shard.holder}, for {shard.lease_seconds:.0f} s more" if shard.holder else "nobody"
        out.print(f"shard {shard.shard}: held by {holder}; {shard.events} events kept")
    for each in found.retired:
        out.print(f"retired {each.tag}: {each.events} events kept until they are delivered and old enough")
    if found.scopes:
        scopes = Rows("scope", "shard", "in flight", "coverage lag")
        for scope in found.scopes:
            lag = "not begun" if scope.lag is None else f"{scope.lag:.1f} s"
            scopes.add(scope.scope, str(scope.shard), str(scope.in_flight), lag)
        scopes.show(out)
    else:
        out.print("no scope has been watched yet: run `watcher run`")
    if found.endpoints:
        endpoints = Rows("endpoint", "state", "waiting", "oldest", "dead letters")
        for name, lane in found.endpoints.items():
            oldest = f"{lane.oldest_undelivered_seconds:.0f} s"
            endpoints.add(
                name, state_of(lane, SystemClock().time()), str(lane.depth), oldest, str(lane.dead_letters)
            )
        endpoints.show(out)


def _doing(doing: Doing | None) -> tuple[str, str, str, str]:
    if doing is None:
        return ("?", "?", "?", "?")
    shards = ", ".join(map(str, doing.shards)) or "none"
    return (doing.version, shards, str(doing.sending), "yes" if doing.able else "no")
