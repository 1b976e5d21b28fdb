"""Hints with the daemon as a process: they lead to events while its cycles rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.harness import (
    eventually,
    get,
    ops_url,
    running,
    said,
    settings_for,
    until_ready,
)
from tests.monite_hooks import sign
from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.events.envelope import read_data
from watcher.events.stream import BEGINNING, follow
from watcher.model import PROCESSING, from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer, embedded_url
from watcher.state.keys import Keys

SECRET = "whsec_of-the-tests"
INTERVAL = 30
"""Seconds: longer than any of these tests takes unless something hangs."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """An API at which nothing arrives but what is created, recognised in 0.2 to 0.3 s."""
    clock = SystemClock()
    world = World(
        WorldSettings(rate=0, lifetime_scale=0.02, visibility_scale=0, entities=0), from_seconds(clock.time())
    )
    async with Sandbox(world, clock) as sandbox:
        yield sandbox


def settings(sandbox: Sandbox, directory: Path, **more: str) -> dict[str, str]:
    return settings_for(
        sandbox.base_url,
        directory,
        WATCHER_POLL__INTERVAL=str(INTERVAL),
        WATCHER_POLL__TARGET_DELAY=str(INTERVAL),
        WATCHER_EVENTS__TYPES="processing,success,error",
        WATCHER_HOOKS__MONITE_SECRET=SECRET,
        **more,
    )


async def post(url: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **headers}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=given) as response:
        return response.status, await response.json()


async def create(sandbox: Sandbox) -> str:
    """What the product does: it hands a document in."""
    headers = {"authorization": "Bearer of-the-product", "x-monite-version": "2024-05-25"}
    document = {"file_url": "https://files.example/invoice.pdf", "document_type": "invoice"}
    status, task = await post(f"{sandbox.base_url}/ocr_tasks", document, **headers)
    assert status == 202
    return str(task["id"])


async def until_ended(sandbox: Sandbox, task_id: str) -> None:
    async def look() -> bool | None:
        now = from_seconds(SystemClock().time())
        return True if any(t.id == task_id and t.ended_by(now) for t in sandbox.world.truth(now)) else None

    await eventually(look, "the simulated task never ended")


async def until_told(store: str, task_id: str, *kinds: str) -> None:
    async def look() -> bool | None:
        async with connect(store) as redis:
            found = [read_data(entry.event) async for entry in follow(redis, Keys(), BEGINNING, wait=False)]
        told = [data.status for data in found if data.task_id == task_id]
        assert len(told) == len(set(told))
        return True if len(told) == len(kinds) and told[-1] in kinds[-1] else None

    await eventually(look, f"{kinds} were not told")


async def metric(daemon: Daemon, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    _, text = await get(f"{await ops_url(daemon)}/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def hook(task_id: str) -> tuple[bytes, str]:
    """Monite's own webhook and its signature."""
    body = json.dumps(
        {
            "id": "0b2a0ea8-6a5c-4cf5-9b7d-44c2b5c5f001",
            "action": "ocr_task.finished",
            "description": "ocr_task_is_finished",
            "entity_id": None,
            "object": {"id": task_id},
            "object_type": "ocr_task",
        }
    ).encode()
    return body, sign(SECRET, int(SystemClock().time()), body)


async def test_events_come_because_of_hints_and_not_of_cycles(directory: Path, sandbox: Sandbox) -> None:
    async with running(settings(sandbox, directory), directory) as daemon:
        await until_ready(daemon)
        url, store = await ops_url(daemon), embedded_url(directory)
        listings, cycles = sandbox.requests_served.by_kind["list"], len(said(daemon, "poll.completed"))

        task_id = await create(sandbox)
        assert await post(f"{url}/hints", {"task_ids": [task_id]}) == (202, {"accepted": 1})
        await until_told(store, task_id, PROCESSING)

        await until_ended(sandbox, task_id)
        body, signature = hook(task_id)
        assert (await post(f"{url}/hooks/monite", body, **{"Monite-Signature": signature}))[0] == 200
        await until_told(store, task_id, PROCESSING, "success error")

        assert sandbox.requests_served.by_kind["list"] == listings
        assert len(said(daemon, "poll.completed")) == cycles
        looks = said(daemon, "hints.inspected")
        assert [(look["found"], look["events"]) for look in looks] == [(1, 1), (1, 1)]
        assert await metric(daemon, "watcher_poll_requests_total", plan="hint", outcome="ok") == 2
        assert await metric(daemon, "watcher_hints_total", source="http", outcome="found") == 1
        assert await metric(daemon, "watcher_hints_total", source="monite", outcome="found") == 1
        assert await metric(daemon, "watcher_hint_recall") == 1


async def test_whoever_creates_tasks_may_write_to_the_stream(directory: Path, sandbox: Sandbox) -> None:
    async with running(settings(sandbox, directory), directory) as daemon:
        await until_ready(daemon)
        listings = sandbox.requests_served.by_kind["list"]
        task_id = await create(sandbox)
        await until_ended(sandbox, task_id)
        async with connect(embedded_url(directory)) as redis:
            await redis.xadd("{watcher}:hints", {"task_id": task_id})
        await until_told(embedded_url(directory), task_id, "success error")
        assert sandbox.requests_served.by_kind["list"] == listings
        assert await metric(daemon, "watcher_hints_total", source="stream", outcome="found") == 1


async def test_a_standby_takes_hints_and_the_holder_of_the_lease_acts_on_them(
    directory: Path, sandbox: Sandbox
) -> None:
    store = EmbeddedServer(directory / "store")
    await store.start()
    try:
        places = [directory / "a", directory / "b"]
        for place in places:
            place.mkdir()
        given = settings(sandbox, directory, WATCHER_REDIS__URL=store.url)
        async with running(given, places[0]) as holder:
            await until_ready(holder)
            async with running(given, places[1]) as standby:
                await until_ready(standby)
                task_id = await create(sandbox)
                await until_ended(sandbox, task_id)
                listings = sandbox.requests_served.by_kind["list"]
                url = await ops_url(standby)
                assert (await post(f"{url}/hints", {"task_ids": [task_id]}))[0] == 202
                await until_told(store.url, task_id, "success error")
                assert sandbox.requests_served.by_kind["list"] == listings
                assert (len(said(holder, "hints.inspected")), said(standby, "hints.inspected")) == (1, [])
                assert not said(standby, "lease.acquired")
    finally:
        await store.stop()


async def test_a_forged_hook_asks_for_nothing(directory: Path, sandbox: Sandbox) -> None:
    async with running(settings(sandbox, directory), directory) as daemon:
        await until_ready(daemon)
        url = await ops_url(daemon)
        body, signature = hook("2f0ab5fe-6b6f-4a8c-8b6e-0f1d3f2e9c11")
        asked = sandbox.requests_served.total
        status, answer = await post(f"{url}/hooks/monite", body + b" ", **{"Monite-Signature": signature})
        assert (status, list(answer)) == (401, ["error"])
        async with connect(embedded_url(directory)) as redis:
            assert not await redis.exists("{watcher}:hints")
        assert sandbox.requests_served.total == asked
        assert len(said(daemon, "hook.refused")) == 1
        text = await asyncio.to_thread(daemon.log.read_text)
        assert SECRET not in text
