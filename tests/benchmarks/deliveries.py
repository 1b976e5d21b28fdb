"""Deliveries: the daemon's whole path from the stream to the settlement, against bare loops that only post."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

import aiohttp
import httpx
from prometheus_client import Counter
from redis.asyncio import Redis
from standardwebhooks import Webhook

from tests.benchmarks.loadtool import LoadTool, Post, fastest_tool
from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio, Sample, Stopwatch, interleave, median_of
from tests.benchmarks.receiver import Receiver, running_receiver
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.benchmarks.samples import events
from tests.benchmarks.store import cpu_seconds, erase, running_store
from watcher import __version__
from watcher.clock import SystemClock
from watcher.events.envelope import to_body, to_fields
from watcher.metrics import Metrics
from watcher.model import Event
from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.webhooks.outcome import Reason
from watcher.webhooks.service import Webhooks

TARGET: Final = 0.6
"""Least share of the bare aiohttp loop's deliveries a second, and of its economy with CPU."""

_SECRET: Final = "whsec_" + "QmVuY2htYXJr" * 3
_PATIENCE_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.01
"""Between two looks at whether everything has arrived; far below what a measurement takes."""
_TOOL: Final = "load tool"
_FILLED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Size:
    """How many deliveries make one measurement, fewer for httpx, and how many measurements are made.

    ``tool_seconds`` is how long the load tool may post, ``concurrency`` what to measure at.
    """

    deliveries: int
    httpx: int
    rounds: int
    tool_seconds: int
    concurrency: tuple[int, ...]


FULL: Final = Size(deliveries=20_000, httpx=200, rounds=5, tool_seconds=1, concurrency=(8, 32))
QUICK: Final = Size(deliveries=5000, httpx=100, rounds=3, tool_seconds=1, concurrency=(8, 32))


@dataclass(frozen=True, slots=True)
class _Stage:
    """What all sides have in common: the events, as they are on the stream and as finished posts."""

    redis: Redis
    receiver: Receiver
    events: Sequence[Event]
    posts: Sequence[Post]


async def run(size: Size, cores: Cores) -> Report:
    """Measure the daemon, bare aiohttp, bare httpx and the load tool in turns."""
    tool = fastest_tool()
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(_staged(size.deliveries, cores))
        for concurrency in size.concurrency:
            sides = {
                "the daemon": partial(_daemon, stage, concurrency),
                "bare aiohttp": partial(_bare_aiohttp, stage, concurrency),
                "bare httpx": partial(_bare_httpx, stage, concurrency, size.httpx),
            }
            if tool is not None:
                sides[_TOOL] = partial(_load_tool, stage, tool, concurrency, size.tool_seconds)
            found = await interleave(sides, size.rounds)
            rows += _rows(found, concurrency, tool)
            targets += _targets(found, concurrency)
    return Report(
        title=f"deliveries of signed events, {len(stage.posts[0].body)} bytes each",
        columns=(
            Column("who posts"),
            Column("at once", ".0f"),
            Column("deliveries/s", ",.0f"),
            Column("÷ bare aiohttp's"),
            Column("CPU µs", ",.0f"),
            Column("bare aiohttp's CPU ÷ its"),
            Column("store CPU µs", ",.0f"),
        ),
        rows=tuple(rows),
        reading=(
            "the daemon reads the stream, fans out, claims, signs, posts, logs, counts and settles; the bare "
            "loops post what was signed beforehand; the load tool is the ceiling of this machine"
        ),
        targets=tuple(targets),
    )


@asynccontextmanager
async def _staged(number: int, cores: Cores) -> AsyncIterator[_Stage]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_store(cores, secrets=[_SECRET]))
        receiver = await stack.enter_async_context(running_receiver(cores))
        some = events(number)
        yield _Stage(redis, receiver, some, [_post(event, receiver.url) for event in some])


def _post(event: Event, url: str) -> Post:
    body, now = to_body(event), datetime.now(UTC)
    return Post(
        url,
        body,
        {
            "content-type": "application/json",
            "user-agent": f"ocr-watcher/{__version__}",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(_SECRET).sign(event.id, now, body.decode()),
        },
    )


def _rows(found: dict[str, list[Sample]], concurrency: int, tool: LoadTool | None) -> list[tuple[Cell, ...]]:
    bare = found["bare aiohttp"]
    rows: list[tuple[Cell, ...]] = []
    for name in ("the daemon", "bare aiohttp", "bare httpx", _TOOL):
        head = tool.name if tool and name == _TOOL else name, float(concurrency)
        if name not in found:
            rows.append((*head, None, None, None, None, None))
            continue
        samples = found[name]
        rate = median_of(samples, lambda sample: sample.rate)
        share = Ratio.of([sample.rate for sample in samples], [sample.rate for sample in bare])
        if name == _TOOL:  # another process, whose CPU nobody has counted
            rows.append((*head, rate, share, "-", "-", "-"))
            continue
        cost = median_of(samples, lambda sample: sample.cost)
        economy = Ratio.of([sample.cost for sample in bare], [sample.cost for sample in samples])
        store = median_of(samples, lambda sample: sample.store_cost) if name == "the daemon" else "-"
        rows.append((*head, rate, share, cost, economy, store))
    return rows


