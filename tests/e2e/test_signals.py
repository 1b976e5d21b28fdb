"""Commands that a signal ends leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from watcher.sandbox import Sandbox

from .harness import eventually, running, settings_for, until_ready
from .test_commands import started

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a parent's end")


def processes(directory: Path) -> list[int]:
    """Of a demo's daemon and its store, as far as they have noted themselves."""
    texts = [lock.read_text() for lock in directory.glob("watcher-*/store/*.lock")]
    return [int(text.split()[0]) for text in texts if text]


def left(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def playing(directory: Path) -> AsyncIterator[tuple[Process, list[int]]]:
    """The demo, playing in a directory; with the processes of its daemon and its store."""
    demo = await started({"TMPDIR": str(directory)}, "demo", "--duration", "600")

    async def children() -> list[int] | None:
        found = processes(directory)
        return found if len(found) == 2 else None

    try:
        assert demo.stdout is not None
        assert await demo.stdout.readline()
        yield demo, await eventually(children, "the demo never started its daemon")
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.communicate()


ENDING = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), ENDING)
async def test_a_demo_that_is_ended_ends_everything(
    directory: Path, number: signal.Signals, code: int
) -> None:
    async with playing(directory) as (demo, children):
        demo.send_signal(number)
        _, err = await demo.communicate()
        assert (demo.returncode, b"Traceback" in err) == (code, False)
        assert [pid for pid in children if runs(pid)] == []
        assert left(directory) == []


async def test_a_demo_whose_terminal_is_closed_leaves_nothing_behind(directory: Path) -> None:
    """Nothing can be written any more while it ends."""
    controlling, terminal = pty.openpty()
    try:
        demo = await started({"TMPDIR": str(directory)}, "demo", "--duration", "600", stdout=terminal)
    finally:
        os.close(terminal)

    async def children() -> list[int] | None:
        found = processes(directory)
        return found if len(found) == 2 else None

    reading = asyncio.get_running_loop()
    reading.add_reader(controlling, lambda: os.read(controlling, 10_000))
    found = await eventually(children, "the demo never started its daemon")
    reading.remove_reader(controlling)
    os.close(controlling)
    demo.send_signal(signal.SIGHUP)
    await demo.communicate()
    assert [pid for pid in found if runs(pid)] == []
    assert left(directory) == []


async def test_under_nohup_a_demo_goes_on(directory: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which a child inherits
    try:
        async with playing(directory) as (demo, _):
            demo.send_signal(signal.SIGHUP)
            assert demo.stdout is not None
            await demo.stdout.readline()
            demo.send_signal(signal.SIGTERM)
            await demo.communicate()
            assert demo.returncode == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


@linux_only
async def test_a_demo_that_is_killed_takes_its_daemon_along(directory: Path) -> None:
    async with playing(directory) as (demo, children):
        demo.kill()
        await demo.communicate()

        async def gone() -> bool:
            return not any(runs(pid) for pid in children)

        await eventually(gone, "the daemon or its store outlives the demo")


@pytest.mark.parametrize(("number", "code"), ENDING)
async def test_a_question_can_be_ended(
    directory: Path, sandbox: Sandbox, number: signal.Signals, code: int
) -> None:
    """The loop stands still while it is asked, and would hear of no signal."""
    settings = settings_for(sandbox.base_url, directory)
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        controlling, terminal = pty.openpty()
        try:
            process = await started(settings, "reset", "-", stdin=terminal, stdout=terminal)
            said = b""
            while b"[y/N]" not in said:
                said += await asyncio.to_thread(os.read, controlling, 1000)

            async def ended() -> int | None:
                # Again: Python's input() loses one that comes as it begins. But not soon, since an interpreter that
                # is ending has the usual handlers again.
                process.send_signal(number)
                with suppress(TimeoutError):
                    return await asyncio.wait_for(process.wait(), 10)
                return None

            assert await eventually(ended, "it goes on") == code
        finally:
            os.close(controlling)
            os.close(terminal)
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()
