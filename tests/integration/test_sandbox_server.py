"""Starting and stopping the sandbox: inside a program, and as a command."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.fakes import FakeClock
from tests.unit.sandbox.helpers import EPOCH, HEADERS, world_of
from watcher.errors import ConfigurationError
from watcher.sandbox import Sandbox

COMMAND = """
import typer
from watcher.cli.sandbox import sandbox
app = typer.Typer()
app.command()(sandbox)
app()
"""


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 - that a URL comes of it is what is tested
        "localhost",
    ],
)
async def test_port_0_picks_one_and_the_url_leads_to_it(host: str) -> None:
    async with (
        Sandbox(world_of(), FakeClock(EPOCH), host=host) as sandbox,
        aiohttp.ClientSession(headers=HEADERS) as session,
    ):
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):[1-9]\d+/v1", sandbox.base_url)
        async with session.get(sandbox.base_url + "/ocr_tasks") as response:
            assert response.status == 200


async def test_there_is_no_url_before_and_after() -> None:
    sandbox = Sandbox(world_of(), FakeClock(EPOCH))
    with pytest.raises(RuntimeError):
        _ = sandbox.base_url
    async with sandbox:
        url = sandbox.base_url
    with pytest.raises(RuntimeError):
        _ = sandbox.base_url
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/ocr_tasks")


async def test_a_port_in_use_is_named() -> None:
    async with Sandbox(world_of(), FakeClock(EPOCH)) as first:
        port = int(first.base_url.split(":")[2].split("/")[0])
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} is in use"):
            await Sandbox(world_of(), FakeClock(EPOCH), port=port).__aenter__()


async def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 203\.0\.113\.1:0"):
        await Sandbox(world_of(), FakeClock(EPOCH), host="203.0.113.1").__aenter__()


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("Simulated OCR API at http://")
    return line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    async with command("--port", "0", "--rate", "50", "--seed", "3", "--verbose") as process:
        url = await url_of(process)
        async with (
            aiohttp.ClientSession(headers=HEADERS) as session,
            session.get(url + "/ocr_tasks", params={"limit": "2"}) as response,
        ):
            rows = (await response.json())["data"]
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert len(rows) == 2
    assert "seed 3" in out.decode()
    assert (
        f"curl -H 'Authorization: Bearer sandbox' -H 'x-monite-version: 2024-05-25' \\\n    '{url}"
        in out.decode()
    )
    assert "GET /v1/ocr_tasks?limit=2 200 2 rows" in out.decode()
    assert "Stopped after 1 requests and 2 rows." in out.decode()


async def test_the_commands_faults_and_limits_are_used() -> None:
    async with command(
        "--port", "0", "--rate", "0", "--fault", "server_error=1", "--requests-per-second", "1000"
    ) as process:
        url = await url_of(process)
        async with (
            aiohttp.ClientSession(headers=HEADERS) as session,
            session.get(url + "/ocr_tasks") as response,
        ):
            assert response.status >= 500
            assert response.headers["RateLimit-Limit"] == "1000"


@pytest.mark.parametrize(("option", "shown"), [((), "without faults"), (("--faults",), "with faults")])
async def test_the_command_says_whether_it_has_faults(option: tuple[str, ...], shown: str) -> None:
    async with command("--port", "0", *option) as process:
        await url_of(process)
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
    assert f"seed 1, {shown}" in out.decode()


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--port", "70000"], ["--port: must be from 0 to 65535, not 70000"]),
        (["--rate", "-1"], ["--rate: must be 0 or more, not -1.0"]),
        (["--rate", "nan"], ["--rate: must be 0 or more, not nan"]),
        (["--rate", "1e12"], ["--rate: must be at most 1000, not 1e+12"]),
        (["--lifetime-scale", "0"], ["--lifetime-scale: must be more than 0, not 0.0"]),
        (["--requests-per-second", "-5"], ["--requests-per-second: must be 0 or more, not -5"]),
        (["--token-seconds", "0"], ["--token-seconds: must be 1 or more, not 0"]),
        (["--fault", "late=2"], ["--fault: late must be a probability from 0 to 1, not 2.0"]),
        (
            ["--port", "-1", "--fault", "late"],
            ["--port: must be from 0 to 65535, not -1", "--fault: late needs a number, such as late=0.1"],
        ),
    ],
)
async def test_wrong_values_end_with_2_and_a_line_each(arguments: list[str], lines: list[str]) -> None:
    async with command(*arguments) as process:
        out, err = await process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert err.decode().splitlines() == lines


async def test_a_port_in_use_ends_the_command_with_2() -> None:
    async with Sandbox(world_of(), FakeClock(EPOCH)) as first:
        port = first.base_url.split(":")[2].split("/")[0]
        async with command("--port", port) as process:
            _, err = await process.communicate()
    assert process.returncode == 2
    assert err.decode().splitlines() == [
        f"127.0.0.1:{port} is in use: choose another port, or 0 to have a free one picked"
    ]
