"""A trial of an endpoint says in words why no answer came, and no secret in them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from tests.authority import Authority, server_side
from tests.unit.webhooks.builders import SECRET, endpoint
from tests.unit.webhooks.receiver import Answer, answer, close, hang, raw, receiving
from watcher.clock import SystemClock
from watcher.webhooks.handshake import Unanswered
from watcher.webhooks.outcome import NEVER_SENT, Reason
from watcher.webhooks.trial import Trial, try_endpoint
from watcher.webhooks.unanswered import why_unanswered

PRIVATE = "a-private-path"
SECRETS = {"authorization": SecretStr("Bearer a-private-token")}


async def why(url: str, **changes: Any) -> str:
    """What is said of a trial, in which no secret is."""
    url += f"{PRIVATE}?key={PRIVATE}"
    tried = await try_endpoint(endpoint(url=url, headers=SECRETS, **changes), SystemClock())
    for secret in (PRIVATE, "a-private-token", SECRET, "p@ss", "p%40ss"):
        assert secret not in tried.why
    return tried.why


@contextmanager
def nobody_there() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


async def test_an_answer_needs_no_words() -> None:
    for status in (204, 410, 500):
        async with receiving(answer(status)) as receiver:
            assert await why(f"{receiver.url}/") == ""


async def test_a_name_that_does_not_resolve() -> None:
    told = await why("http://does-not-exist.invalid/")
    assert told.startswith("does-not-exist.invalid does not resolve (")
    assert told.endswith("); mend its url or the DNS")


@pytest.mark.parametrize(
    ("url", "network", "mend"),
    [
        (
            "http://169.254.169.254/",
            "any",
            "; link-local addresses and those of cloud metadata services always are",
        ),
        ("http://127.0.0.1:9/", "public", '; give another url, or network = "any" if it is your own network'),
    ],
)
async def test_an_address_that_is_refused(url: str, network: str, mend: str) -> None:
    host = url.split("/")[2].partition(":")[0]
    told = await why(url, network=network)
    assert told.startswith(f"the address policy refuses every address of {host}{mend}")


async def test_nobody_listens() -> None:
    with nobody_there() as port:
        told = await why(f"http://127.0.0.1:{port}/")
        assert told.startswith(f"127.0.0.1:{port} takes no connection (Connection refused); see that it runs")
        proxied = await why("http://shop.example/", proxy=SecretStr(f"http://user:p%40ss@127.0.0.1:{port}"))
    assert proxied.startswith(f"the proxy 127.0.0.1:{port} takes no connection (Connection refused)")
    assert "its setting proxy is right" in proxied


async def test_a_certificate_that_is_not_trusted(authority: Authority) -> None:
    for name, changes, said in (
        ("IP:127.0.0.1", {}, "unable to get local issuer certificate"),
        ("DNS:elsewhere.example", {"ca_file": authority.file}, "certificate is not valid for '127.0.0.1'"),
    ):
        context = server_side(authority.issue("tried", name))
        async with receiving(tls=context) as receiver:
            told = await why(f"{receiver.url}/", **changes)
        assert told.startswith(f"TLS with 127.0.0.1:{receiver.port} fails (")
        assert said in told
        assert "mend its certificate, or ca_file" in told


async def test_no_tls_where_it_is_expected() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        told = await why(f"https://127.0.0.1:{port}/")
    assert told.startswith(f"TLS with 127.0.0.1:{port} fails (")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (hang, "has not answered within 0.2 s; see whether it hangs"),
        (close, "ended the connection before it answered; its own log may tell why"),
    ],
)
async def test_no_answer_comes(script: Answer, said: str) -> None:
    async with receiving(script) as receiver:
        told = await why(f"{receiver.url}/", timeout=0.2)
    assert told.startswith(f"127.0.0.1:{receiver.port} {said}")


async def test_what_is_no_http() -> None:
    async with receiving(raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")) as receiver:
        told = await why(f"{receiver.url}/")
    assert told.startswith(f"what 127.0.0.1:{receiver.port} answers is not HTTP; see that its url")


async def test_a_proxy_that_refuses() -> None:
    refusal = raw(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
    async with receiving(refusal) as proxy:
        url = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        told = await why("https://shop.example/", proxy=SecretStr(url))
    assert (
        told == f"the proxy 127.0.0.1:{proxy.port} refuses; mend its rules, or the user and password in proxy"
    )


async def test_why_a_permission_could_not_be_asked_for_is_said_as_well() -> None:
    with nobody_there() as port:
        asked = endpoint(url=f"http://127.0.0.1:{port}/", origin="events.example.com")
        tried = await try_endpoint(asked, SystemClock())
    assert isinstance(tried, Unanswered)
    assert tried.why.startswith(
        f"no answer to OPTIONS (connect): 127.0.0.1:{port} takes no connection (Connection refused); see"
    )


async def test_a_trial_that_is_answered_is_whole() -> None:
    async with receiving(answer(503)) as receiver:
        tried = await try_endpoint(endpoint(url=receiver.url), SystemClock())
    assert isinstance(tried, Trial)
    assert tried.attempt.status == 503


def test_every_reason_without_a_status_has_words() -> None:
    answered = {reason for reason in Reason if reason.startswith("http_")} | {Reason.SUCCESS} | NEVER_SENT
    for reason in Reason:
        assert bool(why_unanswered(reason, "", endpoint())) == (reason not in answered)
