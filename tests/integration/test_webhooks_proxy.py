"""Attempts and checks through a proxy, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.authority import Authority, server_side
from tests.unit.webhooks.builders import endpoint
from tests.unit.webhooks.proxy import proxying
from tests.unit.webhooks.receiver import answer, close, hang, receiving
from watcher import __version__
from watcher.clock import SystemClock
from watcher.ops.reach import CheckError, reach
from watcher.webhooks.outcome import Attempt, Reason
from watcher.webhooks.sender import HttpSender

REFUSAL = b"HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Later\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n"
CREDENTIALS = "Basic " + b64encode(b"user:p@ss").decode()
OURS = {"authorization": SecretStr("Bearer for-the-endpoint"), "x-tenant": SecretStr("blue")}


def with_credentials(url: str) -> str:
    return url.replace("://", "://user:p%40ss@")


async def attempt(url: str, proxy: str, times: int = 1, **changes: Any) -> Attempt:
    """The last of so many attempts by one sender."""
    sender = HttpSender(endpoint(url=url, proxy=SecretStr(proxy), **changes), SystemClock())
    try:
        for _ in range(times):
            result = await sender.send(b"{}", {"webhook-id": "1"})
        return result
    finally:
        await sender.close()


async def test_plain_http_is_asked_of_the_proxy_by_its_whole_url() -> None:
    async with receiving() as receiver, proxying() as proxy:
        result = await attempt(receiver.url + "?a=b", with_credentials(proxy.url), times=2, headers=OURS)
    assert (result.reason, result.status) == (Reason.SUCCESS, 204)
    assert len(receiver.requests) == 2
    for request in proxy.requests:
        assert request.line == f"POST {receiver.url}?a=b HTTP/1.1"
        assert request.headers["proxy-authorization"] == CREDENTIALS
        assert request.headers["authorization"] == "Bearer for-the-endpoint"
    assert "proxy-authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("tls_to_the_proxy", [False, True])
async def test_tls_goes_through_the_proxy_unseen(authority: Authority, *, tls_to_the_proxy: bool) -> None:
    context = server_side(authority.issue("right", "IP:127.0.0.1"))
    async with (
        receiving(tls=context) as receiver,
        proxying(tls=context if tls_to_the_proxy else None) as proxy,
    ):
        to = with_credentials(proxy.url)
        result = await attempt(receiver.url, to, times=2, ca_file=authority.file, headers=OURS)
        assert (result.reason, result.status) == (Reason.SUCCESS, 204)
        assert [request.headers["authorization"] for request in receiver.requests] == [
            "Bearer for-the-endpoint"
        ] * 2
    [tunnel] = proxy.requests
    assert tunnel.line == f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1"
    assert tunnel.headers["proxy-authorization"] == CREDENTIALS
    assert tunnel.headers["user-agent"] == f"ocr-watcher/{__version__}"
    assert not {"authorization", "x-tenant", "webhook-id"} & tunnel.headers.keys(), "they are the endpoint's"


async def test_without_credentials_none_are_told(authority: Authority) -> None:
    context = server_side(authority.issue("plain", "IP:127.0.0.1"))
    async with receiving(tls=context) as safe, receiving() as plain, proxying() as proxy:
        for receiver in (safe, plain):
            result = await attempt(receiver.url, proxy.url, ca_file=authority.file, headers=OURS)
            assert result.reason is Reason.SUCCESS
    assert all("proxy-authorization" not in request.headers for request in proxy.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_asks_who_is_there_is_no_endpoints_answer(scheme: str) -> None:
    async with proxying(answer=REFUSAL) as proxy:
        result = await attempt(f"{scheme}://127.0.0.1:9/", proxy.url)
    assert (result.reason, result.status) == (Reason.PROXY, 407)


async def test_a_proxy_that_cannot_connect_says_when_to_come_again() -> None:
    async with proxying(answer=BUSY) as proxy:
        result = await attempt("https://127.0.0.1:9/", proxy.url)
        assert (result.reason, result.status, result.retry_after) == (Reason.PROXY, 503, "17")
        # Without TLS nobody can tell whose answer it is.
        result = await attempt("http://127.0.0.1:9/", proxy.url)
        assert (result.reason, result.status, result.retry_after) == (Reason.HTTP_5XX, 503, "17")


async def test_an_endpoints_own_407_without_a_proxy_is_its_own() -> None:
    async with receiving(answer(407)) as receiver:
        sender = HttpSender(endpoint(url=receiver.url), SystemClock())
        assert (await sender.send(b"{}", {})).reason is Reason.HTTP_4XX
        await sender.close()


async def _no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/"])
async def test_how_else_a_proxy_fails(url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert (await attempt(url, f"http://127.0.0.1:{port}")).reason is Reason.CONNECT
    assert (await attempt(url, "http://no-such-host.invalid:3128")).reason is Reason.DNS
    assert (await attempt(url, "http://169.254.169.254:3128")).reason is Reason.ADDRESS_REFUSED
    assert (await attempt(url, "http://[fe80::1]:3128")).reason is Reason.ADDRESS_REFUSED
    async with await asyncio.start_server(_no_tls, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        assert (await attempt(url, f"https://127.0.0.1:{port}")).reason is Reason.TLS
    async with receiving(close) as rude:
        assert (await attempt(url, f"http://127.0.0.1:{rude.port}")).reason is Reason.READ
    async with receiving(hang) as silent:
        assert (await attempt(url, f"http://127.0.0.1:{silent.port}", timeout=0.2)).reason is Reason.TIMEOUT


async def test_a_certificate_for_another_name_is_refused_behind_a_proxy_too(authority: Authority) -> None:
    context = server_side(authority.issue("wrong", "DNS:elsewhere.example"))
    async with receiving(tls=context) as receiver, proxying() as proxy:
        result = await attempt(receiver.url, proxy.url, ca_file=authority.file)
        assert result.reason is Reason.TLS
        assert receiver.requests == []


# --- watcher check ------------------------------------------------------------------------------------------


async def checked(url: str, proxy: str | None, **changes: Any) -> str:
    """What the check says, well or ill."""
    try:
        to = endpoint(url=url, proxy=SecretStr(proxy) if proxy else None, **changes)
        return await reach(to, SystemClock())
    except CheckError as error:
        return f"FAIL {error}"


@pytest.mark.parametrize("tls_to_the_proxy", [False, True])
async def test_a_check_goes_the_way_of_a_delivery(authority: Authority, *, tls_to_the_proxy: bool) -> None:
    context = server_side(authority.issue("checked", "IP:127.0.0.1"))
    async with (
        receiving(tls=context) as receiver,
        proxying(tls=context if tls_to_the_proxy else None) as proxy,
    ):
        told = await checked(receiver.url, with_credentials(proxy.url), ca_file=authority.file)
        there, through = f"127.0.0.1:{receiver.port}", f"127.0.0.1:{proxy.port}"
        assert told == (f"{there} takes connections through the proxy {through} (127.0.0.1), TLS verified")
        assert receiver.requests == []
        [tunnel] = proxy.requests
        assert tunnel.line == f"CONNECT {there} HTTP/1.1"
        assert tunnel.headers["proxy-authorization"] == CREDENTIALS
        if not tls_to_the_proxy:
            assert (await checked(receiver.url, proxy.url)).startswith(f"FAIL TLS with {there} fails")


async def test_a_check_without_a_proxy(authority: Authority) -> None:
    context = server_side(authority.issue("direct", "IP:127.0.0.1"))
    async with receiving(tls=context) as safe, receiving() as plain:
        assert await checked(safe.url, None, ca_file=authority.file) == (
            f"127.0.0.1:{safe.port} (127.0.0.1) takes connections, TLS verified"
        )
        assert await checked(plain.url, None) == f"127.0.0.1:{plain.port} (127.0.0.1) takes connections"
        assert "which the address policy refuses" in await checked(plain.url, None, network="public")


async def test_a_check_says_what_of_a_proxy_fails(tmp_path: Path) -> None:
    url = "https://127.0.0.1:9/"
    async with receiving() as plain, proxying() as proxy:
        told = await checked(plain.url, proxy.url)
        assert told == (
            f"the proxy 127.0.0.1:{proxy.port} (127.0.0.1) takes connections; without TLS nobody behind it is asked"
        )
        assert (proxy.requests, plain.connections) == ([], 0)
    async with proxying(answer=REFUSAL) as proxy:
        told = await checked(url, with_credentials(proxy.url))
        assert told.startswith(
            f"FAIL the proxy 127.0.0.1:{proxy.port} does not connect to 127.0.0.1:9: it answers 407"
        )
        assert "p@ss" not in told
        assert "p%40ss" not in told
    async with receiving(close) as other:
        assert "does not answer CONNECT" in await checked(url, f"http://127.0.0.1:{other.port}")
    assert "which the address policy refuses" in await checked(url, "http://169.254.169.254:3128")
    assert "no-such-host.invalid does not resolve" in await checked(url, "http://no-such-host.invalid:3128")
