"""``watcher backfill`` beside the real daemon: what had ended before the first run is told once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from watcher.clock import SystemClock
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, follow
from watcher.model import Micros, from_seconds, to_iso
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import embedded_url
from watcher.state.keys import Keys
from watcher.state.store import Store

from .harness import PATIENCE, eventually, running, settings_for, until_ready

BACKLOG = 7200.0
"""Seconds before the first run in which tasks came and ended."""


@pytest.fixture
async def backlog() -> AsyncIterator[Sandbox]:
    """An API with 140 or so old tasks, and next to nothing new."""
    clock = SystemClock()
    world = World(
        WorldSettings(rate=0.02, backlog_seconds=BACKLOG, lifetime_scale=0.1, visibility_scale=0, entities=0),
        from_seconds(clock.time()),
    )
    async with Sandbox(world, clock) as sandbox:
        yield sandbox


async def started(settings: Mapping[str, str], directory: Path, *words: str) -> Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "watcher",
        *words,
        env={**inherited, **settings},
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def watcher(
    settings: Mapping[str, str], directory: Path, *words: str, interrupt_at: str = ""
) -> tuple[int, str]:
    """Run a command; its exit code and what it said. Ctrl+C comes once it has said so, if it is to come."""
    process = await started(settings, directory, *words)
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while line := (await process.stdout.readline()).decode():
                said += line
                if interrupt_at and interrupt_at in line:
                    process.send_signal(signal.SIGINT)
            return await process.wait(), said
    except BaseException:
        process.kill()
        await process.communicate()
        raise


async def told(directory: Path) -> list[str]:
    async with connect(embedded_url(directory)) as redis:
        entries = [entry async for entry in follow(redis, Keys(), BEGINNING, wait=False)]
    return [read_data(entry.event).task_id for entry in entries]


async def test_a_backfill_tells_what_had_ended_before_the_first_run_once(
    directory: Path, backlog: Sandbox
) -> None:
    settings = settings_for(backlog.base_url, directory, WATCHER_POLL__START="baseline")
    began = from_seconds(SystemClock().time())
    since = to_iso(Micros(began - round(2 * BACKLOG * 1_000_000)))
    old = {task.id for task in backlog.world.truth(began) if task.ended_by(began)}
    assert len(old) > 50
    command = "backfill", "--from", since, "--rate", "20"
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        before = await told(directory)
        assert not old & set(before)

        code, said = await watcher(settings, directory, *command, "--dry-run")
        assert (code, "events would be published" in said) == (0, True), said
        assert not old & set(await told(directory))
        async with connect(embedded_url(directory)) as redis:
            assert not await redis.exists(Keys().backfill)

        code, said = await watcher(settings, directory, *command)
        assert code == 0, said
        first = await told(directory)
        assert old <= set(first)
        assert len(first) == len(set(first))

        code, said = await watcher(settings, directory, *command)
        assert code == 0, said
        assert ", 0 events published" in said
        again = await told(directory)
        assert len(again) == len(set(again))
        assert backlog.requests_served.most_in(1.0) <= 24


async def test_a_daemon_that_is_killed_goes_on_with_it(directory: Path, backlog: Sandbox) -> None:
    settings = settings_for(backlog.base_url, directory, WATCHER_POLL__START="baseline")
    began = from_seconds(SystemClock().time())
    old = {task.id for task in backlog.world.truth(began) if task.ended_by(began)}
    command = "backfill", "--from", to_iso(Micros(began - round(BACKLOG * 1_000_000))), "--rate", "0.1"
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        looking = asyncio.create_task(watcher(settings, directory, *command))

        async def begun() -> bool | None:
            return True if set(await told(directory)) & old else None

        await eventually(begun, "it never began")
        await daemon.kill()
        code, said = await looking
        assert (code, "store" in said) == (1, True), said
        daemon.log.unlink()  # the next one listens elsewhere
        await daemon.start()
        await until_ready(daemon)

        async def all_told() -> list[str] | None:
            found = await told(directory)
            return found if old <= set(found) else None

        found = await eventually(all_told, "it did not go on")
        assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "--from"),
        (("--from", "yesterday"), "--from"),
        (("--from", "2020-01-01", "--to", "2019-01-01"), "--from"),
        (("--from", "2020-01-01", "--to", "soon"), "--to"),
        (("--from", "2999-01-01"), "--from"),
        (("--from", "1917-01-01", "--to", "1918-01-01"), "--from"),
        (("--from", "2020-01-01", "--rate", "inf"), "--rate"),
    ],
)
async def test_wrong_usage_is_named(directory: Path, words: tuple[str, ...], fault: str) -> None:
    settings = settings_for("http://127.0.0.1:1/v1", directory)
    code, said = await watcher(settings, directory, "backfill", *words)
    assert code == 2
    assert said.startswith(f"{fault}: ")
    assert len(said.splitlines()) == 1


async def test_a_scope_that_is_not_watched_is_refused_and_one_called_off_ends(
    directory: Path, backlog: Sandbox
) -> None:
    settings = settings_for(backlog.base_url, directory)
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        code, said = await watcher(settings, directory, "backfill", "--from", "2020-01-01", "--scope", "x")
        assert (code, said) == (2, "--scope: x is not watched; see `watcher status`\n")
        command = "backfill", "--from", "2020-01-01", "--rate", "0.01"
        looking = asyncio.create_task(watcher(settings, directory, *command))

        async def begun() -> bool | None:
            async with connect(embedded_url(directory)) as redis:
                job = await Store(redis, Keys()).backfill()
            return True if job is not None and job.share_done > 0 else None

        await eventually(begun, "it never began")
        where = "goes on where it stopped"
        code, said = await watcher(settings, directory, *command, interrupt_at="rows/s")
        assert (code, where in said, "The daemon goes on." in said) == (130, True, True), said
        code, said = await watcher(settings, directory, "backfill", "--from", "2021-01-01")
        assert (code, "another backfill is under way" in said) == (1, True)
        code, said = await watcher(settings, directory, "backfill", "--stop")
        assert (code, "called off" in said) == (0, True)
        code, said = await looking
        assert (code, "called off" in said, where in said) == (1, True, False)
