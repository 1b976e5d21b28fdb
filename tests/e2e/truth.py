"""What has ended at the simulated API, against what stands on the stream."""

from __future__ import annotations

from watcher.clock import SystemClock
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, Entry, follow
from watcher.model import TERMINAL, from_seconds
from watcher.sandbox import Sandbox
from watcher.state.connection import connect
from watcher.state.keys import Keys

from .harness import eventually


async def entries(url: str, shards: int = 1) -> list[Entry]:
    async with connect(url) as redis:
        return [
            entry
            for shard in range(shards)
            async for entry in follow(redis, Keys("watcher", shard, shards), BEGINNING, wait=False)
        ]


async def ended_on_stream(url: str, shards: int = 1) -> list[tuple[str, str]]:
    found = [read_data(entry.event) for entry in await entries(url, shards)]
    return [(data.task_id, data.status) for data in found if data.status in TERMINAL]


async def until_all_published(sandbox: Sandbox, url: str, shards: int = 1) -> None:
    """Everything that has ended by now is on the stream, each once; with several shards, of entities."""

    async def enough() -> set[tuple[str, str]] | None:
        now = from_seconds(SystemClock().time())
        ended = {
            (str(task.id), task.outcome)
            for task in sandbox.world.truth(now)
            if task.ended_by(now) and (shards == 1 or task.scope.entity_id is not None)
        }
        return ended if len(ended) > 10 else None

    expected: set[tuple[str, str]] = await eventually(enough, "the simulated API stands still")

    async def look() -> list[tuple[str, str]] | None:
        found = await ended_on_stream(url, shards)
        return found if expected <= set(found) else None

    found = await eventually(look, "something that ended was never published")
    assert len(found) == len(set(found))
