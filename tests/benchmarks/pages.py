"""Pages applied: the daemon's recorder and its one fenced step, against a pipeline without a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio, Sample, Stopwatch, interleave, median_of
from tests.benchmarks.report import Cell, Column, Report
from tests.benchmarks.samples import ROWS, RULES, SCOPE, finished, publication, simulated, unfinished
from tests.benchmarks.store import cpu_seconds, erase, leading, running_store
from watcher.clock import SystemClock
from watcher.events.envelope import to_event, to_fields
from watcher.metrics import Metrics
from watcher.model import Micros, Task, TaskId
from watcher.polling.diff import decide
from watcher.polling.recorder import Recorder
from watcher.polling.scanner import PARALLEL
from watcher.sandbox import SimulatedTask
from watcher.settings import MoniteSettings
from watcher.state.keys import Keys, bucket_of
from watcher.state.records import Known
from watcher.state.scope import ScopeState
from watcher.state.store import Store

SHARES: Final = (0.0, 0.1, 1.0)
"""Parts of a page's rows that have ended since they were last read."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many pages make one measurement, and how many measurements are made of each side."""

    pages: int
    rounds: int


FULL: Final = Size(pages=50, rounds=5)
QUICK: Final = Size(pages=30, rounds=3)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as the store knows it, and as it is read again at ``now``."""

    known: tuple[Task, ...]
    read: tuple[Task, ...]
    now: Micros


@dataclass(frozen=True, slots=True)
class _Stage:
    """A store that knows all pages, and the real parts that wrote them."""

    redis: Redis
    keys: Keys
    recorder: Recorder
    state: ScopeState


_Apply = Callable[[], Awaitable[object]]
_Side = Callable[[_Stage, Sequence[_Page]], list[_Apply]]
"""Everything that may be made ready before the time is taken: a step for each page."""


async def run(size: Size, cores: Cores) -> Report:
    """Measure both sides with one page under way at a time, and with as many as a scope has at once."""
    tasks = simulated(size.pages * ROWS)
    rows: list[tuple[Cell, ...]] = []
    rates: list[float] = []
    async with running_store(cores) as redis:
        for in_flight in (1, PARALLEL):
            for share in SHARES:
                pages = list(_pages(tasks, share))
                sides = {
                    name: partial(_measure, redis, pages, in_flight, side)
                    for name, side in (("daemon", _daemon), ("pipeline", _pipeline))
                }
                found = await interleave(sides, size.rounds)
                rows.append((f"{share:.0%} changed", float(in_flight), *_cells(**found)))
                rates.append(median_of(found["daemon"], lambda sample: sample.rate))
    budget = MoniteSettings().requests_per_second
    return Report(
        title=f"pages applied, {ROWS} rows each: read what is known, decide, commit",
        columns=(
            Column("rows"),
            Column("in flight", ".0f"),
            Column("daemon: pages/s", ",.0f"),
            Column("pipeline: pages/s", ",.0f"),
            Column("daemon ÷ pipeline"),
            Column("daemon: CPU µs", ",.0f"),
            Column("its store's", ",.0f"),
            Column("pipeline: CPU µs", ",.0f"),
            Column("its store's", ",.0f"),
        ),
        rows=tuple(rows),
        reading=(
            f"the slowest row is {min(rates) / budget:,.1f} times what the API's budget of {budget:g} requests "
            "a second can bring; the pipeline writes the same, is not atomic, fences nothing, and had its "
            "decisions and events made beforehand"
        ),
    )


def _cells(daemon: Sequence[Sample], pipeline: Sequence[Sample]) -> Iterator[Cell]:
    yield median_of(daemon, lambda sample: sample.rate)
    yield median_of(pipeline, lambda sample: sample.rate)
    yield Ratio.of([sample.rate for sample in daemon], [sample.rate for sample in pipeline])
    yield median_of(daemon, lambda sample: sample.cost)
    yield median_of(daemon, lambda sample: sample.store_cost)
    yield median_of(pipeline, lambda sample: sample.cost)
    yield median_of(pipeline, lambda sample: sample.store_cost)


def _pages(tasks: Sequence[SimulatedTask], share: float) -> Iterator[_Page]:
    ended = round(share * ROWS)
    for at in range(0, len(tasks), ROWS):
        part = tasks[at : at + ROWS]
        read = tuple(finished(task) if n < ended else unfinished(task) for n, task in enumerate(part))
        yield _Page(tuple(map(unfinished, part)), read, max(task.updated_at for task in read))


async def _measure(redis: Redis, pages: Sequence[_Page], in_flight: int, side: _Side) -> Sample:
    await erase(redis)
    keys = Keys()
    async with leading(redis, keys) as nonce:
        store = Store(redis, keys)
        recorder = Recorder(
            SCOPE,
            nonce,
            store=store,
            publication=publication(keys.namespace),
            clock=SystemClock(),
            metrics=Metrics(),
        )
        for page in pages:
            await recorder.record(page.known, RULES, page.known[-1].created_at, ScopeState(), ScopeState())
        steps = iter(side(_Stage(redis, keys, recorder, await store.load(SCOPE)), pages))

        async def work() -> None:
            for step in steps:
                await step()

        before = await cpu_seconds(redis)
        with Stopwatch() as watch:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(work())
        sample = watch.sample(len(pages), await cpu_seconds(redis) - before)
        await _check(redis, keys, pages)
        return sample


async def _check(redis: Redis, keys: Keys, pages: Sequence[_Page]) -> None:
    """Both sides must have written the same: an event for each end, and nothing ended is in flight."""
    ended = sum(known != read for page in pages for known, read in zip(page.known, page.read, strict=True))
    expected = ended, sum(len(page.read) for page in pages) - ended
    found = await redis.xlen(keys.events), await redis.zcard(keys.in_flight(SCOPE))
    if found != expected:
        raise RuntimeError(f"events and tasks in flight are {found} and not {expected}")


def _daemon(stage: _Stage, pages: Sequence[_Page]) -> list[_Apply]:
    """What a scope's scanner does with each answer by id: progress stays, so before and after are the same."""
    return [
        partial(stage.recorder.record, page.read, RULES, page.now, stage.state, stage.state) for page in pages
    ]


