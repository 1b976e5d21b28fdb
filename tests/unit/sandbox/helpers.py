"""What the sandbox's tests share: worlds at a fixed start, and a client of a sandbox that really serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import msgspec

from tests.fakes import EagerClock
from watcher.model import SECOND, Micros, Scope, TaskId, from_seconds
from watcher.sandbox import NO_FAULTS, Faults, Sandbox, SimulatedTask, World, WorldSettings

EPOCH = 1_800_000_000.0
START = from_seconds(EPOCH)
NOBODY = Scope()
HEADERS = {"Authorization": "Bearer anything", "x-monite-version": "2024-05-25"}

QUICK = WorldSettings(rate=10.0, entities=0, visibility_scale=0.0)
"""A world whose rows are visible at once and belong to no entity."""


def after(seconds: float) -> Micros:
    """The instant so many seconds after the world's start."""
    return Micros(START + round(seconds * SECOND))


def world_of(settings: WorldSettings = QUICK, faults: Faults = NO_FAULTS, **changes: Any) -> World:
    return World(replace(settings, **changes), START, faults)


def task_at(seconds: float, name: str = "a", **changes: Any) -> SimulatedTask:
    """A task that is created so many seconds after the start, visible at once, and succeeds 12 s later."""
    task = SimulatedTask(
        id=TaskId(name),
        scope=NOBODY,
        document_type="invoice",
        declared=True,
        created_at=after(seconds),
        visible_at=after(seconds),
        ended_at=after(seconds + 12),
        outcome="success",
    )
    return replace(task, **changes)


@dataclass(frozen=True)
class Got:
    """An answer as the client got it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.json["data"]]


class Client:
    """Talks HTTP to a sandbox."""

    def __init__(self, sandbox: Sandbox, clock: EagerClock, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.clock = clock
        self.session = session

    async def get(
        self, path: str, params: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> Got:
        return await self.send("GET", path, headers, params=params)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str | None] | None = None, **how: Any
    ) -> Got:
        """A header of None is left out."""
        sent = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value is not None}
        url = self.sandbox.base_url + path
        async with self.session.request(method, url, headers=sent, **how) as response:
            return Got(response.status, response.headers.copy(), await response.read())


@asynccontextmanager
async def serving(world: World, seconds: float = 60.0, **options: Any) -> AsyncIterator[Client]:
    """A sandbox that serves this world, so many seconds after its start, on a clock that the test owns."""
    clock = EagerClock(EPOCH)
    clock.move(seconds)
    async with Sandbox(world, clock, **options) as sandbox, aiohttp.ClientSession() as session:
        yield Client(sandbox, clock, session)
