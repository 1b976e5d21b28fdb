"""The version of what is stored: an earlier program refuses a later one's, a later one brings an earlier one's on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fakes import EagerClock, FakeClock, settle
from watcher.app import App
from watcher.cli.common import open_store
from watcher.errors import StoreError
from watcher.fleet.leadership import Leadership, Quota
from watcher.metrics import Metrics
from watcher.ops.checks import Finding, run_checks
from watcher.settings import Settings
from watcher.state.connection import connect
from watcher.state.format import LOOK, NOTICE, Format, Step, guard, readable
from watcher.state.keys import Keys
from watcher.state.layout import Layout
from watcher.state.lease import Lease, LeaseLostError
from watcher.state.spread import change_layout
from watcher.state.versions import Standing

pytestmark = pytest.mark.every_server

KEYS = Keys("f")
NONCE = "host/1/abc"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with aclosing(connect(redis_url)) as redis:
        yield redis


async def rename(redis: Any, keys: Keys) -> None:
    """From version 1 to 2: a key has another name. It may be run again."""
    value = await redis.get(f"{keys.tag}:old")
    if value is not None:
        await redis.set(f"{keys.tag}:new", value)
        await redis.unlink(f"{keys.tag}:old")


async def double(redis: Any, keys: Keys) -> None:
    """From version 2 to 3: a value that tells by its form whether it has been changed."""
    value = await redis.get(f"{keys.tag}:new")
    if value is not None and not value.startswith(b"2x"):
        await redis.set(f"{keys.tag}:new", b"2x" + value)


async def written(redis: Any) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = await redis.hgetall(KEYS.format)
    return fields


def version(redis: Redis, *steps: Step, notice: float = 0.0, clock: FakeClock | None = None) -> Format:
    """A program that knows one version more than it has steps."""
    return Format(redis, KEYS, clock or EagerClock(), notice=notice, steps=steps)


async def test_what_is_fresh_has_the_version_of_whoever_is_first(redis: Redis) -> None:
    found = await asyncio.gather(*(version(redis).look() for _ in range(5)))
    assert set(found) == {Standing.CURRENT}
    assert await written(redis) == {b"version": b"1"}
    await readable(redis, [KEYS])


async def test_an_earlier_program_refuses_and_changes_nothing(redis: Redis) -> None:
    await version(redis, rename).look()
    before = await written(redis)
    with pytest.raises(StoreError, match="version 1: run the watcher that wrote it or a later"):
        await version(redis).look()
    with pytest.raises(StoreError, match="version 2"):
        await readable(redis, [KEYS])
    await redis.set(KEYS.lease, NONCE)
    with pytest.raises(LeaseLostError):
        await version(redis).bring_on(NONCE)
    assert await written(redis) == before


async def test_a_later_program_brings_it_on_in_steps(redis: Redis) -> None:
    await version(redis).look()
    await redis.set(KEYS.lease, NONCE)
    await redis.set(f"{KEYS.tag}:old", "value")
    later = version(redis, rename, double)
    assert await later.look() is Standing.OLDER
    with pytest.raises(StoreError, match="start `watcher run` of this version"):
        await readable(redis, [KEYS], (rename, double))
    await later.bring_on(NONCE)
    assert await later.look() is Standing.CURRENT
    assert await redis.get(f"{KEYS.tag}:new") == b"2xvalue"
    assert await written(redis) == {b"version": b"3"}
    await later.bring_on(NONCE)
    assert await redis.get(f"{KEYS.tag}:new") == b"2xvalue"


async def test_a_step_that_was_broken_off_is_run_again_by_the_next_holder(redis: Redis) -> None:
    await version(redis).look()
    await redis.set(KEYS.lease, NONCE)
    await redis.set(f"{KEYS.tag}:old", "value")

    async def dies(redis: Redis, keys: Keys) -> None:
        await redis.set(f"{keys.tag}:new", "value")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await version(redis, dies).bring_on(NONCE)
    assert await written(redis) == {b"version": b"1", b"next": b"2"}
    with pytest.raises(StoreError, match="version 2"):
        await version(redis).look()
    await redis.set(KEYS.lease, "another")
    await version(redis, rename).bring_on("another")
    assert await written(redis) == {b"version": b"2"}
    assert await redis.get(f"{KEYS.tag}:old") is None


async def test_who_has_lost_the_lease_writes_nothing(redis: Redis) -> None:
    await version(redis).look()
    await redis.set(KEYS.lease, "another")
    done = []

    async def step(redis: Redis, keys: Keys) -> None:
        done.append(keys)

    with pytest.raises(LeaseLostError):
        await version(redis, step).bring_on(NONCE)
    assert not done
    assert await written(redis) == {b"version": b"1"}


async def test_an_earlier_replica_has_ended_before_anything_changes(redis: Redis) -> None:
    clock = FakeClock()
    await version(redis).look()
    await redis.set(KEYS.lease, NONCE)
    watching = asyncio.create_task(guard([version(redis)], clock))
    changed = []

    async def step(redis: Redis, keys: Keys) -> None:
        changed.append(watching.done())

    bringing = asyncio.create_task(version(redis, step, notice=NOTICE, clock=clock).bring_on(NONCE))
    while not bringing.done():
        await asyncio.sleep(0.001)
        await clock.advance(LOOK)
    assert changed == [True]
    with pytest.raises(StoreError, match="version 2"):
        await watching


async def test_two_that_start_together_run_each_step_once(redis: Redis) -> None:
    await version(redis).look()
    clock, runs = FakeClock(), []

    async def step(redis: Redis, keys: Keys) -> None:
        runs.append(keys)
        await asyncio.sleep(0.01)

    formats = [version(redis, step, clock=clock) for _ in range(2)]
    quotas = [Quota(1) for _ in formats]
    for quota in quotas:
        quota.known.set()
    leaders = [Leadership(Lease(redis, KEYS, clock), quota, clock, Metrics(), 0) for quota in quotas]
    tasks = [
        asyncio.create_task(leader.run(each.bring_on)) for leader, each in zip(leaders, formats, strict=True)
    ]
    waiting = [asyncio.create_task(each.until(Standing.CURRENT)) for each in formats]
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0.001)
        await clock.advance(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await settle()
    assert runs == [KEYS]


# --- the daemon and the commands ---------------------------------------------------------------------------


@pytest.fixture
async def settings(redis: Redis, redis_url: str) -> Settings:
    """Of a daemon whose store a later version has written."""
    await redis.hset("{watcher}:format", "version", "99")
    assert await change_layout(redis, None, Layout("watcher", 1))
    return Settings.model_validate(
        {
            "monite": {"base_url": "http://127.0.0.1:9/v1", "token": "x"},
            "redis": {"url": redis_url},
            "http": {"port": 0},
        }
    )


async def test_the_daemon_ends_before_it_touches_a_later_version(settings: Settings, redis: Redis) -> None:
    with pytest.raises(
        StoreError, match="holds version 99 of the watcher's state and this watcher knows version 1"
    ):
        await asyncio.wait_for(App(settings).run(asyncio.Event()), 20)
    left: Any = await redis.keys()
    assert sorted(left) == [b"{watcher}:format", b"{watcher}:layout"]


async def test_so_do_commands(settings: Settings) -> None:
    with pytest.raises(StoreError, match="version 99"):
        async with open_store(settings):
            pass
    shown: list[Finding] = []
    await run_checks(settings, shown.append)
    (store,) = [finding for finding in shown if finding.name == "store" and not finding.doubt]
    assert not store.good
    assert "version 99" in store.text


async def test_what_is_no_version_is_somebody_elses(redis: Redis) -> None:
    await redis.hset(KEYS.format, "version", "new")
    with pytest.raises(StoreError, match="set another WATCHER_REDIS__NAMESPACE"):
        await version(redis).look()