@dataclass(frozen=True, slots=True)
class _Write:
    """What the daemon would write for one row, ready to be sent if the store holds something else."""

    hash: str
    task_id: TaskId
    record: bytes
    fields: dict[str, str | bytes]


def _pipeline(stage: _Stage, pages: Sequence[_Page]) -> list[_Apply]:
    """The same reads and writes as plain commands, every text of them made beforehand."""
    return [partial(_apply_bare, stage, _writes(stage.keys, page)) for page in pages]


async def _apply_bare(stage: _Stage, writes: dict[int, list[_Write]]) -> None:
    keys = stage.keys
    async with stage.redis.pipeline(transaction=False) as pipe:
        for of_bucket in writes.values():
            pipe.hmget(of_bucket[0].hash, [write.task_id for write in of_bucket])
        stored = chain(*await pipe.execute())
        for write, record in zip(chain(*writes.values()), stored, strict=True):
            if record == write.record:
                continue
            pipe.hset(write.hash, write.task_id, write.record)
            pipe.zrem(keys.in_flight(SCOPE), write.task_id)
            # The client's own type for the fields is not the one that a dict of text and bytes fits.
            pipe.xadd(keys.events, write.fields)  # type: ignore[arg-type]
        if len(pipe):
            for bucket in writes:
                pipe.zadd(keys.buckets(SCOPE), {str(bucket): bucket})
            await pipe.execute()


def _writes(keys: Keys, page: _Page) -> dict[int, list[_Write]]:
    """By bucket, what the daemon's own decision gives for each row."""
    found: dict[int, list[_Write]] = {}
    for task in page.read:
        decision = decide(task, Known("processing", 0, task.created_at), RULES, page.now)
        fields = [
            to_fields(
                to_event(
                    transition,
                    scope=SCOPE,
                    namespace=keys.namespace,
                    source=publication(keys.namespace).source,
                    detected_at=page.now,
                    recognized_data=False,
                )
            )
            for transition in decision.transitions
        ]
        bucket = bucket_of(task.created_at)
        write = _Write(
            keys.tasks(SCOPE, bucket), task.id, decision.known.encode(), fields[0] if fields else {}
        )
        found.setdefault(bucket, []).append(write)
    return found
