from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from watcher.clock import SystemClock
from watcher.model import from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a unix socket's path may have some 100 bytes only."""
    with tempfile.TemporaryDirectory(prefix="w-") as name:
        yield Path(name)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    clock = SystemClock()
    world = World(
        WorldSettings(rate=10, lifetime_scale=0.1, visibility_scale=0.01, entities=0, error_share=0.2),
        from_seconds(clock.time()),
    )
    async with Sandbox(world, clock) as sandbox:
        yield sandbox
