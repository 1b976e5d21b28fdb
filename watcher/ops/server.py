"""The operators' listener: ``/livez``, ``/readyz``, ``/metrics`` and what other parts add."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from watcher import __version__
from watcher.errors import ConfigurationError
from watcher.ops.access import errors_as_json

LINGERING: Final = 1.0
"""Seconds for which what is left of a refused body is read, so that its sender sees the answer; a stop waits for it."""

_OF_THE_HOST: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL})
"""What the host of an address is to blame for, not its port."""

log = structlog.get_logger()

_silent: Final = logging.getLogger("watcher.ops.aiohttp")
"""For what aiohttp says of requests that are none: it would quote them, and anybody may send them."""
_silent.disabled = True

Readiness = Callable[[], Awaitable[list[str]]]
Refresh = Callable[[], Awaitable[None]]


class OpsServer:
    """Serves health and metrics, and the ``routes`` of others.

    ``readiness`` says why not; ``refresh`` brings gauges up to date.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Readiness,
        refresh: Refresh,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._refresh = refresh
        self._routes = routes
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 picks a free one.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        app = web.Application(middlewares=[errors_as_json])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/livez", _alive),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                *self._routes,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, logger=_silent, lingering_time=LINGERING)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            raise ConfigurationError([_refused(error, host, port)]) from error
        bound = self._runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"
        log.info("http.listening", url=self.url)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _index(self, _: web.Request) -> web.Response:
        paths = ["/livez", "/readyz", "/metrics", *(route.path for route in self._routes)]
        return web.json_response({"ocr-watcher": __version__, "paths": paths})

    async def _ready(self, _: web.Request) -> web.Response:
        reasons = await self._readiness()
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        await self._refresh()
        return web.Response(
            body=generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )


def _refused(error: OSError | UnicodeError, host: str, port: int) -> str:
    """What is wrong with an address that cannot be listened on: its host, or else its port."""
    if isinstance(error, UnicodeError):
        why = "no name of a host"
    elif isinstance(error, socket.gaierror):
        why = str(error.strerror)
    else:
        why = os.strerror(error.errno or 0)  # uvloop's own words are long
        if error.errno not in _OF_THE_HOST:
            return (
                f"WATCHER_HTTP__PORT: cannot listen on {host}:{port} ({why}); "
                "stop what uses it, choose another port, or 0 to have one picked"
            )
    return f"WATCHER_HTTP__HOST: cannot listen on {host} ({why}); give an address of this machine, such as 127.0.0.1"


async def _alive(_: web.Request) -> web.Response:
    return web.json_response({"alive": True})
