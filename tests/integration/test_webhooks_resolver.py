"""Names that are looked up for lanes: what hangs holds up nobody else, nor the end of the process."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import pytest

from watcher.webhooks.resolver import LaneResolver

MORE_THAN_THE_LOOP_HAS = 40
"""Threads of a loop's own executor: 32 at most."""

HANGING = """
import asyncio, socket, threading
from watcher.webhooks.resolver import LaneResolver

def lookup(*_, **__):
    print("looking up", flush=True)
    threading.Event().wait()

async def main():
    resolver = LaneResolver("one")
    try:
        async with asyncio.timeout(0.1):
            await resolver.resolve("name.example")
    except TimeoutError:
        await resolver.close()

socket.getaddrinfo = lookup
asyncio.run(main())
"""


async def test_lookups_that_hang_hold_up_no_other_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    hanging = threading.Semaphore(0)

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        if host == "hangs.example":
            hanging.release()
            end.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    resolvers = [LaneResolver(f"lane-{number}") for number in range(MORE_THAN_THE_LOOP_HAS)]
    stuck = [asyncio.create_task(one.resolve("hangs.example", 80)) for one in resolvers]
    other = LaneResolver("other")
    try:
        async with asyncio.timeout(10):
            [found] = await other.resolve("name.example", 443)
            assert (found["host"], found["port"], found["hostname"]) == ("192.0.2.1", 443, "name.example")
            await asyncio.to_thread(lambda: [hanging.acquire(timeout=10) for _ in resolvers])
    finally:
        end.set()
        await asyncio.gather(*stuck)
    for one in [*resolvers, other]:
        await one.close()


async def test_what_nobody_waits_for_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    began, end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def lookup(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        loop.call_soon_threadsafe(began.set)
        end.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    resolver = LaneResolver("one")
    first = asyncio.create_task(resolver.resolve("first.example"))
    await began.wait()
    second = asyncio.create_task(resolver.resolve("second.example"))
    third = asyncio.create_task(resolver.resolve("third.example"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    end.set()
    for one in (first, third):
        with pytest.raises(socket.gaierror):
            await one
    assert asked == ["first.example", "third.example"]
    await resolver.close()


async def test_a_lookup_that_hangs_does_not_keep_the_process_alive() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert (said, process.returncode) == (b"looking up\n", 0)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_what_can_be_no_name_does_not_resolve(host: str) -> None:
    resolver = LaneResolver("one")
    with pytest.raises(socket.gaierror):
        await resolver.resolve(host)
    await resolver.close()
