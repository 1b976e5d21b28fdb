"""What the daemon does when everything around it breaks: the process over real sockets."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.servers import free_port
from watcher.clock import SystemClock
from watcher.model import from_seconds
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.state.embedded import EmbeddedServer, embedded_url

from .harness import (
    accept,
    eventually,
    get,
    hang,
    listening,
    new_secret,
    ops_url,
    readiness,
    running,
    said,
    settings_for,
    until_not_ready,
    until_ready,
    webhook,
)
from .truth import until_all_published


async def test_the_api_away_at_the_start_is_waited_for(directory: Path) -> None:
    port = free_port()
    async with running(settings_for(f"http://127.0.0.1:{port}/v1", directory), directory) as daemon:
        assert (await get(f"{await ops_url(daemon)}/livez"))[0] == 200
        await until_not_ready(daemon, "transport")
        clock = SystemClock()
        world = World(WorldSettings(rate=10, lifetime_scale=0.1, entities=0), from_seconds(clock.time()))
        async with Sandbox(world, clock, port=port) as sandbox:
            await until_ready(daemon)
            await until_all_published(sandbox, embedded_url(directory))
        assert len(said(daemon, "poll.failing")) <= 2
        assert len(said(daemon, "poll.recovered")) == 1


async def test_a_store_away_at_the_start_and_in_the_middle_is_waited_for(
    directory: Path, sandbox: Sandbox
) -> None:
    port = free_port()
    store = EmbeddedServer(directory / "store", port)
    url = f"redis://127.0.0.1:{port}/0"
    settings = settings_for(sandbox.base_url, directory, WATCHER_REDIS__URL=url)
    del settings["WATCHER_REDIS__DATA_DIR"]
    async with running(settings, directory) as daemon:
        await until_not_ready(daemon, "the store is away")

        async def told() -> bool | None:
            return True if said(daemon, "store.unavailable") else None

        await eventually(told, "the log never said that the store is away")
        await store.start()
        try:
            await until_ready(daemon)
            assert len(said(daemon, "store.unavailable")) == 1
            await until_all_published(sandbox, url)
            await store.stop()
            await until_not_ready(daemon, "the store is away")
            await store.start()
            await until_ready(daemon)
            await until_all_published(sandbox, url)
        finally:
            await store.stop()


async def test_a_rejected_token_is_named_once_and_readiness_says_so(
    directory: Path, sandbox: Sandbox
) -> None:
    settings = settings_for(sandbox.base_url, directory, WATCHER_MONITE__TOKEN="invalid")
    async with running(settings, directory) as daemon:
        await until_not_ready(daemon, "unauthorized")
        served = sandbox.requests_served.total

        async def tried_again() -> bool | None:
            return True if sandbox.requests_served.total > served + 1 else None

        await eventually(tried_again, "the daemon gave up")
        failing = said(daemon, "poll.failing")
        assert len(failing) == 1
        assert failing[0]["reason"] == "unauthorized"
        assert failing[0]["request_id"]


async def test_an_api_that_wants_no_requests_for_long_is_said_and_so_it_is_after_a_restart(
    directory: Path,
) -> None:
    async def later(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    app = web.Application()
    app.router.add_get("/v1/ocr_tasks", later)
    async with TestServer(app) as api:
        settings = settings_for(str(api.make_url("/v1")), directory)
        async with running(settings, directory) as daemon:
            await until_not_ready(daemon, "no complete scan yet (the API wants no requests for another 3")
            assert [line["seconds"] for line in said(daemon, "monite.paused")] == [3600]
            await daemon.stop()
            daemon.log.unlink()
            await daemon.start()
            await until_not_ready(daemon, "no complete scan yet (the API wants no requests for another 3")


async def test_an_endpoint_that_never_answers_leaves_the_others_alone(
    directory: Path, sandbox: Sandbox
) -> None:
    async with listening(hang) as hanging, listening(accept) as healthy:
        endpoints = [
            webhook("hanging", hanging.url, new_secret(), timeout=60),
            webhook("healthy", healthy.url, new_secret()),
        ]
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=json.dumps(endpoints))
        async with running(settings, directory) as daemon:

            async def many() -> bool | None:
                return True if len(healthy.ids) > 30 and len(hanging.ids) >= 8 else None

            await eventually(many, "the healthy endpoint was held up")
            assert len(hanging.ids) == 8, "the concurrency of the hanging endpoint"
            _, metrics = await get(f"{await ops_url(daemon)}/metrics")
            assert 'watcher_delivery_attempts_total{endpoint="healthy",outcome="success"}' in metrics
            assert 'watcher_delivery_queue_depth{endpoint="hanging"}' in metrics
            await daemon.kill()  # a clean stop would wait for the hanging attempts


async def test_nothing_secret_is_logged(directory: Path, sandbox: Sandbox) -> None:
    secret = new_secret()
    async with listening() as endpoint:
        settings = settings_for(
            sandbox.base_url,
            directory,
            WATCHER_WEBHOOKS=json.dumps(
                [webhook("shop", endpoint.url, secret, headers={"x-key": "a-key-of-the-endpoint"})]
            ),
            WATCHER_EVENTS__RECOGNIZED_DATA="true",
        )
        async with running(settings, directory) as daemon:

            async def delivered() -> bool | None:
                return True if any(b"recognized_data" in body for body in endpoint.bodies) else None

            await eventually(delivered, "nothing was delivered")
            _, metrics = await get(f"{await ops_url(daemon)}/metrics")
        text = daemon.log.read_text() + metrics
        for hidden in (
            "a-token-of-the-tests",
            secret,
            secret[6:],
            "a-key-of-the-endpoint",
            "iban",
            "tax_number",
        ):
            assert hidden not in text
        assert said(daemon, "delivery.attempted")


async def test_a_second_daemon_on_the_same_directory_refuses_and_names_the_first(
    directory: Path, sandbox: Sandbox
) -> None:
    settings = settings_for(sandbox.base_url, directory)
    async with running(settings, directory) as first:
        await until_ready(first)
        second = type(first)(settings, directory)
        second.log = directory / "second.log"
        await second.start()

        async def ended() -> bool | None:
            return None if second.running else True

        await eventually(ended, "the second daemon went on")
        assert await second.stop() == 1
        text = second.log.read_text()
        assert str(first.pid) in text
        assert "Traceback" not in text
        assert (await readiness(first))[0] == 200


async def test_a_standby_is_ready_and_takes_over_at_once_on_a_clean_stop(
    directory: Path, sandbox: Sandbox
) -> None:
    store = EmbeddedServer(directory / "store")
    await store.start()
    try:
        places = [directory / "a", directory / "b"]
        for place in places:
            place.mkdir()
        settings = settings_for(sandbox.base_url, directory, WATCHER_REDIS__URL=store.url)
        async with running(settings, places[0]) as first:
            await until_ready(first)
            async with running(settings, places[1]) as second:
                await until_ready(second)
                assert said(second, "lease.waiting")
                assert not said(second, "lease.acquired")
                assert await first.stop() == 0

                async def taken() -> bool | None:
                    return True if said(second, "lease.acquired") else None

                await eventually(taken, "nobody took over")
                await until_ready(second)
                await until_all_published(sandbox, store.url)
    finally:
        await store.stop()


async def test_sigterm_stops_cleanly_and_a_second_signal_at_once(directory: Path, sandbox: Sandbox) -> None:
    async with listening(hang) as endpoint:
        settings = settings_for(
            sandbox.base_url,
            directory,
            WATCHER_WEBHOOKS=json.dumps([webhook("slow", endpoint.url, new_secret(), timeout=60)]),
        )
        async with running(settings, directory) as daemon:

            async def busy() -> bool | None:
                return True if endpoint.ids else None

            await eventually(busy, "nothing was sent")
            daemon.signal(signal.SIGTERM)

            async def stopping() -> bool | None:
                return True if said(daemon, "daemon.stopping") else None

            await eventually(stopping, "the signal was not noticed")
            daemon.signal(signal.SIGINT)
            assert await daemon.wait() == 1
            assert said(daemon, "daemon.forced")
        again = directory / "again"
        again.mkdir()
        async with running(settings_for(sandbox.base_url, directory), again) as daemon:
            await until_ready(daemon)
            assert await daemon.stop() == 0
            assert said(daemon, "daemon.stopped")
            assert said(daemon, "lease.ended")


async def test_every_metric_of_the_contract_is_there(directory: Path, sandbox: Sandbox) -> None:
    async with running(settings_for(sandbox.base_url, directory), directory) as daemon:
        await until_ready(daemon)
        _, text = await get(f"{await ops_url(daemon)}/metrics")
        for name in (
            "detection_delay_seconds",
            "delivery_delay_seconds",
            "poll_requests_total",
            "poll_requests_lower_bound",
            "events_published_total",
            "in_flight_tasks",
            "coverage_lag_seconds",
            "last_complete_scan_timestamp_seconds",
            "delivery_attempts_total",
            "delivery_queue_depth",
            "delivery_oldest_undelivered_seconds",
            "dead_letters",
            "lease_held",
            "upstream_errors_total",
            "rate_budget_remaining",
        ):
            assert f"watcher_{name.removesuffix('_total')}" in text
