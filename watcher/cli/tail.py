"""``watcher tail``: follow the events."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import datetime
from typing import Annotated, Final

import typer
from redis.asyncio import Redis

from watcher.cli.common import all_places, console, event_loop, event_pattern, open_store
from watcher.errors import ConfigurationError
from watcher.events.envelope import EventFormatError, to_body
from watcher.events.lines import as_line
from watcher.events.stream import BEGINNING, NOW, follow
from watcher.model import from_datetime
from watcher.settings import load_settings
from watcher.settings.values import matches_pattern
from watcher.state.keys import Keys

_is_id = re.compile(r"[0-9]{13,20}(-[0-9]{1,20})?").fullmatch  # shorter ones would be dates, such as 20261128
_LAST: Final = 2**64 - 1
"""The largest that either part of a stream id can be."""


def tail(
    since: Annotated[
        str,
        typer.Option(
            "--from", help="now, beginning, an ISO time (UTC unless it says otherwise) or a stream id."
        ),
    ] = "now",
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="Only such events, as in an endpoint's events: success, ocr_task.*, ... Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One CloudEvent as JSON a line.")] = False,
    follow_on: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for what comes.")] = True,
) -> None:
    """Follow events as they are published."""
    settings = load_settings()
    wanted = [event_pattern(each) for each in types or ()]
    after = stream_position(since)
    out = console()

    async def show(redis: Redis, keys: Keys) -> None:
        async for entry in follow(redis, keys, after, wait=follow_on):
            if wanted and not any(matches_pattern(entry.event.type, each) for each in wanted):
                continue
            if as_json:
                sys.stdout.buffer.write(to_body(entry.event) + b"\n")
                sys.stdout.buffer.flush()
                continue
            try:
                out.print(as_line(entry.event))
            except EventFormatError:
                continue

    async def main() -> None:
        async with open_store(settings) as redis:
            places = await all_places(redis, settings)
            try:
                async with asyncio.TaskGroup() as group:
                    for keys in places:
                        group.create_task(show(redis, keys))
            except ExceptionGroup as failed:
                # One of them says enough: all follow the same store, and write to the same output.
                raise failed.exceptions[0] from None

    event_loop(main())


def stream_position(since: str) -> str:
    """The stream id after which to read, from what a person wrote.

    Raises:
        ConfigurationError: it is none of the forms.
    """
    named = {"now": NOW, "beginning": BEGINNING, "0": BEGINNING}
    if since in named:
        return named[since]
    if _is_id(since) and all(int(part) <= _LAST for part in since.split("-")):
        return since
    try:
        instant = from_datetime(datetime.fromisoformat(since))
    except ValueError:
        forms = "now, beginning, 2026-11-23T04:00:00Z or a stream id"
        raise ConfigurationError([f"--from: {since[:60]!r} is not a time; give {forms}"]) from None
    return f"{max(0, instant // 1000 - 1)}-{_LAST}"
