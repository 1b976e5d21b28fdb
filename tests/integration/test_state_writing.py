"""A store that answers and takes no writes: ``watcher check`` says so, why, and how to mend it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.integration.conftest import Server
from watcher.ops.checks import Finding, run_checks
from watcher.settings import Settings
from watcher.state.keys import Keys
from watcher.state.writing import SECONDS, refusal, try_write

pytestmark = pytest.mark.every_server


async def store_check(url: str) -> Finding:
    shown: list[Finding] = []
    settings = Settings.model_validate(
        {"monite": {"base_url": "http://127.0.0.1:9/v1", "token": "x"}, "redis": {"url": url}}
    )
    await run_checks(settings, shown.append)
    (store,) = [finding for finding in shown if finding.name == "store" and not finding.doubt]
    return store


@asynccontextmanager
async def without_memory(admin: Any) -> AsyncIterator[None]:
    await admin.config_set("maxmemory", "1")
    yield
    await admin.config_set("maxmemory", "0")


@asynccontextmanager
async def without_replicas(admin: Any) -> AsyncIterator[None]:
    await admin.config_set("min-replicas-to-write", "1")
    yield
    await admin.config_set("min-replicas-to-write", "0")


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (without_memory, "its memory is full; raise maxmemory, or shorten WATCHER_EVENTS__RETENTION"),
        (without_replicas, "too few replicas follow it; start them, or lower its min-replicas-to-write"),
    ],
)
async def test_what_is_wrong_and_how_to_mend_it_is_said(
    redis: Redis, redis_url: str, trouble: Callable[[Any], AbstractAsyncContextManager[None]], told: str
) -> None:
    async with trouble(redis):
        store = await store_check(redis_url)
    assert not store.good
    assert store.text.endswith(f" answers, but takes no writes: {told}")
    assert (await store_check(redis_url)).text.endswith(" answers and takes writes")


async def test_a_user_that_may_only_read_is_told(redis: Redis, redis_server: Server) -> None:
    admin: Any = redis
    await admin.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-set")
    try:
        store = await store_check(f"unix://reader:x@{redis_server.socket}")
    finally:
        await admin.execute_command("ACL", "DELUSER", "reader")
    assert not store.good
    assert "its user may not write {watcher}:mark; give it the rights that deploy" in store.text


async def test_what_is_written_on_trial_is_one_key_a_shard_that_expires(redis: Redis) -> None:
    shards = [Keys("w", shard, 2) for shard in range(2)]
    await try_write(redis, shards)
    left: Any = await redis.keys()
    assert sorted(left) == [b"{w:0}:mark", b"{w:1}:mark"]
    for keys in shards:
        assert 0 < await redis.ttl(keys.mark) <= SECONDS


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            "MISCONF Valkey is configured to save RDB snapshots, but is unable to persist",
            "make room on its disk",
        ),
        ("ERR something else", "ERR something else"),
    ],
)
def test_other_refusals(answer: str, told: str) -> None:
    assert told in refusal(ResponseError(answer), "k")
