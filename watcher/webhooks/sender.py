"""One attempt at one endpoint, over HTTP.

Each endpoint has a sender of its own, with its own connections and resolver, so that none can take them from
another. Nothing is raised but cancellation: whatever goes wrong is the attempt's reason.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp
import structlog
from aiohappyeyeballs import AddrInfoType
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from watcher import __version__
from watcher.clock import Clock
from watcher.settings import Endpoint
from watcher.webhooks.address import Network, is_allowed
from watcher.webhooks.exchange import Connector, Target, Unsent
from watcher.webhooks.handshake import ORIGIN_HEADER, Reply
from watcher.webhooks.outcome import Attempt, Reason, reason_of
from watcher.webhooks.resolver import LaneResolver
from watcher.webhooks.tls import tls_context

_ANSWER_BOUND: Final = 64 * 1024
"""Bytes of an answer that are read, so that the connection can be used again; a longer answer costs it."""
_ANSWER_KEPT: Final = 1024

_KEEP_ALIVE: Final = 4.0
"""Seconds an idle connection is kept: less than the 5 s after which Node, Apache and uvicorn close theirs.

A request on a connection that the other side is closing fails, and nobody can tell whether it was read.
"""

_log = structlog.get_logger()


class Sender(Protocol):
    """Sends to one endpoint."""

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """POST a body once, with these headers besides the endpoint's own."""
        ...

    async def ask(self, headers: Mapping[str, str]) -> Reply:
        """Ask the endpoint by OPTIONS whether it may be sent to, with these headers besides its own."""
        ...

    async def close(self) -> None:
        """Close every connection; the next attempt opens new ones."""
        ...


_USER_AGENT: Final = f"ocr-watcher/{__version__}"
_ABOUT_PROXY: Final = {"user-agent": _USER_AGENT}
"""All that a proxy is told: the endpoint's headers, tokens too, are not for it."""


class AddressRefused(OSError):  # noqa: N818 - a refusal, said of an address
    """The address is one that webhooks are not sent to."""


class HttpSender:
    """The real sender.

    Raises:
        ConfigurationError: from the constructor, where a certificate file cannot be used.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self._endpoint = endpoint
        self._url = URL(endpoint.url)
        self._proxy = URL(endpoint.proxy.get_secret_value()) if endpoint.proxy else None
        schemes = {self._url.scheme, self._proxy.scheme if self._proxy else ""}
        self._tls = tls_context(endpoint) if "https" in schemes else True
        self._headers = _headers(endpoint)
        self._clock = clock
        self._target: Target | None = None
        self._resolver: LaneResolver | None = None
        self.cause = ""
        """Why the last attempt that failed did, in the words of the system or the library: none of the request's."""

    def _open(self) -> Target:
        endpoint = self._endpoint
        self._resolver = LaneResolver(endpoint.name)
        connector = Connector(
            # Whoever asks for a permission holds no attempt up, though it be left without an answer.
            limit=endpoint.concurrency + (endpoint.origin is not None),
            resolver=self._resolver,
            keepalive_timeout=_KEEP_ALIVE,
            socket_factory=partial(_open_socket, endpoint.network),
            ssl=self._tls,
        )
        self._target = Target(
            connector,
            self._url,
            self._headers,
            # None but its own: one that nobody asked for would make the check of the dialled address meaningless.
            proxy=self._proxy,
            proxy_headers=_ABOUT_PROXY,
        )
        return self._target

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """POST a body once, within the endpoint's timeout from the name's resolution to the answer's end."""
        described = {hdrs.CONTENT_TYPE: self._endpoint.content_type, **headers}
        attempt, _ = await self._exchange(hdrs.METH_POST, body, described)
        return attempt

    async def ask(self, headers: Mapping[str, str]) -> Reply:
        """Ask by OPTIONS, with the time limit, the addresses and the certificates of a delivery."""
        attempt, answered = await self._exchange(hdrs.METH_OPTIONS, None, headers)
        if answered is None:
            return Reply(attempt)
        return Reply(attempt, answered.get("webhook-allowed-origin"), answered.get("webhook-allowed-rate"))

    async def _exchange(
        self, method: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Attempt, Mapping[str, str] | None]:
        """One request, and the headers of its answer if one came.

        The head is the answer: what its status says holds, whatever becomes of the body, for which there is the rest
        of the time. So an endpoint that says 410 or names a ``Retry-After`` is obeyed, and one that says 2xx has the
        event: with a body that never ends or is cut short it would else get everything again, and all of it would
        die at last. An answer without a length, cut short, cannot be told from a whole one anyway.
        """
        target = self._target or self._open()
        started = self._clock.monotonic()
        status = retry_after = answered = reason = None
        answer = bytearray()
        try:
            # From the name's resolution to the answer's end.
            async with asyncio.timeout(self._endpoint.timeout):
                with await target.ask(method, body, headers) as head:
                    status, answered = head.status, head.headers
                    reason = self._reason_of(status)
                    if reason is not Reason.SUCCESS:
                        retry_after = answered.get("retry-after")
                    await _read_beginning(head.body, answer)
        except aiohttp.ClientHttpProxyError as error:
            reason, status = Reason.PROXY, error.status
            retry_after = error.headers.get("retry-after") if error.headers else None
        except Exception as error:
            # All of them: a lane must outlive whatever happens here.
            failure = _reason(error)
            self.cause = _cause(error)
            reason = reason or failure
            if failure is Reason.INTERNAL:
                # The text might quote the request.
                _log.error(
                    "delivery.internal_error", endpoint=self._endpoint.name, error=type(error).__name__
                )
        seconds = self._clock.monotonic() - started
        return Attempt(reason, seconds, status, retry_after, bytes(answer)), answered

    def _reason_of(self, status: int) -> Reason:
        # Never an endpoint's answer, though without TLS it comes in the place of one.
        if self._proxy is not None and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return Reason.PROXY
        return reason_of(status)

    async def close(self) -> None:
        """Close every connection."""
        target, resolver = self._target, self._resolver
        self._target = self._resolver = None
        if target is not None:
            await target.close()
        if resolver is not None:
            await resolver.close()


