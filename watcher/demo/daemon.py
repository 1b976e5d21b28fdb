"""The real daemon as a process of its own, as an operator would run it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from watcher.errors import WatcherError
from watcher.state.embedded import child

STOPPING: Final = 30.0
"""Seconds that a clean stop may take before the daemon is killed."""


class Daemon:
    """``watcher run`` with settings of its own; what it logs goes to a file."""

    def __init__(self, settings: Mapping[str, str], directory: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
        self._environment = {**inherited, **settings}
        self._directory = directory
        self._process: Process | None = None
        self.log = directory / "daemon.log"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    async def start(self, **more: str) -> None:
        """Start the process, with more in its environment; it is not waited for."""
        with self.log.open("ab") as log:
            # Should this process be killed, the daemon ends as well.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", child.__file__, str(os.getpid())),
                *(sys.executable, "-m", "watcher", "run"),
                env={**self._environment, **more},
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl+C on the terminal is for the demo, which then stops the daemon itself.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._started().pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._started().send_signal(number)

    async def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        return await self._started().wait()

    async def kill(self) -> None:
        """End it with SIGKILL: it has no chance to tidy up."""
        process = self._started()
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> int:
        """End it with SIGTERM and wait; its exit code."""
        process = self._started()
        if process.returncode is None:
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), STOPPING)
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    def check(self) -> None:
        """See that it lives.

        Raises:
            WatcherError: it ended by itself; with the last lines of its log.
        """
        process = self._started()
        if process.returncode is not None:
            last = self.log.read_text(errors="replace").splitlines()[-5:]
            raise WatcherError("\n".join([f"the daemon ended with exit code {process.returncode}:", *last]))

    def _started(self) -> Process:
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process
