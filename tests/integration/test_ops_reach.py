"""``watcher check`` tries the addresses of an endpoint as a delivery would."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tests.unit.webhooks.builders import endpoint
from watcher.clock import SystemClock
from watcher.ops.reach import CheckError, reach


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every name resolves to from now on."""
    addresses: list[str] = []

    def lookup(_: object, port: int, *__: object, **___: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return addresses


async def checked(url: str, **changes: Any) -> str:
    """What the check says, well or ill."""
    try:
        return await reach(endpoint(url=url, **changes), SystemClock())
    except CheckError as error:
        return f"FAIL {error}"


async def test_every_address_is_tried_that_the_policy_allows(resolved: list[str]) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        resolved += ["169.254.1.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"]
        told = await checked(f"http://shop.example:{port}/")
        assert told == f"shop.example:{port} (127.0.0.2) takes connections"
        resolved.remove("127.0.0.2")
        told = await checked(f"http://shop.example:{port}/")
        assert told.startswith(f"FAIL cannot connect to shop.example:{port}: ")


@pytest.mark.parametrize(
    ("addresses", "network", "mend"),
    [
        (["169.254.169.254"], "any", "always are, give another url"),
        (["169.254.169.254"], "public", "always are, give another url"),
        (["100.100.100.200", "169.254.1.1"], "any", "always are, give another url"),
        (["10.0.0.1"], "public", 'or network = "any" if it is your own network'),
        (["169.254.169.254", "10.0.0.1"], "public", 'or network = "any" if it is your own network'),
    ],
)
async def test_what_is_advised_would_help(
    resolved: list[str], addresses: list[str], network: str, mend: str
) -> None:
    resolved += addresses
    told = await checked("http://shop.example/", network=network)
    assert told.startswith(f"FAIL shop.example is {', '.join(addresses)}, which the address policy refuses; ")
    assert told.endswith(mend)
