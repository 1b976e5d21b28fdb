"""A real server for every test process, emptied before each test. There is no fake one.

``TEST_REDIS_SERVER`` names another server program (Redis 7.0+ or Valkey) than the one the daemon embeds. What is
marked ``every_server`` runs on each program that this machine has: see ``tests.servers.binaries``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis as sync_redis
import redis.asyncio as async_redis

from tests.servers import binaries
from watcher.state.embedded import child

_OPTIONS = {"port": "0", "unixsocket": "s", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server without any persistence, reachable through a unix socket alone."""

    binary: Path
    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked so on every server program there is."""
    if "binary" in metafunc.fixturenames and metafunc.definition.get_closest_marker("every_server"):
        metafunc.parametrize("binary", binaries(), indirect=True, ids=lambda path: path.name, scope="session")


@pytest.fixture(scope="session")
def binary(request: pytest.FixtureRequest) -> Path:
    """The server program under test."""
    return Path(getattr(request, "param", binaries()[0]))


@pytest.fixture(scope="session")
def redis_server(binary: Path) -> Iterator[Server]:
    """One server per test process. Tests that change its configuration must change it back."""
    # Not pytest's own tmp_path: a unix socket's path may have some 100 bytes only.
    folder = Path(tempfile.mkdtemp(prefix="watcher-"))
    arguments = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(binary), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        server = Server(binary, folder / "s", process)
        _await_server(server, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _await_server(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(server.socket)) == 0:
                return
        if server.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{server.binary} does not start:\n{log.read_text()}")
        time.sleep(0.005)  # there is nothing to wait on before the socket exists


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    """The URL of an empty server: no keys, no functions, no cached scripts."""
    with sync_redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.function_flush("SYNC")
        client.script_flush()
    return redis_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[async_redis.Redis]:
    """A client (answers are bytes) on an empty server."""
    client = async_redis.Redis.from_url(redis_url)
    yield client
    await client.aclose()