def _targets(found: dict[str, list[Sample]], concurrency: int) -> list[Target]:
    daemon, bare = found["the daemon"], found["bare aiohttp"]
    share = Ratio.of([sample.rate for sample in daemon], [sample.rate for sample in bare])
    economy = Ratio.of([sample.cost for sample in bare], [sample.cost for sample in daemon])
    return [
        Target(
            f"{what} at least {TARGET} of bare aiohttp's, {concurrency} at once: {ratio.median:.2f}",
            ratio.median >= TARGET,
        )
        for what, ratio in (("deliveries a second", share), ("economy with CPU", economy))
    ]


async def _daemon(stage: _Stage, concurrency: int) -> Sample:
    """Everything that stands on the stream, until the last delivery has been settled."""
    redis, keys, metrics = stage.redis, Keys(), Metrics()
    endpoint = Endpoint(name="bench", url=stage.receiver.url, secrets=(_SECRET,), concurrency=concurrency)
    await erase(redis)
    await _fill(redis, keys, stage.events)
    webhooks = Webhooks(
        redis,
        keys,
        (endpoint,),
        clock=SystemClock(),
        metrics=metrics,
        jitter=random.random,
        consumer="bench",
    )
    successes = metrics.delivery_attempts.labels(endpoint.name, Reason.SUCCESS)
    had, spent = await stage.receiver.posts(), await cpu_seconds(redis)
    with Stopwatch() as watch:
        running = asyncio.create_task(webhooks.run())
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while _delivered(successes) < len(stage.events) and not running.done():
                await asyncio.wait({running}, timeout=_GLANCE_SECONDS)
        await webhooks.stop(grace_seconds=_PATIENCE_SECONDS)
        await running
    sample = watch.sample(len(stage.events), await cpu_seconds(redis) - spent)
    received = await stage.receiver.posts() - had
    left = await redis.zcard(keys.waiting(endpoint.name)), await redis.xlen(keys.dead(endpoint.name))
    if received != len(stage.events) or left != (0, 0):
        raise RuntimeError(
            f"{len(stage.events)} events, {received} received, {left} (waiting, dead) not settled"
        )
    return sample


async def _fill(redis: Redis, keys: Keys, some: Sequence[Event]) -> None:
    """Put the events onto the stream, as the commit step does."""
    rest = iter(some)
    while part := list(islice(rest, _FILLED_AT_ONCE)):
        async with redis.pipeline(transaction=False) as pipe:
            for event in part:
                # The client's own type for the fields is not the one that a dict of text and bytes fits.
                pipe.xadd(keys.events, to_fields(event))  # type: ignore[arg-type]
            await pipe.execute()


def _delivered(successes: Counter) -> float:
    """What the daemon's own counter says."""
    (metric,) = successes.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))


async def _bare_aiohttp(stage: _Stage, concurrency: int) -> Sample:
    async def open_and_post() -> None:
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def post(one: Post) -> int:
                async with session.post(one.url, data=one.body, headers=one.headers) as response:
                    await response.read()
                    return response.status

            await _spread(stage.posts, concurrency, post)

    with Stopwatch() as watch:
        await open_and_post()
    return watch.sample(len(stage.posts))


async def _bare_httpx(stage: _Stage, concurrency: int, number: int) -> Sample:
    async def open_and_post() -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

            async def post(one: Post) -> int:
                return (await client.post(one.url, content=one.body, headers=dict(one.headers))).status_code

            await _spread(stage.posts[:number], concurrency, post)

    with Stopwatch() as watch:
        await open_and_post()
    return watch.sample(min(number, len(stage.posts)))


async def _spread(posts: Sequence[Post], concurrency: int, post: Callable[[Post], Awaitable[int]]) -> None:
    """Post everything, so many at once."""
    rest = iter(posts)

    async def work() -> None:
        for one in rest:
            status = await post(one)
            if status != 200:
                raise RuntimeError(f"the receiver answers {status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


async def _load_tool(stage: _Stage, tool: LoadTool, concurrency: int, seconds: int) -> Sample:
    rate = await tool.posts_per_second(stage.posts[0], concurrency, seconds)
    return Sample(round(rate * seconds), seconds, 0.0)
