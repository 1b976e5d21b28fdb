"""An endpoint that lags behind thousands of events, and a daemon that is killed while it catches up."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from redis.asyncio import Redis

from tests.unit.webhooks.builders import NOW, event, publish
from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.model import from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.steps import DIE_AT, Step
from watcher.webhooks import control
from watcher.webhooks.group import ROOM
from watcher.webhooks.stats import lane_stats

from .harness import Endpoint, eventually, listening, new_secret, running, settings_for, until_ready, webhook

EVENTS = 5 * ROOM // 2
KEYS = Keys()
TIMES = {
    Step.DELIVERIES_CLAIMED: 3,
    Step.DELIVERY_ANSWERED: 300,
    Step.OUTCOMES_SETTLED: 5,
}
"""How often each step is come to before the daemon dies there: while what lags is being drawn."""


async def test_a_daemon_that_is_killed_while_an_endpoint_catches_up_loses_nothing(directory: Path) -> None:
    clock, store = SystemClock(), EmbeddedServer(directory)
    quiet = World(WorldSettings(rate=0, entities=0), from_seconds(clock.time()))
    await store.start()
    try:
        async with Sandbox(quiet, clock) as sandbox, connect(store.url) as redis, listening() as endpoint:
            hooks = json.dumps([webhook("shop", endpoint.url, new_secret(), timeout=1)])
            settings = settings_for(
                sandbox.base_url, directory, WATCHER_REDIS__URL=store.url, WATCHER_WEBHOOKS=hooks
            )
            async with running(settings, directory) as daemon:
                await catch_up(daemon, redis, endpoint)
    finally:
        await store.stop()


async def catch_up(daemon: Daemon, redis: Redis, endpoint: Endpoint) -> None:
    some = [event(number) for number in range(EVENTS)]
    await until_ready(daemon)
    await control.pause(redis, KEYS, "shop", NOW)
    await publish(redis, *some, keys=KEYS)

    async def all_wait() -> bool:
        return (await lane_stats(redis, KEYS, "shop")).depth == EVENTS

    await eventually(all_wait, "not all of them waited")
    assert ROOM <= await redis.zcard(KEYS.waiting("shop")) < ROOM + 128
    await daemon.kill()
    await control.resume(redis, KEYS, "shop", NOW)
    for step, times in TIMES.items():
        await daemon.start(**{DIE_AT: f"{step.value}:{times}"})
        assert await daemon.wait() == -signal.SIGKILL, step
    assert (await lane_stats(redis, KEYS, "shop")).depth > 0, "there is something left to catch up with"
    await daemon.start()

    async def none_waits() -> bool:
        return not (await lane_stats(redis, KEYS, "shop")).depth

    await eventually(none_waits, "not all of them were delivered")
    assert set(endpoint.ids) == {one.id for one in some}
    for key in (KEYS.waiting("shop"), KEYS.due("shop"), KEYS.claimed("shop")):
        assert await redis.zcard(key) == 0
