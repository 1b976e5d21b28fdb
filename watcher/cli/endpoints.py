"""``watcher endpoints``: see them, try one, pause and resume one, send it past events again, forget one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from yarl import URL

from watcher.cli.common import all_places, confirm, console, event_loop, open_store
from watcher.cli.tables import Rows
from watcher.cli.times import instant
from watcher.clock import SystemClock
from watcher.errors import ConfigurationError
from watcher.model import from_seconds, to_iso
from watcher.settings import Endpoint, Settings, load_settings
from watcher.state.keys import Keys
from watcher.state.store import store_errors
from watcher.webhooks import control
from watcher.webhooks.outcome import Reason
from watcher.webhooks.replay import Replay
from watcher.webhooks.replay import replay as replayed
from watcher.webhooks.signing import public_key, signing_key
from watcher.webhooks.stats import LaneStats, all_stats
from watcher.webhooks.trial import Trial, try_endpoint

app = typer.Typer(no_args_is_help=True, help="See, try, pause, resume and replay to webhook endpoints.")

Name = Annotated[str, typer.Argument(help="The endpoint's name.")]


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Show every endpoint: where it is, whether it is sent to, what waits, what died."""
    settings = load_settings()
    found = event_loop(_stats(settings))
    if as_json:
        json.dump({name: dataclasses.asdict(lane) for name, lane in found.items()}, sys.stdout)
        print()
        return
    out = console()
    if not found:
        out.print("no endpoint is configured: set WATCHER_WEBHOOKS")
        return
    where = {endpoint.name: str(URL(endpoint.url).origin()) for endpoint in settings.webhooks}
    rows = Rows("endpoint", "at", "state", "waiting", "oldest", "dead letters")
    now = SystemClock().time()
    for name, lane in found.items():
        oldest = f"{lane.oldest_undelivered_seconds:.0f} s"
        state = state_of(lane, now)
        rows.add(
            name, where.get(name, "not configured"), state, str(lane.depth), oldest, str(lane.dead_letters)
        )
    rows.show(out)
    for endpoint in settings.webhooks:
        for secret in endpoint.secrets:
            key = signing_key(secret.get_secret_value())
            if not isinstance(key, bytes):
                out.print(f"{endpoint.name} is verified with {public_key(key)}")


def state_of(lane: LaneStats, now: float) -> str:
    """Whether an endpoint is sent to, in a few words. ``now`` is in unix seconds."""
    if lane.paused:
        return f"paused ({lane.paused}) since {to_iso(from_seconds(lane.paused_at))[:19]}Z"
    if lane.refused:
        return f"not permitted: {lane.refused}"
    failing = f"{lane.failures} failures in a row" if lane.failures else ""
    if lane.held_until > now:
        return ", ".join(part for part in (f"held for {lane.held_until - now:.0f} s", failing) if part)
    return failing or "ok"


@app.command()
def test(name: Name) -> None:
    """Send a signed watcher.test event to an endpoint and show its answer, or why none came.

    Exit code 1 unless it is a 2xx.
    """
    endpoint = _configured(load_settings(), name)
    tried = event_loop(try_endpoint(endpoint, SystemClock()))
    if not isinstance(tried, Trial):
        print(f"not permitted, so nothing was sent: {tried.why}")
        raise typer.Exit(1)
    attempt = tried.attempt
    status = f"HTTP {attempt.status}" if attempt.status is not None else "no answer"
    print(f"{attempt.reason.value}: {status} after {attempt.seconds * 1000:.0f} ms")
    if tried.why:
        print(tried.why)
    if attempt.answer:
        print(_harmless(attempt.answer.decode(errors="replace")))
    raise typer.Exit(0 if attempt.reason is Reason.SUCCESS else 1)


def _harmless(text: str) -> str:
    """A stranger's text for a terminal: what could move its cursor, change its settings or hide words is escaped."""
    shown = text.replace("\r\n", "\n")
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in shown
    )


@app.command()
def pause(name: Name) -> None:
    """Send nothing more to an endpoint. What is due is kept until it is resumed."""
    event_loop(_pause(load_settings(), name))
    print(f"{name} is paused; `watcher endpoints resume {name}` lets it go on")


