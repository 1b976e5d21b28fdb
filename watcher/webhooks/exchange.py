"""One HTTP exchange over aiohttp's connections, without its session.

What a session does besides (redirects, cookies, headers of its own, the environment's proxies and passwords, sending
again) must not be done to a webhook, and costs as much as half of the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.typedefs import LooseHeaders
from multidict import CIMultiDict

_END: Final = b"\r\n\r\n"
"""Of a head."""

_FINAL: Final = 200
"""Statuses below announce another head."""

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


class HeadFirst(ResponseHandler):
    """Reads an answer's head by itself, so that it counts whatever comes behind it.

    The library's parser drops a head if what came with it in one piece is not HTTP: a body behind a 204, more bytes
    than the length that was announced, a chunk that is none.
    """

    _awaited = True

    def expect(self) -> None:
        """A request is about to be sent."""
        self._awaited = True

    def data_received(self, data: bytes) -> None:
        """Take what came: mostly all of an answer at once, and often nothing but a head."""
        while self._awaited:
            end = data.find(_END) + len(_END)
            if end < len(_END) or end == len(data):
                break
            super().data_received(data[:end])
            data = data[end:]
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Give up, and let nobody wait for the rest of a body that will not come."""
        super().set_exception(exc, *cause)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the body is not HTTP"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Hand on an answer."""
        code = data[0].code
        self._awaited = code < _FINAL
        if code == HTTPStatus.NO_CONTENT and _names_a_body(data[0].headers):
            self.force_close()  # it may yet come, in the place of the next answer
        super().feed_data(data, size)


def _names_a_body(headers: Mapping[str, str]) -> bool:
    return headers.get(hdrs.CONTENT_LENGTH, "0") != "0" or hdrs.TRANSFER_ENCODING in headers


class Connector(aiohttp.TCPConnector):
    """aiohttp's, whose connections read heads first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler: type[ResponseHandler] = HeadFirst
        self._factory = partial(handler, loop=asyncio.get_running_loop())


async def answer_to(request: Request, connector: Connector) -> aiohttp.ClientResponse:
    """Send a request and wait for the head of its answer, which is to be used as a context, whatever its status.

    Raises:
        aiohttp.ClientError: there was no connection, or it broke, or what came is not HTTP.
        OSError: the same, from below the library.
    """
    connection = await connector.connect(request, traces=[], timeout=_UNTIMED)
    try:
        protocol = connection.protocol
        if not isinstance(protocol, HeadFirst):  # there is always one on a connection that was just given
            raise aiohttp.ClientConnectionError("connection closed")
        protocol.expect()
        # Not unpacked: a small answer could become gigabytes.
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        response = await request.send(connection)
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise
    except BaseException:
        connection.close()
        raise
