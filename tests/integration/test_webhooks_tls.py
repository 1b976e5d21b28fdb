"""Attempts over TLS: what is verified, and what is shown."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority, server_side
from tests.unit.webhooks.builders import endpoint
from tests.unit.webhooks.receiver import receiving
from watcher.clock import SystemClock
from watcher.errors import ConfigurationError
from watcher.webhooks.outcome import Attempt, Reason
from watcher.webhooks.sender import HttpSender


async def attempt(url: str, **changes: Any) -> Attempt:
    sender = HttpSender(endpoint(url=url, **changes), SystemClock())
    try:
        return await sender.send(b"{}", {})
    finally:
        await sender.close()


async def test_the_authority_that_is_named_is_trusted_and_no_other(
    authority: Authority, tmp_path: Path
) -> None:
    context = server_side(authority.issue("right", "IP:127.0.0.1"))
    async with receiving(tls=context) as receiver:
        assert (await attempt(receiver.url, ca_file=authority.file)).reason is Reason.SUCCESS
        assert (await attempt(receiver.url)).reason is Reason.TLS
        other = Authority(tmp_path / "other")
        assert (await attempt(receiver.url, ca_file=other.file)).reason is Reason.TLS
        assert len(receiver.requests) == 1


async def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    context = server_side(authority.issue("wrong", "DNS:elsewhere.example"))
    async with receiving(tls=context) as receiver:
        assert (await attempt(receiver.url, ca_file=authority.file)).reason is Reason.TLS
        assert receiver.requests == []


async def test_a_client_certificate_is_shown_where_it_is_asked_for(authority: Authority) -> None:
    context = server_side(authority.issue("strict", "IP:127.0.0.1"), clients=authority.file)
    mine = authority.issue("client", "DNS:client.example")
    async with receiving(tls=context) as receiver:
        shown = await attempt(receiver.url, ca_file=authority.file, client_cert=mine)
        assert shown.reason is Reason.SUCCESS
        hidden = await attempt(receiver.url, ca_file=authority.file)
        # The refusal comes after the handshake, in TLS 1.3, and may arrive as a mere end of the connection.
        assert hidden.reason in (Reason.TLS, Reason.READ)
        assert len(receiver.requests) == 1


async def test_what_is_refused_before_it_has_been_read_keeps_no_connection(authority: Authority) -> None:
    over = asyncio.Event()

    async def read_the_head_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await over.wait()
        writer.transport.abort()

    context = server_side(authority.issue("refuses", "IP:127.0.0.1"))
    async with await asyncio.start_server(read_the_head_only, "127.0.0.1", ssl=context, limit=4096) as server:
        port = server.sockets[0].getsockname()[1]
        to = endpoint(url=f"https://127.0.0.1:{port}/", ca_file=authority.file, timeout=5)
        sender = HttpSender(to, SystemClock())
        for _ in range(2):
            assert (await sender.send(bytes(32_000_000), {})).reason is Reason.HTTP_4XX
        await sender.close()
        over.set()


async def test_plain_http_where_tls_is_expected() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await attempt(f"https://127.0.0.1:{port}/")).reason is Reason.TLS


def test_an_unusable_file_is_named_before_anything_is_sent(authority: Authority, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigurationError, match=r"^webhooks\[one\]\.ca_file: .*broken.pem") as refused:
        HttpSender(endpoint(url="https://a.example", ca_file=broken), SystemClock())
    assert "\n" not in str(refused.value)
    key_of_another = tmp_path / "mixed.pem"
    one, two = authority.issue("a", "DNS:a"), authority.issue("b", "DNS:b")
    key = two.read_text()[two.read_text().index("-----BEGIN PRIVATE KEY") :]
    key_of_another.write_text(one.read_text().split("-----BEGIN PRIVATE KEY")[0] + key)
    with pytest.raises(ConfigurationError, match=r"^webhooks\[one\]\.client_cert: .*mixed.pem"):
        HttpSender(endpoint(url="https://a.example", client_cert=key_of_another), SystemClock())
