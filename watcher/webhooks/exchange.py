"""One HTTP exchange over aiohttp's connections, without its session.

What a session does besides (redirects, cookies, headers of its own, the environment's proxies and passwords, sending
again) must not be done to a webhook, and costs as much as half of the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

_UNTIMED: Final = aiohttp.ClientTimeout()
"""Whoever exchanges bounds all of it."""


class Request(aiohttp.ClientRequest):
    """A request whose headers are complete as they are, but for the host and what the body says of itself."""

    def update_headers(self, headers: LooseHeaders | None) -> None:
        """Take them, and the host if they do not name one."""
        self.headers = CIMultiDict({hdrs.HOST: self.url.host_port_subcomponent or ""})
        self.headers.update(headers or {})

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add none."""


async def answer_to(request: Request, connector: aiohttp.BaseConnector) -> aiohttp.ClientResponse:
    """Send a request and wait for the head of its answer, which is to be used as a context, whatever its status.

    Raises:
        aiohttp.ClientError: there was no connection, or it broke, or what came is not HTTP.
        OSError: the same, from below the library.
    """
    connection = await connector.connect(request, traces=[], timeout=_UNTIMED)
    try:
        if connection.protocol is None:  # it never is on a connection that was just given
            raise aiohttp.ClientConnectionError("connection closed")
        # Not unpacked: a small answer could become gigabytes.
        connection.protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        response = await request.send(connection)
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise
    except BaseException:
        connection.close()
        raise
