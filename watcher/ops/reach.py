"""Whether an endpoint can be reached: the names, the address policy, the proxy and TLS, as for a delivery."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from yarl import URL

from watcher import __version__
from watcher.clock import Clock
from watcher.errors import WatcherError
from watcher.settings import Endpoint
from watcher.webhooks.address import Network, is_allowed
from watcher.webhooks.handshake import Granted
from watcher.webhooks.permission import ask_once
from watcher.webhooks.tls import tls_context

PATIENCE: Final = 10.0
"""Seconds for an endpoint to be resolved, connected to and agreed with on TLS."""

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class CheckError(WatcherError):
    """A check that failed; says how to mend it."""


async def reach(endpoint: Endpoint, clock: Clock) -> str:
    """Resolve, hold against the address policy, connect, agree on TLS; no event is sent. Says what it found.

    An endpoint that has to permit it before it is sent to is asked whether it does. Else, through a proxy, only one
    with TLS can be reached without sending it something; of another the proxy alone is tried.

    Raises:
        CheckError: something of it fails.
    """
    url = URL(endpoint.url)
    proxy = URL(endpoint.proxy.get_secret_value()) if endpoint.proxy else None
    try:
        async with asyncio.timeout(PATIENCE):
            address, streams = await _dial(proxy or url, endpoint)
            try:
                if proxy is not None and url.scheme == "https":
                    await _tunnel(streams, proxy, url, endpoint)
            finally:
                streams[1].close()
    except TimeoutError as error:
        through = f" through the proxy {_place(proxy)}" if proxy else ""
        raise CheckError(f"no connection to {_place(url)}{through} within {PATIENCE:g} s") from error
    found = _found(url, proxy, address)
    return (
        found if endpoint.origin is None else f"{found}; {await _permitted(endpoint, endpoint.origin, clock)}"
    )


def _found(url: URL, proxy: URL | None, address: str) -> str:
    verified = ", TLS verified" if url.scheme == "https" else ""
    if proxy is None:
        return f"{_place(url)} ({address}) takes connections{verified}"
    if url.scheme == "https":
        return f"{_place(url)} takes connections through the proxy {_place(proxy)} ({address}){verified}"
    return f"the proxy {_place(proxy)} ({address}) takes connections; without TLS nobody behind it is asked"


async def _permitted(endpoint: Endpoint, origin: str, clock: Clock) -> str:
    verdict = await ask_once(endpoint, origin, clock)
    if not isinstance(verdict, Granted):
        raise CheckError(
            f"does not permit webhooks from {origin}: {verdict.why}; have it answer OPTIONS with a 2xx and "
            f"WebHook-Allowed-Origin: {origin}, or take origin out"
        )
    rate = "at any rate" if verdict.rate is None else f"at {verdict.rate * 60:g} a minute"
    return f"permits webhooks from {origin} {rate}"


async def _dial(url: URL, endpoint: Endpoint) -> tuple[str, _Streams]:
    """A connection to the first address that the policy allows and that takes one, as a delivery finds it."""
    with _told(url):
        *others, last = await _allowed(url, endpoint.network)
        tls = tls_context(endpoint) if url.scheme == "https" else None
        name = url.host if tls else None
        for address in others:
            with suppress(OSError):
                async with asyncio.timeout(PATIENCE / (len(others) + 1)):
                    return address, await asyncio.open_connection(
                        address, url.port, ssl=tls, server_hostname=name
                    )
        return last, await asyncio.open_connection(last, url.port, ssl=tls, server_hostname=name)


async def _allowed(url: URL, network: Network) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if allowed := [address for address in addresses if is_allowed(address, network)]:
        return allowed
    mend = "link-local addresses and those of cloud metadata services always are, give another url"
    if any(is_allowed(address, "any") for address in addresses):
        mend = 'give another url, or network = "any" if it is your own network'
    raise CheckError(f"{url.host} is {', '.join(addresses)}, which the address policy refuses; {mend}")


async def _tunnel(streams: _Streams, proxy: URL, url: URL, endpoint: Endpoint) -> None:
    """Have the proxy connect to the endpoint, and agree with the endpoint on TLS."""
    reader, writer = streams
    host = f"[{url.host}]" if ":" in (url.host or "") else url.raw_host
    lines = [
        f"CONNECT {host}:{url.port} HTTP/1.1",
        f"host: {host}:{url.port}",
        f"user-agent: ocr-watcher/{__version__}",
    ]
    if proxy.user or proxy.password:
        word = b64encode(f"{proxy.user or ''}:{proxy.password or ''}".encode("latin-1")).decode()
        lines.append(f"proxy-authorization: Basic {word}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise CheckError(
            f"the proxy {_place(proxy)} does not answer CONNECT; give the URL of an HTTP proxy"
        ) from error
    version, _, status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if not version.startswith("HTTP/") or status[:3] != "200":
        raise CheckError(
            f"the proxy {_place(proxy)} does not connect to {_place(url)}: it answers {ascii(status[:60])[1:-1]}; "
            "mend its rules, or the user and password in proxy"
        )
    with _told(url):
        await writer.start_tls(tls_context(endpoint), server_hostname=url.host)


@contextmanager
def _told(url: URL) -> Iterator[None]:
    """Whatever goes wrong with a connection, in words."""
    try:
        yield
    except socket.gaierror as error:
        raise CheckError(
            f"{url.host} does not resolve ({error.strerror}); mend its url or the DNS"
        ) from error
    except ssl.SSLError as error:
        raise CheckError(
            f"TLS with {_place(url)} fails: {error.reason}; mend its certificate, or ca_file"
        ) from error
    except OSError as error:
        raise CheckError(f"cannot connect to {_place(url)}: {error.strerror or error}") from error


def _place(url: URL | None) -> str:
    """Host and port: the rest of a URL may be secret."""
    return f"{url.host}:{url.port}" if url else ""
