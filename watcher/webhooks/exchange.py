"""One HTTP exchange over aiohttp's connections, its writer and its parser, without its session.

What a session does besides (redirects, cookies, headers of its own, the environment's proxies and passwords, sending
again) must not be done to a webhook, and costs more than the exchange itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from multidict import CIMultiDict
from yarl import URL

_END: Final = b"\r\n\r\n"
"""Of a head."""

_FINAL: Final = 200
"""Statuses below announce another head."""

_FORERUNNERS: Final = 100
"""Heads, or empty lines in pairs, that may come before the answer: each costs time, and there may be any number."""

_SURELY_SENT: Final = 64 * 1024
"""Bytes of a body that are taken to have been sent when a refusal comes. Behind TLS nobody can tell what has been."""

_UNTIMED: Final = aiohttp.ClientTimeout()
"""Whoever exchanges bounds all of it."""


class HeadFirst(ResponseHandler):
    """Reads an answer's head by itself, so that it counts whatever comes behind it.

    The library's parser drops a head if what came with it in one piece is not HTTP: a body behind a 204, more bytes
    than the length that was announced, a chunk that is none.
    """

    _awaited = True
    _at_rest = False
    _before = b""
    """What a head's end may have begun with, if it comes in pieces."""
    _forerunners = 0

    def expect(self) -> None:
        """A request is about to be sent."""
        self._awaited, self._at_rest = True, False
        self._before, self._forerunners = b"", 0

    def rest(self) -> None:
        """Nothing is asked any more, so nothing may come: it would be taken for the next request's answer."""
        self._at_rest = True

    def data_received(self, data: bytes) -> None:
        """Take what came: mostly all of an answer at once, and often nothing but a head."""
        if self._at_rest:
            self.abort()
            return
        while self._awaited:
            known = self._before + data
            end = known.find(_END) + len(_END)
            if end < len(_END):
                self._before = known[1 - len(_END) :]
                break
            end -= len(self._before)
            self._before = b""
            if end == len(data):
                break
            super().data_received(data[:end])
            data = data[end:]
            self._forerunners += self._awaited
            if self._forerunners > _FORERUNNERS and self.transport is not None:
                self.transport.abort()
                self.set_exception(HttpProcessingError(message="no answer comes"))
                return
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
        if code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.force_close()  # whatever it is that is spoken now
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


class Answer:
    """The head of an answer, and a body that is still coming. A context, at whose end the connection is let go.

    ``sent`` are the bytes of the request's body.
    """

    def __init__(
        self,
        connection: Connection,
        protocol: HeadFirst,
        message: RawResponseMessage,
        body: aiohttp.StreamReader,
        sent: int,
    ) -> None:
        self.status = message.code
        self.headers = message.headers
        self.body = body
        self._connection = connection
        self._protocol = protocol
        self._early = message.code >= HTTPStatus.MULTIPLE_CHOICES and sent > _SURELY_SENT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transport = self._connection.transport
        early = self._early or transport is None or transport.get_write_buffer_size()
        if kind is None and not early:
            self._protocol.rest()
            self._connection.release()  # to be used again, unless the body has not been read to its end
        else:
            _drop(self._connection)  # what has not been sent by now may find nobody who reads it


def _drop(connection: Connection) -> None:
    """Close it at once: what has not been sent would keep it open until it is read."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()


class Unsent(aiohttp.ClientConnectionError):
    """The connection broke while something of the request waited to be sent."""


class Target:
    """Whom requests go to over a connector, which closes with it, and the headers that all of them have."""

    def __init__(
        self,
        connector: Connector,
        url: URL,
        headers: Mapping[str, str],
        *,
        proxy: URL | None = None,
        proxy_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connector = connector
        about_proxy = CIMultiDict(proxy_headers or {})
        # Never sent itself. By GET, since for what else has no body the library announces an empty one.
        self._whom = aiohttp.ClientRequest(
            hdrs.METH_GET, url, headers=headers, proxy=proxy, proxy_headers=about_proxy
        )
        # The library does so when it connects, and takes connections for others once these have changed.
        about_proxy[hdrs.HOST] = self._whom.headers[hdrs.HOST]
        self._path = str(url) if proxy is not None and not self._whom.is_ssl() else url.raw_path_qs

    async def close(self) -> None:
        """Close every connection."""
        await self._connector.close()

    async def ask(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request, with these headers besides the target's, and wait for the head of its answer.

        Raises:
            Unsent: the connection broke before all was sent.
            aiohttp.ClientError: there was no connection, or it broke, or what came is not HTTP.
            OSError: the same, from below the library.
            ValueError: a header holds what none may hold.
        """
        connection = await self._connector.connect(self._whom, traces=[], timeout=_UNTIMED)
        try:
            protocol = connection.protocol
            if not isinstance(protocol, HeadFirst):  # there is always one on a connection that was just given
                raise aiohttp.ClientConnectionError("connection closed")
            protocol.expect()
            # Not unpacked: a small answer could become gigabytes.
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            await self._send(protocol, method, body, headers)
            while True:
                message, payload = await _read_head(protocol)
                if message.code >= _FINAL or message.code == HTTPStatus.SWITCHING_PROTOCOLS:
                    return Answer(connection, protocol, message, payload, len(body or b""))
        except HttpProcessingError as error:
            _drop(connection)
            raise aiohttp.ClientPayloadError("the answer is not HTTP") from error
        except BaseException:
            _drop(connection)
            raise

    async def _send(
        self, protocol: HeadFirst, method: str, body: bytes | None, headers: Mapping[str, str]
    ) -> None:
        every = self._whom.headers.copy()  # only now: connecting has put the proxy's password there
        every.update(headers)
        if body is not None:
            every[hdrs.CONTENT_LENGTH] = str(len(body))
        writer = StreamWriter(protocol, self._whom.loop)
        try:
            await writer.write_headers(f"{method} {self._path} HTTP/1.1", every)
            # Without waiting until all is sent: the answer may come before.
            await writer.write(body or b"", drain=False)
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Unsent from error


async def _read_head(protocol: HeadFirst) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    try:
        return await protocol.read()
    except (aiohttp.ClientConnectionError, OSError) as error:
        if protocol.writing_paused:
            raise Unsent from error
        raise
