"""How long from an event's entry on the stream to its endpoint's 2xx, alone and beside endpoints that hang."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from math import inf
from statistics import quantiles
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.machine import Cores
from tests.benchmarks.measure import Ratio
from tests.benchmarks.receiver import Receiver, running_receiver
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.benchmarks.samples import events
from tests.benchmarks.store import erase, running_store
from watcher.clock import Clock, SystemClock
from watcher.events.envelope import to_fields
from watcher.metrics import Metrics
from watcher.model import Event
from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.webhooks.group import ROOM
from watcher.webhooks.outcome import Attempt, Reason
from watcher.webhooks.sender import HttpSender
from watcher.webhooks.service import Webhooks

PUBLISHED: Final = 0.124
"""Seconds: the p95 at 50 and at 200 events a second that the best dedicated system publishes."""
ISOLATION: Final = 1.1
"""Most that ten hanging neighbours may stretch the p99 of a healthy endpoint."""
NEIGHBOURS: Final = 10
RATES: Final = (50, 200)

_SECRET: Final = "whsec_" + "QmVuY2htYXJr" * 3
_PATIENCE_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.01
"""Between two looks at whether everything has arrived."""
_BURST: Final = round(1.2 * ROOM)
"""Events before that: as many as make an endpoint lag that takes none."""
_WARM_SECONDS: Final = 1.0
"""Left out after the burst in each measurement: connections are opened, to the neighbours a hundred at once."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many seconds events are published in one measurement, and how many measurements are made: two at least."""

    seconds: float
    rounds: int


FULL: Final = Size(seconds=4.0, rounds=20)
QUICK: Final = Size(seconds=4.0, rounds=3)


@dataclass(frozen=True, slots=True)
class _Stage:
    redis: Redis
    receiver: Receiver
    hanging: str


class _Delays:
    """When events were put on the stream, and how long it took until they were delivered."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def sender(self, endpoint: Endpoint, clock: Clock) -> HttpSender:
        """The daemon's own; the healthy endpoint's notes its successes."""
        return _Noting(endpoint, clock, self) if endpoint.name == "healthy" else HttpSender(endpoint, clock)


class _Noting(HttpSender):
    def __init__(self, endpoint: Endpoint, clock: Clock, delays: _Delays) -> None:
        super().__init__(endpoint, clock)
        self._delays = delays

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        attempt = await super().send(body, headers)
        if attempt.reason is Reason.SUCCESS:
            event_id = headers["webhook-id"]
            self._delays.seconds[event_id] = time.perf_counter() - self._delays.began[event_id]
        return attempt


async def run(size: Size, cores: Cores) -> Report:
    """Measure all in turns."""
    sides = [(rate, 0) for rate in RATES] + [(RATES[-1], NEIGHBOURS)]
    found: dict[tuple[int, int], list[Sequence[float]]] = {side: [] for side in sides}
    async with _staged(cores) as stage:
        for _ in range(size.rounds):
            for rate, neighbours in sides:
                found[rate, neighbours].append(await _measure(stage, rate, neighbours, size.seconds))
    rows: list[tuple[Cell, ...]] = [
        (
            f"{rate} a second" + (f", beside {neighbours} that hang" if neighbours else ""),
            *(1000 * _percentile(list(chain(*rounds)), share) for share in (50, 95, 99)),
        )
        for (rate, neighbours), rounds in found.items()
    ]
    alone, crowded = ([_percentile(each, 99) for each in found[side]] for side in sides[-2:])
    stretched, noise = Ratio.of(crowded, alone), Ratio.of(alone[1:], alone[:-1])
    targets = [
        Target(
            f"p95 at {rate} events a second at most {PUBLISHED * 1000:.0f} ms: {p95 * 1000:.1f} ms",
            p95 <= PUBLISHED,
        )
        for rate in RATES
        for p95 in [_percentile(list(chain(*found[rate, 0])), 95)]
    ]
    targets.append(
        Target(
            f"p99 beside {NEIGHBOURS} hanging neighbours at most {ISOLATION} of that alone: {stretched}",
            stretched.median <= ISOLATION,
        )
    )
    return Report(
        title="delay from the stream to the endpoint's 2xx",
        columns=(Column("events"), Column("p50 ms", ".1f"), Column("p95 ms", ".1f"), Column("p99 ms", ".1f")),
        rows=tuple(rows),
        reading=f"all rounds, which take turns, together, without a burst of {_BURST:,} events and a second after it; "
        "ratios round by round; store and receiver are processes on another core; by the burst the neighbours lag, so "
        "that what comes after is no delivery to them yet; from one round to the next, the p99 alone changed by "
        f"{noise}",
        targets=tuple(targets),
    )


@asynccontextmanager
async def _staged(cores: Cores) -> AsyncIterator[_Stage]:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_store(cores, secrets=[_SECRET]))
        receiver = await stack.enter_async_context(running_receiver(cores))
        server = await stack.enter_async_context(
            await asyncio.start_server(say_nothing, "127.0.0.1", 0, backlog=1024)
        )
        port = server.sockets[0].getsockname()[1]
        yield _Stage(redis, receiver, f"http://127.0.0.1:{port}/")


async def _measure(stage: _Stage, rate: int, neighbours: int, seconds: float) -> Sequence[float]:
    """The delays of the events of one measurement, in seconds."""
    await erase(stage.redis)
    keys, delays = Keys(), _Delays()
    places = [("healthy", stage.receiver.url)]
    places += [(f"hangs-{number}", stage.hanging) for number in range(neighbours)]
    webhooks = Webhooks(
        stage.redis,
        keys,
        [Endpoint(name=name, url=url, secrets=(_SECRET,)) for name, url in places],
        clock=SystemClock(),
        metrics=Metrics(),
        jitter=random.random,
        consumer="bench",
        sender=delays.sender,
    )
    running = asyncio.create_task(webhooks.run())
    some = events(_BURST + round(rate * (_WARM_SECONDS + seconds)))
    await _publish(stage.redis, keys, some[:_BURST], inf, delays)
    await _publish(stage.redis, keys, some[_BURST:], rate, delays)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while len(delays.seconds) < len(some) and not running.done():
            await asyncio.wait({running}, timeout=_GLANCE_SECONDS)
    await webhooks.stop(grace_seconds=0)
    await running
    if len(delays.seconds) != len(some):
        raise RuntimeError(f"{len(some)} events, {len(delays.seconds)} delivered")
    return [delays.seconds[event.id] for event in some[_BURST + round(rate * _WARM_SECONDS) :]]


async def _publish(redis: Redis, keys: Keys, some: Sequence[Event], rate: float, delays: _Delays) -> None:
    """Put the events onto the stream one by one, evenly spaced; as fast as can be at a rate of infinity."""
    begin = time.perf_counter()
    for number, event in enumerate(some):
        await asyncio.sleep(begin + number / rate - time.perf_counter())
        delays.began[event.id] = time.perf_counter()
        # The client's own type for the fields is not the one that a dict of text and bytes fits.
        await redis.xadd(keys.events, to_fields(event))  # type: ignore[arg-type]


def _percentile(seconds: Sequence[float], share: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[share - 1]
