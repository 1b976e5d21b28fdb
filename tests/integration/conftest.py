"""A real server for every test process, emptied before each test. There is no fake one.

``TEST_REDIS_SERVER`` names another server program (Redis 7.0+ or Valkey) than the one the daemon embeds. What is
marked ``every_server`` runs on each program that this machine has: see ``tests.servers.binaries``.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis as sync_redis
import redis.asyncio as async_redis

from tests.authority import Authority
from tests.servers import binaries, running, short_folder

_SOCKET = "s"
_OPTIONS = {
    "port": "0",
    "unixsocket": _SOCKET,
    "save": "",
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
}


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
    arguments = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
    with short_folder() as folder, running(binary, arguments, folder, str(folder / _SOCKET)) as process:
        yield Server(binary, folder / _SOCKET, process)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose certificates the tests' servers and clients show."""
    return Authority(tmp_path_factory.mktemp("tls") / "one")


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
