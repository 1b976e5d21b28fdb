"""The daemon as a process, and ways to look at it from outside."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from watcher.demo.daemon import Daemon

PATIENCE = 40.0


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def settings_for(base_url: str, directory: Path, **more: str) -> dict[str, str]:
    """Settings of a daemon that is quick enough for tests."""
    return {
        "WATCHER_MONITE__BASE_URL": base_url,
        "WATCHER_MONITE__TOKEN": "a-token-of-the-tests",
        "WATCHER_MONITE__TIMEOUT": "3",
        "WATCHER_POLL__INTERVAL": "0.5",
        "WATCHER_POLL__START": "all",
        "WATCHER_REDIS__DATA_DIR": str(directory),
        "WATCHER_HTTP__PORT": "0",
        "WATCHER_LOG__FORMAT": "json",
        "WATCHER_LOG__LEVEL": "debug",
        **more,
    }


T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], what: str, patience: float = PATIENCE) -> T:
    """Look again and again until there is something."""
    async with asyncio.timeout(patience):
        while True:
            found = await look()
            if found is not None and found is not False:
                return found
            await asyncio.sleep(0.05)
    raise AssertionError(what)


def log_lines(daemon: Daemon) -> list[dict[str, Any]]:
    lines = daemon.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def said(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    return [line for line in log_lines(daemon) if line["event"] == event]


async def ops_url(daemon: Daemon) -> str:
    async def look() -> str | None:
        daemon.check()
        found = said(daemon, "http.listening") if daemon.log.exists() else []
        return str(found[-1]["url"]) if found else None

    return await eventually(look, "the daemon never listened")


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def readiness(daemon: Daemon) -> tuple[int, list[str]]:
    status, text = await get(f"{await ops_url(daemon)}/readyz")
    return status, json.loads(text)["reasons"]


async def until_ready(daemon: Daemon) -> None:
    async def look() -> bool | None:
        status, _ = await readiness(daemon)
        return True if status == 200 else None

    await eventually(look, "the daemon never got ready")


async def until_not_ready(daemon: Daemon, word: str) -> list[str]:
    async def look() -> list[str] | None:
        status, reasons = await readiness(daemon)
        return reasons if status == 503 and any(word in reason for reason in reasons) else None

    return await eventually(look, f"readiness never said {word}")


@asynccontextmanager
async def running(settings: Mapping[str, str], directory: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(settings, directory)
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop()


@dataclass(slots=True)
class Endpoint:
    """A receiver that answers as it is told."""

    answer: Callable[[web.Request], Awaitable[web.Response]]
    bodies: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    url: str = ""


async def accept(_: web.Request) -> web.Response:
    return web.Response(status=204)


async def hang(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


@asynccontextmanager
async def listening(
    answer: Callable[[web.Request], Awaitable[web.Response]] = accept,
) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(answer)

    async def receive(request: web.Request) -> web.Response:
        endpoint.bodies.append(await request.read())
        endpoint.ids.append(request.headers["webhook-id"])
        return await endpoint.answer(request)

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    endpoint.url = f"http://{host}:{port}/"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def webhook(name: str, url: str, secret: str, **more: object) -> dict[str, object]:
    return {"name": name, "url": url, "secrets": [secret], **more}
