"""The store in every kind of trouble under load: nothing is lost, nothing twice, work resumes by itself."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from watcher.clock import SystemClock
from watcher.demo.world import Scenario, Stage, staged
from watcher.events.stream import Entry
from watcher.model import from_datetime, from_seconds
from watcher.sandbox import Sandbox
from watcher.state.connection import connect
from watcher.state.embedded import embedded_url
from watcher.state.keys import Keys
from watcher.webhooks.group import GROUP

from .harness import eventually, readiness, running, said, settings_for, until_ready
from .test_demo import published
from .truth import entries

KEYS = Keys()
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process")
SCENARIO = Scenario(duration=1, rate=20, interval=0.2, lifetime_scale=0.1, seed=9)


def lines(stage: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.daemon.log.read_text().splitlines() if line.startswith("{")]


async def until_it_says(stage: Stage, *events: str, after: int) -> None:
    """One of these events is in the log, beyond so many lines."""

    async def look() -> bool:
        stage.daemon.check()
        return any(line["event"] in events for line in lines(stage)[after:])

    await eventually(look, f"the daemon said none of {events}")


async def until_published(stage: Stage, more: int) -> None:
    """So many more events stand on the stream than do now."""

    async def count() -> int | None:
        try:
            return len(await published(stage)) + 1
        except Exception:
            stage.daemon.check()
            return None

    before = await eventually(count, "the store never came back")

    async def look() -> bool:
        return (await count() or 0) >= before + more

    await eventually(look, "nothing is published any more")


@asynccontextmanager
async def refusing_writes_for_want_of_memory(stage: Stage) -> AsyncIterator[None]:
    await stage.redis.config_set("maxmemory", "1")
    yield
    await stage.redis.config_set("maxmemory", "0")


@asynccontextmanager
async def being_a_replica(stage: Stage) -> AsyncIterator[None]:
    await stage.redis.replicaof("127.0.0.1", 1)
    yield
    await stage.redis.replicaof("NO", "ONE")


@asynccontextmanager
async def failing_to_save(stage: Stage) -> AsyncIterator[None]:
    """As with a full disk: the server refuses writes that it could not keep."""
    place = Path(str((await stage.redis.config_get("dir"))["dir"])) / "dump.rdb"
    place.unlink(missing_ok=True)
    (place / "in the way").mkdir(parents=True)
    await stage.redis.config_set("save", "3600 1")
    await stage.redis.bgsave()

    async def failed() -> bool:
        return bool((await stage.redis.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await eventually(failed, "the server saved in spite of all")
    yield
    (place / "in the way").rmdir()
    place.rmdir()
    await stage.redis.config_set("save", "")


@asynccontextmanager
async def with_a_full_disk(stage: Stage) -> AsyncIterator[None]:
    """No file of the server's may grow any more, so the append-only file takes nothing."""
    server = int((await stage.redis.info("server"))["process_id"])
    _, most = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (1, most))
    yield
    assert (await stage.redis.info("persistence"))["aof_last_write_status"] == "err"
    resource.prlimit(server, resource.RLIMIT_FSIZE, (most, most))


@asynccontextmanager
async def standing_still(stage: Stage) -> AsyncIterator[None]:
    server = int((await stage.redis.info("server"))["process_id"])
    os.kill(server, signal.SIGSTOP)
    yield
    os.kill(server, signal.SIGCONT)


@pytest.mark.parametrize(
    "trouble",
    [
        refusing_writes_for_want_of_memory,
        pytest.param(being_a_replica, marks=pytest.mark.soak),
        pytest.param(failing_to_save, marks=pytest.mark.soak),
        pytest.param(with_a_full_disk, marks=linux_only),
        standing_still,
    ],
)
async def test_what_cannot_be_stored_is_not_claimed_and_comes_later(
    trouble: Callable[[Stage], AbstractAsyncContextManager[None]],
) -> None:
    async with staged(SCENARIO) as stage:
        await until_published(stage, 5)
        before = len(lines(stage))
        async with trouble(stage):
            await until_it_says(stage, "lease.ended", "lease.lost", after=before)
            assert (await readiness(stage.daemon))[0] == 503, "what failed is known, and not said"
        await until_published(stage, 5)
        await nothing_is_missing(stage)


async def nothing_is_missing(stage: Stage) -> None:
    summary = await stage.play(lambda entry: None)
    assert summary.ended > 20
    assert (summary.missing, summary.duplicates, summary.bad_signatures) == (0, 0, 0)
    assert not [line for line in lines(stage) if line["event"] == "worker.died"]


async def kill_the_server(stage: Stage) -> None:
    os.kill(int((await stage.redis.info("server"))["process_id"]), signal.SIGKILL)


async def forget_the_scripts(stage: Stage) -> None:
    await stage.redis.script_flush()


async def forget_the_group(stage: Stage) -> None:
    await stage.redis.xgroup_destroy(KEYS.events, GROUP)


async def cut_the_connections(stage: Stage) -> None:
    await stage.redis.client_kill_filter(_type="normal", skipme=False)


async def take_the_lease_away(stage: Stage) -> None:
    await stage.redis.set(KEYS.lease, "another's", px=1000)


async def test_what_the_store_forgets_or_breaks_off_is_made_again() -> None:
    async with staged(SCENARIO) as stage:
        for blow in (
            forget_the_scripts,
            forget_the_group,
            cut_the_connections,
            take_the_lease_away,
            kill_the_server,
        ):
            await until_published(stage, 3)
            try:
                await blow(stage)
            except RedisError:
                assert blow is cut_the_connections, "which cuts the one that asked for it, too"
        await until_published(stage, 3)
        await nothing_is_missing(stage)


async def test_a_store_that_was_emptied_is_begun_anew_without_the_past_and_said_loudly(
    directory: Path, sandbox: Sandbox
) -> None:
    """Each replica of it says so; the first run is the configured one, so nothing old is told again."""
    settings = settings_for(sandbox.base_url, directory, WATCHER_POLL__START="baseline")
    async with running(settings, directory) as daemon, aclosing(connect(embedded_url(directory))) as redis:
        await until_ready(daemon)

        async def some() -> list[Entry] | None:
            found = await entries(embedded_url(directory))
            return found if len(found) > 5 else None

        await eventually(some, "nothing was published")
        emptied_at = from_seconds(SystemClock().time())
        await redis.flushall()

        async def said_so() -> bool:
            return bool(said(daemon, "store.emptied"))

        await eventually(said_so, "nobody said that the store is empty")
        found = await eventually(some, "nothing is published any more")
        assert len(said(daemon, "store.emptied")) == 1
        # What ended before is adopted, as ever at a first run; telling of it is what a backfill is for.
        assert min(from_datetime(datetime.fromisoformat(entry.event.time)) for entry in found) >= emptied_at
        await until_ready(daemon)
