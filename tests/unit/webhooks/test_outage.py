"""Steps that are repeated while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from structlog.testing import capture_logs

from tests.fakes import EagerClock, FakeClock, settle
from watcher.errors import StoreUnavailable
from watcher.webhooks.outage import Outage

SECRET = "quoted argument"


def failing(times: int, error: Exception) -> Callable[[], Awaitable[str]]:
    left = iter(range(times))

    async def step() -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    return step


@pytest.mark.parametrize(
    "error", [RedisConnectionError(SECRET), ResponseError(SECRET), StoreUnavailable(SECRET)]
)
async def test_a_step_is_repeated_with_growing_waits_until_it_works(error: RedisError) -> None:
    clock = EagerClock()
    with capture_logs() as lines:
        assert await Outage(clock).through("claim one", failing(8, error)) == "done"
    assert clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0])
    said, over = lines
    assert (said["event"], said["error"]) == ("webhooks.store_unavailable", type(error).__name__)
    assert (over["event"], over["seconds"]) == ("webhooks.store_back", pytest.approx(9.1))
    assert SECRET not in repr(lines)


async def test_what_fails_for_another_reason_is_the_callers() -> None:
    clock = EagerClock()
    with capture_logs() as lines, pytest.raises(LookupError):
        await Outage(clock).through("claim one", failing(1, LookupError()))
    assert clock.slept == []
    assert lines == []


async def test_an_outage_is_said_once_for_all_and_over_when_all_work_again() -> None:
    clock = FakeClock()
    outage = Outage(clock)
    with capture_logs() as lines:
        short = asyncio.create_task(outage.through("claim one", failing(1, RedisConnectionError())))
        long = asyncio.create_task(outage.through("claim two", failing(3, RedisConnectionError())))
        await settle()
        await clock.advance(0.1)
        assert short.done()
        assert not long.done()
        assert [line["event"] for line in lines] == ["webhooks.store_unavailable"]
        await clock.advance(1)
        assert long.done()
    assert [line["event"] for line in lines] == ["webhooks.store_unavailable", "webhooks.store_back"]
    with capture_logs() as lines:
        await outage.through("claim one", failing(0, RedisConnectionError()))
    assert lines == []


async def test_a_step_that_was_given_up_hides_no_later_outage() -> None:
    """A reload during an outage gives up those of an endpoint that is left out."""
    outage = Outage(FakeClock())
    given_up = asyncio.create_task(outage.through("claim old", failing(2, RedisConnectionError())))
    await settle()
    given_up.cancel()
    await asyncio.wait({given_up})
    with capture_logs() as lines:
        later = asyncio.create_task(outage.through("claim one", failing(1, RedisConnectionError())))
        await settle()
        later.cancel()
        await asyncio.wait({later})
    assert [line["event"] for line in lines] == ["webhooks.store_unavailable"]
