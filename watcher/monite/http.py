"""The HTTP client through which the API is read: httpx on aiohttp's connection pool.

httpx's own pool (httpcore 1.0) leaks connections of cancelled requests; aiohttp's doesn't.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from watcher import __version__

MAX_CONNECTIONS: Final = 32
"""Requests that can be under way at a time."""

KEEP_ALIVE: Final = 30.0
"""Seconds an idle connection is kept: several polls of the default interval, less than load balancers do."""

about_to_send: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("about_to_send", default=None)
"""What to await once a request of the current task has its connection, before it is written to it."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        ready = about_to_send.get()
        if ready is not None:
            await ready()
        return await super().send(conn)


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET whose connection was lost: the budget has counted it once.

    It repeats after these two errors only, and without being asked, so they leave as another one.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def open_http(
    base_url: str, timeout_seconds: float, *, max_connections: int = MAX_CONNECTIONS
) -> httpx.AsyncClient:
    """A client for the API below ``base_url``; the caller closes it.

    Redirects are not followed, cookies not kept, and proxies named by the environment not used. Certificates
    are checked against certifi's authorities, or those that ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` name.
    """
    # At its "info" level httpx logs every URL, and a URL may hold a page token.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    tls = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=KEEP_ALIVE, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_send_once,),
            request_class=_Request,
        )

    return httpx.AsyncClient(
        base_url=base_url,
        transport=AiohttpTransport(verify=tls, client=session),
        timeout=timeout_seconds,
        headers={
            "accept": "application/json",
            "accept-encoding": "gzip",
            "user-agent": f"ocr-watcher/{__version__}",
        },
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )
