"""What commands share: the event loop, and the store that the settings name."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeVar

import typer
import uvloop
from redis.asyncio import Redis
from rich.console import Console

from watcher.errors import ConfigurationError, StoreError, StoreUnavailable
from watcher.settings import Settings, values
from watcher.state.connection import connect
from watcher.state.embedded import embedded_url
from watcher.state.format import readable
from watcher.state.keys import Keys
from watcher.state.layout import shards_of
from watcher.state.spread import fitting

T = TypeVar("T")

_GARBAGE: Final = 10_000
"""Objects made and kept between two looks for garbage: what was just made is mostly still in use."""
WIDE: Final = 240
"""Columns where there is no terminal."""
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command; the exit code is 128 and the signal's number, as a shell has it.

``watcher run`` has a meaning of its own for the last one.
"""


def event_loop(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine on uvloop, which makes the same sockets 1.3 to 1.8 times as fast as asyncio's loop.

    Raises:
        KeyboardInterrupt: Ctrl+C ended it, wherever it was; what it had opened has been closed.
        SystemExit: SIGTERM or SIGHUP did, likewise.
    """
    # What has been loaded stays. Looking through all of it for garbage, as happens now and then, takes some 40 ms, in
    # which everything else waits.
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_interruptible(main))


async def _interruptible(main: Coroutine[object, object, T]) -> T:
    """End with a signal through the loop: a signal handler of Python's may find the loop asleep, and wake nobody."""
    this = asyncio.current_task()
    ended_by: int | None = None

    def end(number: int) -> None:
        nonlocal ended_by
        ended_by = number
        if this is not None:
            this.cancel()

    for number in _heeded():
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await main
    except asyncio.CancelledError:
        if ended_by is None:
            raise
        raise (KeyboardInterrupt if ended_by == signal.SIGINT else SystemExit(128 + ended_by)) from None


def _heeded() -> list[signal.Signals]:
    """The signals that are to end this command: not SIGHUP under ``nohup``, which has it ignored."""
    return [
        number
        for number in _ENDING
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def confirm(question: str) -> None:
    """Ask a person whether to go on, and end the command unless they say yes.

    While it waits the loop stands still and would hear of no signal.
    """
    kept = {number: signal.signal(number, lambda by, _: sys.exit(128 + by)) for number in _heeded()}
    try:
        typer.confirm(question, abort=True)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def console() -> Console:
    """Standard output; a pipe is wide, so that nothing of a table is broken there.

    Text is shown as it is: what others wrote may have ``[red]`` or ``:bell:`` in it.
    """
    width = None if sys.stdout.isatty() else WIDE
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=width)


def event_pattern(text: str) -> str:
    """The event types that a person asked for with ``--type``, written as an endpoint's are.

    Raises:
        ConfigurationError: no event can be of such a type, or it looks like a slip.
    """
    try:
        return values.event_pattern(text)
    except ValueError as error:
        raise ConfigurationError([f"--type: {error}"]) from None


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the store that a daemon with these settings uses, checked to answer.

    Raises:
        StoreError: it does not answer; of an embedded one, that no daemon is running; another version wrote it, or
            its state is spread over another number of shards.
    """
    wanted = settings.redis
    url = wanted.url.get_secret_value() if wanted.url else embedded_url(wanted.data_dir)
    async with aclosing(connect(url)) as redis:
        try:
            await fitting(redis, wanted.namespace, wanted.shards)
            await readable(redis, all_keys(settings))
        except StoreUnavailable as error:
            if wanted.url is not None:
                raise StoreUnavailable(f"{error}; see WATCHER_REDIS__URL") from error
            raise StoreError(
                f"no daemon runs its store in {wanted.data_dir}: start `watcher run`, "
                "or point WATCHER_REDIS__DATA_DIR or WATCHER_REDIS__URL at the store that is meant"
            ) from error
        yield redis


def all_keys(settings: Settings) -> list[Keys]:
    """The keys of every shard."""
    return list(shards_of(settings.redis.namespace, settings.redis.shards))


async def all_places(redis: Redis, settings: Settings) -> list[Keys]:
    """The keys of every shard, and of those that are retired. Raises ``StoreError``."""
    layout = await fitting(redis, settings.redis.namespace, settings.redis.shards)
    return [*layout.active, *layout.retired]
