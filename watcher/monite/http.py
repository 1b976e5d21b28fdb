"""The HTTP client through which the API is read: httpx on aiohttp's connection pool.

httpx's own pool (httpcore 1.0) leaks connections of cancelled requests; aiohttp's doesn't.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Protocol

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from watcher import __version__

MAX_CONNECTIONS: Final = 32
"""Requests that can be under way at a time."""

KEEP_ALIVE: Final = 30.0
"""Seconds an idle connection is kept: several polls of the default interval, less than load balancers do."""


class Start(Protocol):
    """A request that the budget has counted. To have a connection made may take long, and the API counts arrivals."""

    async def confirm(self) -> None:
        """It is about to be sent. If it was held up, it is counted anew, and waits where it must."""
        ...

    async def sent(self) -> None:
        """It has been sent. If it was held up all the same, it is counted as sent now."""
        ...


start_of_request: ContextVar[Start | None] = ContextVar("start_of_request", default=None)
"""What is told when a request of the current task is written to its connection, before and after."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        start = start_of_request.get()
        if start is None:
            return await super().send(conn)
        await start.confirm()
        response = await super().send(conn)
        await start.sent()
        return response


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
