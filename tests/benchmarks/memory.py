"""Bytes of Redis that a tracked task takes, in flight and once it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Cell, Column, Report
from tests.benchmarks.samples import ROWS, RULES, SCOPE, finished, publication, simulated, unfinished
from tests.benchmarks.store import erase, leading, running_store, used_memory
from watcher.clock import SystemClock
from watcher.metrics import Metrics
from watcher.model import Task
from watcher.polling.recorder import Recorder
from watcher.sandbox import SimulatedTask
from watcher.settings import PollSettings
from watcher.state.keys import Keys
from watcher.state.scope import ScopeState
from watcher.state.store import Store

_QUIET_SECONDS: Final = 0.3
"""For the server to let go of what it holds only while it works: buffers, tables that grow."""


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers of tracked tasks to measure at."""

    tasks: tuple[int, ...]


FULL: Final = Size(tasks=(10_000, 100_000))
QUICK: Final = Size(tasks=(10_000,))


async def run(size: Size, cores: Cores) -> Report:
    """Measure with the tasks spread over the default horizon: as many as are remembered at that rate."""
    rows: list[tuple[Cell, ...]] = []
    horizon = PollSettings().horizon
    async with running_store(cores) as redis:
        for number in size.tasks:
            tasks = simulated(number, rate=number / horizon)
            rows.append((f"{number:,}", number / horizon * 3600, *await _measure(redis, tasks)))
    ended = ", ".join(f"{row[3]:.0f}" for row in rows)
    return Report(
        title=f"bytes of Redis for a tracked task, {horizon / 3600:g} hours of them",
        columns=(
            Column("tracked tasks"),
            Column("created an hour", ",.0f"),
            Column("bytes in flight", ",.0f"),
            Column("bytes ended", ",.0f"),
            Column("bytes of its event on the stream", ",.0f"),
        ),
        rows=tuple(rows),
        reading=(
            f"an ended task is remembered in {ended} bytes; in flight it stands in the index as well, and its "
            "event stays on the stream as long as its retention says"
        ),
    )


async def _measure(redis: Redis, tasks: Sequence[SimulatedTask]) -> tuple[float, float, float]:
    """Bytes for one task: in flight, ended, and of its event."""
    await erase(redis)
    keys = Keys()
    async with leading(redis, keys) as nonce:
        recorder = Recorder(
            SCOPE,
            nonce,
            store=Store(redis, keys),
            publication=publication(keys.namespace),
            clock=SystemClock(),
            metrics=Metrics(),
        )
        # First a page that is forgotten again: the memory of the scripts is not a task's.
        await _record(recorder, tasks[:ROWS], unfinished, tracked=False)
        await _record(recorder, tasks[:ROWS], finished, tracked=True)
        await redis.delete(*[key async for key in redis.scan_iter() if key != keys.lease.encode()])
        empty = await _settled(redis)
        await _record(recorder, tasks, unfinished, tracked=False)
        in_flight = await _settled(redis)
        await _record(recorder, tasks, finished, tracked=True)
        published = await _settled(redis)
        left = await redis.xlen(keys.events), await redis.zcard(keys.in_flight(SCOPE))
        await redis.delete(keys.events)
        ended = await _settled(redis)
    if left != (len(tasks), 0):
        raise RuntimeError(f"of {len(tasks)} ended tasks {left} are (on the stream, in flight)")
    return (in_flight - empty) / len(tasks), (ended - empty) / len(tasks), (published - ended) / len(tasks)


async def _record(
    recorder: Recorder, tasks: Sequence[SimulatedTask], row: Callable[[SimulatedTask], Task], *, tracked: bool
) -> None:
    """Have the daemon's recorder write the tasks, page by page."""
    for at in range(0, len(tasks), ROWS):
        page = [row(task) for task in tasks[at : at + ROWS]]
        state = ScopeState(in_flight={task.id: task.created_at for task in page} if tracked else {})
        # The present is the first row's: at a low rate the last one of a page would find that one stalled.
        await recorder.record(page, RULES, page[0].updated_at, state, state)


async def _settled(redis: Redis) -> int:
    await asyncio.sleep(_QUIET_SECONDS)
    return await used_memory(redis)
