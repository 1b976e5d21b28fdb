"""Where the operators' listener cannot listen, the setting that is to blame is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from watcher.errors import ConfigurationError
from watcher.ops.server import OpsServer


async def ready() -> list[str]:
    return []


async def nothing() -> None:
    pass


def refused(loop: Callable[[], asyncio.AbstractEventLoop], host: str, port: int) -> str:
    async def listen() -> None:
        server = OpsServer(CollectorRegistry(), ready, nothing)
        try:
            await server.start(host, port)
        finally:
            await server.stop()

    with asyncio.Runner(loop_factory=loop) as runner, pytest.raises(ConfigurationError) as caught:
        runner.run(listen())
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
class TestRefused:
    @pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 300])
    def test_a_host_that_is_not_here(self, loop: Callable[[], asyncio.AbstractEventLoop], host: str) -> None:
        assert refused(loop, host, 0).startswith(f"WATCHER_HTTP__HOST: cannot listen on {host} (")

    def test_a_port_in_use(self, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            told = f"WATCHER_HTTP__PORT: cannot listen on 127.0.0.1:{port} (Address already in use); stop what uses"
            assert refused(loop, "127.0.0.1", port).startswith(told)