def _headers(endpoint: Endpoint) -> dict[str, str]:
    """The headers of every attempt. The endpoint's own come last, since the settings have seen to them."""
    headers = CIMultiDict({"accept": "*/*", "accept-encoding": "identity", "user-agent": _USER_AGENT})
    if endpoint.origin is not None:
        headers[ORIGIN_HEADER] = endpoint.origin
    headers.update({name: value.get_secret_value() for name, value in endpoint.headers.items()})
    return dict(headers)


async def _read_beginning(body: aiohttp.StreamReader, kept: bytearray) -> None:
    """Keep the first kilobyte of the answer, and read to its end where that is near."""
    size = 0
    while size <= _ANSWER_BOUND and (chunk := await body.readany()):
        size += len(chunk)
        kept += chunk[: _ANSWER_KEPT - len(kept)]


def _open_socket(network: Network, address: AddrInfoType) -> socket.socket:
    """A socket for the address that is about to be dialled; also one written in the URL itself comes here.

    Raises:
        AddressRefused: the endpoint's network policy forbids the address.
    """
    family, kind, protocol, _, socket_address = address
    if not is_allowed(str(socket_address[0]), network):
        # One text for all, so that a name of which every address is refused yields this very error.
        raise AddressRefused("the network policy refuses this address")
    return socket.socket(family=family, type=kind, proto=protocol)


def _cause(error: Exception) -> str:
    """What the system or TLS says of a failure. No text of the library's: it may quote the URL, or the request."""
    below: BaseException | None = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        below = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        below = error.os_error
    elif not isinstance(error, ssl.SSLError) and isinstance(error.__cause__, OSError):
        below = error.__cause__
    match below:
        case ssl.SSLCertVerificationError():
            return below.verify_message
        case ssl.SSLError():
            return str(below.reason or "").lower().replace("_", " ")
        case socket.gaierror():
            return str(below.strerror or "")
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
    return "" if isinstance(error, aiohttp.ClientError | OSError) else type(error).__name__


def _reason(error: Exception) -> Reason:
    match error:  # from the particular to the general
        case aiohttp.ClientConnectorDNSError():
            return Reason.DNS
        case aiohttp.ClientConnectorError(os_error=AddressRefused()):
            return Reason.ADDRESS_REFUSED
        case aiohttp.ClientSSLError():
            return Reason.TLS
        case aiohttp.ClientConnectorError():
            return Reason.CONNECT
        case TimeoutError():
            return Reason.TIMEOUT
        case (
            aiohttp.ClientOSError(__cause__=ssl.SSLError())
            | aiohttp.ClientPayloadError(__cause__=ssl.SSLError())
            | ssl.SSLError()
        ):
            return Reason.TLS
        case Unsent():
            return Reason.WRITE
        case aiohttp.ClientConnectionError() | OSError():
            return Reason.READ
        case aiohttp.ClientError():
            return Reason.PROTOCOL
        case _:
            return Reason.INTERNAL
