"""``watcher deadletters``: see what was given up, have it delivered again, or drop it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
import typer
from redis.asyncio import Redis

from watcher.cli.common import all_places, confirm, console, event_loop, event_pattern, open_store
from watcher.cli.times import instant
from watcher.clock import SystemClock
from watcher.errors import ConfigurationError, WatcherError
from watcher.settings import Settings, load_settings
from watcher.state.keys import Keys
from watcher.state.store import store_errors
from watcher.webhooks.letters import Choice, Letter, letters
from watcher.webhooks.letters import drop as dropped
from watcher.webhooks.letters import retry as retried
from watcher.webhooks.stats import known_endpoints

app = typer.Typer(no_args_is_help=True, help="See, retry and drop deliveries that were given up.")

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters or of their events; all if none.")]
To = Annotated[str | None, typer.Option("--endpoint", help="Only this endpoint's.")]
Type = Annotated[
    str | None, typer.Option("--type", help="Only of this event type; ocr_task. may be left out.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Only given up for this, such as http_5xx.")]
Since = Annotated[str | None, typer.Option("--from", help="Only given up since then, an ISO time.")]
Until = Annotated[str | None, typer.Option("--to", help="Only given up before then.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_(
    ids: Ids = None,
    endpoint: To = None,
    type: Type = None,  # noqa: A002 - its name on the command line
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One as JSON a line, with its last attempts and the endpoint's answers."),
    ] = False,
) -> None:
    """Show dead letters, the oldest first."""
    out = console()

    def show(letter: Letter) -> None:
        if as_json:
            print(json.dumps(msgspec.to_builtins(letter)))  # ASCII alone: a stranger's answer is in it
            return
        status = f" {letter.status}" if letter.status else ""
        out.print(
            f"{letter.id}  {letter.failed_at}  {letter.endpoint}  {letter.type}  {letter.subject}  "
            f"{letter.reason}{status} after {letter.attempts} attempts"
        )

    choice = _choice(ids, type, reason, since, until)
    count = event_loop(_show(load_settings(), endpoint, choice, show))
    if not count and not as_json:
        print("there are none")


@app.command()
def retry(
    ids: Ids = None,
    endpoint: To = None,
    type: Type = None,  # noqa: A002 - its name on the command line
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
) -> None:
    """Have dead letters delivered again, each with a whole schedule of attempts."""
    settings = load_settings()
    coalescing = {each.name for each in settings.webhooks if each.coalesce}

    def step(redis: Redis, keys: Keys, name: str, chosen: Sequence[str]) -> Awaitable[int]:
        return retried(redis, keys, name, chosen, SystemClock().time(), coalesce=name in coalescing)

    choice = _choice(ids, type, reason, since, until)
    done = event_loop(_change(settings, endpoint, choice, step, yes, "Deliver {} dead letters again?"))
    print(f"{done} are delivered again")


@app.command()
def drop(
    ids: Ids = None,
    endpoint: To = None,
    type: Type = None,  # noqa: A002 - its name on the command line
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
) -> None:
    """Forget dead letters for good."""
    choice = _choice(ids, type, reason, since, until)
    done = event_loop(_change(load_settings(), endpoint, choice, dropped, yes, "Drop {} dead letters?"))
    print(f"{done} dropped")


def _choice(
    ids: list[str] | None, type_: str | None, reason: str | None, since: str | None, until: str | None
) -> Choice:
    if type_ is not None and "*" in type_:
        raise ConfigurationError(
            [f"--type: {type_[:80]!r} is no single event type; leave --type out for all"]
        )
    return Choice(
        frozenset(ids or ()),
        event_pattern(type_) if type_ is not None else None,
        reason,
        instant("--from", since) // 1000 if since else None,
        instant("--to", until) // 1000 if until else None,
    )


async def _places(settings: Settings, redis: Redis, endpoint: str | None) -> list[tuple[Keys, str]]:
    """The shards and endpoints to look at. Raises ``ConfigurationError`` if there is no such endpoint."""
    found: list[tuple[Keys, str]] = []
    configured = {each.name for each in settings.webhooks}
    for keys in await all_places(redis, settings):
        with store_errors():
            names = configured | await known_endpoints(redis, keys)
        if endpoint is not None and endpoint not in names:
            there = ", ".join(sorted(names)) or "none"
            raise ConfigurationError([f"--endpoint: none is called {endpoint}; there are: {there}"])
        found += [(keys, name) for name in sorted(names) if endpoint in (None, name)]
    return found


async def _show(
    settings: Settings, endpoint: str | None, choice: Choice, show: Callable[[Letter], None]
) -> int:
    count = 0
    async with open_store(settings) as redis:
        for keys, name in await _places(settings, redis, endpoint):
            async for letter in letters(redis, keys, name, choice):
                show(letter)
                count += 1
    return count


async def _change(
    settings: Settings,
    endpoint: str | None,
    choice: Choice,
    step: Callable[[Redis, Keys, str, Sequence[str]], Awaitable[int]],
    yes: bool,
    question: str,
) -> int:
    """Do something with all that are meant, after asking; how many.

    Raises:
        WatcherError: an id that was given is that of none which is meant; then nothing is done.
    """
    async with open_store(settings) as redis:
        chosen: list[tuple[Keys, str, list[str]]] = []
        missing = set(choice.ids)
        for keys, name in await _places(settings, redis, endpoint):
            found = [letter async for letter in letters(redis, keys, name, choice)]
            chosen.append((keys, name, [letter.id for letter in found]))
            missing -= {each for letter in found for each in (letter.id, letter.event_id)}
        if missing:
            raise WatcherError(
                "\n".join(f"{each}: no such dead letter; nothing was done" for each in sorted(missing))
            )
        count = sum(len(ids) for _, _, ids in chosen)
        if count and not yes:
            confirm(question.format(count))
        return sum([await step(redis, keys, name, ids) for keys, name, ids in chosen if ids])