@app.command()
def resume(name: Name) -> None:
    """Send to an endpoint again: what waits, at once and in order, then what comes."""
    waiting = event_loop(_resume(load_settings(), name))
    print(f"{name} goes on; {waiting} deliveries wait for it")


@app.command()
def replay(
    name: Name,
    since: Annotated[str, typer.Option("--from", help="An ISO time, UTC unless it says otherwise.")],
    until: Annotated[str | None, typer.Option("--to", help="As --from; now unless given.")] = None,
) -> None:
    """Have past events, as far as they are on the stream, delivered to an endpoint again.

    Interrupted, it goes on where it stopped when the same --from is given again.
    """
    settings = load_settings()
    endpoint = _configured(settings, name)
    low = instant("--from", since) // 1000
    high = instant("--to", until) // 1000 if until else int(SystemClock().time() * 1000)
    if low >= high:
        raise ConfigurationError([f"--from: {since} is not before {until or 'now'}"])
    again, read = event_loop(_replay(settings, endpoint, low, high))
    print(f"{again} of {read} events are delivered to {name} again; the daemon sends them")


@app.command()
def drop(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Forget what is kept for an endpoint that is configured no longer, dead letters too."""
    settings = load_settings()
    if any(endpoint.name == name for endpoint in settings.webhooks):
        raise ConfigurationError([f"NAME: {name} is configured; take it out of WATCHER_WEBHOOKS first"])
    event_loop(_drop(settings, name, yes))


def _configured(settings: Settings, name: str) -> Endpoint:
    for endpoint in settings.webhooks:
        if endpoint.name == name:
            return endpoint
    raise ConfigurationError([f"NAME: no endpoint is called {name}; there are: {_names(settings)}"])


def _names(settings: Settings) -> str:
    return ", ".join(endpoint.name for endpoint in settings.webhooks) or "none"


async def _stats(settings: Settings) -> dict[str, LaneStats]:
    names = [endpoint.name for endpoint in settings.webhooks]
    async with open_store(settings) as redis:
        with store_errors():
            return await all_stats(redis, await all_places(redis, settings), names)


async def _pause(settings: Settings, name: str) -> None:
    async with _known(settings, name) as redis:
        for keys in await all_places(redis, settings):
            await control.pause(redis, keys, name, SystemClock().time())


async def _resume(settings: Settings, name: str) -> int:
    async with _known(settings, name) as redis:
        now = SystemClock().time()
        return sum(
            [await control.resume(redis, keys, name, now) for keys in await all_places(redis, settings)]
        )


async def _drop(settings: Settings, name: str, yes: bool) -> None:
    async with _known(settings, name) as redis:
        if not yes:
            lane = (await all_stats(redis, await all_places(redis, settings), []))[name]
            question = f"Forget {lane.depth} deliveries and {lane.dead_letters} dead letters of {name}?"
            confirm(question)
        waited = sum([await control.forget(redis, keys, name) for keys in await all_places(redis, settings)])
        print(f"forgot {name} and {waited} deliveries")


@asynccontextmanager
async def _known(settings: Settings, name: str) -> AsyncIterator[Redis]:
    """The store, if the endpoint is configured or something is kept for it.

    Raises:
        ConfigurationError: neither.
        StoreError: the store does not answer.
    """
    async with open_store(settings) as redis:
        with store_errors():
            known = await all_stats(
                redis, await all_places(redis, settings), [each.name for each in settings.webhooks]
            )
        if name not in known:
            there = ", ".join(known) or "none"
            raise ConfigurationError([f"NAME: no endpoint is called {name}; there are: {there}"])
        yield redis


async def _replay(settings: Settings, endpoint: Endpoint, low: int, high: int) -> tuple[int, int]:
    """How many events are delivered again, of how many read."""
    columns = BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    done: dict[Keys, Replay] = {}
    async with open_store(settings) as redis:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            for keys in await all_places(redis, settings):
                bar = progress.add_task(f"shard {keys.shard}", total=1.0)
                now = SystemClock().time()
                async for at in replayed(redis, keys, endpoint, low=low, high=high, now=now):
                    text = f"{at.read} read, {at.delivered} delivered again"
                    progress.update(bar, completed=at.share_done, description=text)
                    done[keys] = at
    return sum(each.delivered for each in done.values()), sum(each.read for each in done.values())
