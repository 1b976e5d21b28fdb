"""Carries what comes from one connection to another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress


async def at_once() -> None:
    """Nothing to wait for."""


async def pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, until: Callable[[], Awaitable[object]] = at_once
) -> None:
    """Carry everything until either ends, and then end the sink; ``until`` is waited for before each part."""
    with suppress(OSError):
        while some := await source.read(65_536):
            await until()
            sink.write(some)
            await sink.drain()
    sink.close()
