"""The client as the daemon makes it: whoever waits for the store can be stopped at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from watcher.state.connection import MOST_CONNECTIONS, connect


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url)
    await client.ping()
    yield client
    await client.aclose()


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancellation_is_never_lost(client: Redis, turns: int) -> None:
    """Before Python 3.12 ``asyncio.wait_for`` may swallow one: the daemon would not stop when told to."""

    async def work() -> None:
        for _ in range(3):
            await client.get("key")
        await asyncio.get_running_loop().create_future()

    working = asyncio.create_task(work())
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    done, _ = await asyncio.wait([working], timeout=5)
    working.cancel()
    assert done, "still at work"
    assert working.cancelled()


@pytest.mark.parametrize("turns", range(12))
async def test_after_a_cancellation_answers_do_not_get_mixed_up(client: Redis, turns: int) -> None:
    await client.set("one", "1")
    await client.set("two", "2")
    asking = asyncio.ensure_future(client.get("one"))
    for _ in range(turns):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert [await client.get(name) for name in ("two", "one", "two")] == [b"2", b"1", b"2"]


async def test_whoever_is_being_stopped_may_still_use_the_store(client: Redis) -> None:
    """A lease is given up and claims are given back after the cancellation has come."""
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        finally:
            await client.set("left", "behind")
            await client.set("left", "in order")

    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert await client.get("left") == b"in order"


async def test_more_commands_at_once_than_there_are_connections_wait_for_one(client: Redis) -> None:
    """As the scopes of thousands of entities do when they start."""
    asked = [client.set(str(number), number) for number in range(3 * MOST_CONNECTIONS)]
    assert all(await asyncio.gather(*asked))
    assert (await client.info("clients"))["connected_clients"] <= MOST_CONNECTIONS
