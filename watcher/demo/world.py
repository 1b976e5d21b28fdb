"""The whole system on this machine: simulated API, embedded store, real daemon, verifying receiver."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from watcher.clock import Clock, SystemClock
from watcher.demo.daemon import Daemon
from watcher.demo.receiver import Receiver
from watcher.demo.truth import Arrived, Published, Summary, ended_by, missing, summarise
from watcher.errors import StoreUnavailable
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, Entry, follow
from watcher.model import TERMINAL, Micros, from_datetime, from_seconds
from watcher.sandbox import NO_FAULTS, USUAL_FAULTS, Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import embedded_url
from watcher.state.keys import Keys

RETRIES: Final = [0, 0.5, 1, 2, 4, 8, 16]
"""Seconds before each attempt at the demo's endpoint: a person is watching."""
UNWELL: Final = 0.05
"""Share of deliveries that the receiver refuses when faults are on."""
PATIENCE: Final = 90.0
"""Seconds after the load's end in which everything must have arrived."""
GLANCE: Final = 0.1
"""Seconds between two looks at whether everything has arrived."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to play. ``duration`` in seconds, ``rate`` in tasks a second; ``kill`` kills the daemon half way."""

    duration: float = 20.0
    rate: float = 3.0
    seed: int = 1
    faults: bool = False
    kill: bool = False
    lifetime_scale: float = 0.3
    interval: float = 1.0


@dataclass(slots=True)
class Stage:
    """The parts while they play."""

    scenario: Scenario
    world: World
    sandbox: Sandbox
    daemon: Daemon
    redis: Redis
    clock: Clock
    arrived: Arrived
    kills: int = 0

    @property
    def now(self) -> Micros:
        """The present, on the clock of both the API and the daemon."""
        return from_seconds(self.clock.time())

    async def play(self, show: Callable[[Entry], None]) -> Summary:
        """Play the load, wait until all of it has arrived or patience ends, and count.

        ``show`` is called with each event as it comes onto the stream.

        Raises:
            WatcherError: the daemon ended by itself.
        """
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follow(show))
            await self._load()
            cutoff = self.now
            self.world.end_arrivals(cutoff)
            deadline = self.clock.monotonic() + PATIENCE
            while self.clock.monotonic() < deadline:
                self.daemon.check()
                expected = ended_by(self.world.truth(self.now), cutoff)
                if not missing(expected, self.arrived):
                    break
                await self.clock.sleep(GLANCE)
            following.cancel()
        return summarise(ended_by(self.world.truth(self.now), cutoff), self.arrived)

    async def _load(self) -> None:
        end = self.clock.monotonic() + self.scenario.duration
        half = end - self.scenario.duration / 2
        while (now := self.clock.monotonic()) < end:
            self.daemon.check()
            if self.scenario.kill and not self.kills and now > half:
                await self.daemon.kill()
                self.kills += 1
                await self.daemon.start()
            await self.clock.sleep(GLANCE)

    async def _follow(self, show: Callable[[Entry], None]) -> None:
        """Read the stream as a subscriber would, through every end of the store."""
        at = BEGINNING
        keys = Keys()
        while True:
            try:
                async for entry in follow(self.redis, keys, at):
                    at = entry.id
                    self._note(entry)
                    show(entry)
            except StoreUnavailable:
                await self.clock.sleep(GLANCE)

    def _note(self, entry: Entry) -> None:
        data = read_data(entry.event)
        if data.status in TERMINAL:
            key = (entry.event.subject, data.status)
            detected_at = from_datetime(datetime.fromisoformat(data.detected_at))
            self.arrived.published.append(Published(entry.event.id, key, detected_at))


@asynccontextmanager
async def staged(scenario: Scenario) -> AsyncIterator[Stage]:
    """Everything up and the daemon started; all of it is gone afterwards."""
    clock = SystemClock()
    arrived = Arrived()
    unlucky = random.Random(scenario.seed)  # noqa: S311 - the receiver's moods are no secret
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    world = World(
        WorldSettings(
            seed=scenario.seed,
            rate=scenario.rate,
            lifetime_scale=scenario.lifetime_scale,
            visibility_scale=0.1,
            entities=0,
        ),
        from_seconds(clock.time()),
        USUAL_FAULTS if scenario.faults else NO_FAULTS,
    )
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watcher-")))
        sandbox = await stack.enter_async_context(Sandbox(world, clock))
        receiver = Receiver(
            secret, arrived, clock, unwell=lambda: scenario.faults and unlucky.random() < UNWELL
        )
        await stack.enter_async_context(receiver)
        endpoint = {"name": "demo", "url": receiver.url, "secrets": [secret], "retry_schedule": RETRIES}
        daemon = Daemon(
            {
                "WATCHER_MONITE__BASE_URL": sandbox.base_url,
                "WATCHER_MONITE__CLIENT_ID": "demo",
                "WATCHER_MONITE__CLIENT_SECRET": "taken-by-the-sandbox",
                "WATCHER_MONITE__TIMEOUT": "3",
                "WATCHER_POLL__INTERVAL": str(scenario.interval),
                "WATCHER_POLL__START": "all",
                "WATCHER_REDIS__DATA_DIR": str(directory),
                "WATCHER_WEBHOOKS": json.dumps([endpoint]),
                "WATCHER_HTTP__PORT": "0",
            },
            directory,
        )
        redis = connect(embedded_url(directory))
        stack.push_async_callback(redis.aclose)
        await daemon.start()
        stack.push_async_callback(daemon.stop)
        yield Stage(scenario, world, sandbox, daemon, redis, clock, arrived)
