from __future__ import annotations

import asyncio
import copy

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from watcher.state.lease import PATIENCE
from watcher.state.retry import LONGEST, RETRIES, BoundedRetry


class Server:
    """Fails so many times, and then answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or RedisConnectionError("cut")
        self.asked = self.mended = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"

    async def mend(self, error: Exception) -> None:
        self.mended += 1


async def test_a_broken_connection_is_tried_again_a_few_times() -> None:
    server = Server(RETRIES)
    assert await BoundedRetry().call_with_retry(server.ask, server.mend) == "answer"
    assert (server.asked, server.mended) == (RETRIES + 1, RETRIES)
    hopeless = Server(RETRIES + 1)
    with pytest.raises(RedisConnectionError):
        await BoundedRetry().call_with_retry(hopeless.ask, hopeless.mend)


async def test_what_the_server_refuses_is_not_tried_again() -> None:
    server = Server(1, ResponseError("no"))
    with pytest.raises(ResponseError):
        await BoundedRetry().call_with_retry(server.ask, server.mend)
    assert server.asked == 1


async def test_tries_within_tries_end_when_the_time_is_over() -> None:
    async def stands_still() -> None:
        await asyncio.get_running_loop().create_future()

    server = Server(0)
    retry = copy.deepcopy(BoundedRetry(longest=0.01))  # as the client does for each connection
    with pytest.raises(RedisTimeoutError, match="in time"):
        await retry.call_with_retry(lambda: retry.call_with_retry(stands_still, server.mend), server.mend)


async def test_a_stop_stays_a_stop() -> None:
    async def stands_still() -> None:
        await asyncio.get_running_loop().create_future()

    server = Server(0)
    asking = asyncio.ensure_future(BoundedRetry().call_with_retry(stands_still, server.mend))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()


def test_a_holder_hears_of_a_store_that_stands_still_before_it_gives_its_lease_up() -> None:
    assert LONGEST < PATIENCE
