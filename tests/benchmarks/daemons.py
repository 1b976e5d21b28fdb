"""The real daemon as a process, for what only a process of its own can show."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Final

import httpx

from watcher.demo.daemon import Daemon

_PATIENCE_SECONDS: Final = 60.0
_GLANCE_SECONDS: Final = 0.1


def settings_of(endpoint: str, url: str, api: str) -> dict[str, str]:
    """Settings with one endpoint; all others are as they are by default, and the store is to be named yet."""
    one = {"name": endpoint, "url": url, "secrets": ["whsec_" + "A" * 32]}
    return {
        "WATCHER_MONITE__BASE_URL": api,
        "WATCHER_MONITE__TOKEN": "benchmark",
        "WATCHER_WEBHOOKS": json.dumps([one]),
        "WATCHER_HTTP__PORT": "0",
    }


async def ready(daemon: Daemon) -> int:
    """Wait until the daemon has scanned once; its process id, as it logs it."""
    async with asyncio.timeout(_PATIENCE_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            daemon.check()
            log = daemon.log.read_text()
            url, pid = re.search(r'"url": ?"(http://[^"]+)"', log), re.search(r'"pid": ?(\d+)', log)
            if url and pid and (await client.get(f"{url[1]}/readyz")).is_success:
                return int(pid[1])
            await asyncio.sleep(_GLANCE_SECONDS)
