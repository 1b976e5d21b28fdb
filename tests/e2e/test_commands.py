"""The commands as a person calls them, beside a running daemon and without one."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import web

from watcher.sandbox import Sandbox

from .harness import eventually, listening, new_secret, running, said, settings_for, until_ready, webhook

TOKEN = {"WATCHER_MONITE__TOKEN": "a-token-of-the-tests"}


async def started(
    settings: Mapping[str, str], *words: str, stdin: int = DEVNULL, stdout: int = PIPE
) -> Process:
    """``watcher WORDS`` as a process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "watcher",
        *words,
        env={**inherited, **settings},
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE,
    )


async def command(settings: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of ``watcher WORDS``."""
    process = await started(settings, *words)
    out, err = await process.communicate()
    assert "Traceback" not in err.decode()
    return process.returncode or 0, out.decode(), err.decode()


async def test_status_tail_check_and_reset_beside_a_daemon(directory: Path, sandbox: Sandbox) -> None:
    async with listening() as endpoint:
        hooks = json.dumps([webhook("shop", endpoint.url, new_secret())])
        settings = settings_for(sandbox.base_url, directory, WATCHER_WEBHOOKS=hooks)
        async with running(settings, directory) as daemon:
            await until_ready(daemon)

            async def delivered() -> bool | None:
                return True if len(endpoint.ids) > 5 else None

            await eventually(delivered, "nothing was delivered")

            code, out, _ = await command(settings, "status", "--json")
            found = json.loads(out)
            assert code == 0
            assert str(daemon.pid) in found["shards"][0]["holder"]
            assert [scope["scope"] for scope in found["scopes"]] == ["-"]
            assert found["endpoints"]["shop"]["dead_letters"] == 0
            code, out, _ = await command(settings, "status")
            assert (code, "shop" in out, "held by" in out) == (0, True, True)

            code, out, _ = await command(settings, "tail", "--from", "beginning", "--no-follow", "--json")
            events = [json.loads(line) for line in out.splitlines()]
            assert code == 0
            assert {event["id"] for event in events} >= set(endpoint.ids[:5])
            code, out, _ = await command(
                settings, "tail", "--from", "beginning", "--no-follow", "--json", "--type", "error"
            )
            assert {json.loads(line)["type"] for line in out.splitlines()} == {"ocr_task.error"}
            code, out, _ = await command(
                settings, "tail", "--from", "beginning", "--no-follow", "--json", "--type", "ocr_task.*"
            )
            assert {json.loads(line)["type"] for line in out.splitlines()} == {
                "ocr_task.error",
                "ocr_task.success",
            }
            code, out, _ = await command(settings, "tail", "--from", "beginning", "--no-follow")
            assert "after it ended" in out

            code, out, _ = await command(settings, "check")
            assert code == 0, out
            assert [line.split()[:2] for line in out.splitlines()] == [
                ["ok", "settings"],
                ["ok", "API"],
                ["ok", "store"],
                ["ok", "endpoint"],
            ]

            code, _, err = await command(settings, "reset", "no-such-scope")
            assert (code, "is not watched" in err) == (2, True)
            code, out, _ = await command(settings, "reset", "-", "--yes")
            assert (code, out) == (0, "forgot scope -\n")
            await until_ready(daemon)


async def test_a_start_in_the_future_is_warned_of(directory: Path, sandbox: Sandbox) -> None:
    settings = settings_for(sandbox.base_url, directory, WATCHER_POLL__START="2999-01-31")
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        (line,) = said(daemon, "settings.doubtful")
        assert line["level"] == "warning"
        assert line["doubt"].startswith("WATCHER_POLL__START: 2999-01-31T00:00:00")
        code, out, _ = await command(settings, "check")
    warnings = [text for text in out.splitlines() if text.startswith("warn")]
    assert (code, len(warnings)) == (0, 1)
    assert warnings[0].startswith("warn settings - WATCHER_POLL__START: 2999-01-31T00:00:00")


async def test_following_ends_in_a_line_when_the_store_goes(directory: Path, sandbox: Sandbox) -> None:
    settings = settings_for(sandbox.base_url, directory)
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        following = await started(settings, "tail", "--from", "beginning", "--json")
        assert following.stdout is not None
        assert await following.stdout.readline()
        await daemon.stop()
    _, err = await following.communicate()
    assert (following.returncode, len(err.splitlines())) == (1, 1), err


async def test_a_reader_that_goes_is_not_told_so(directory: Path, sandbox: Sandbox) -> None:
    """As ``head`` does once it has what it wanted."""
    settings = settings_for(sandbox.base_url, directory)

    async def unread(*words: str) -> tuple[int | None, bytes]:
        """Exit code and complaints of ``watcher WORDS`` when nobody reads what it says."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            process = await started(settings, *words, stdout=writing)
        finally:
            os.close(writing)
        _, err = await process.communicate()
        return process.returncode, err

    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        for words in (["tail", "--from", "beginning", "--json"], ["tail", "--from", "beginning"], ["status"]):
            assert await unread(*words) == (1, b""), words


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("buffered", [True, False])
async def test_a_full_disk_is_said_in_a_line(directory: Path, sandbox: Sandbox, buffered: bool) -> None:
    unbuffered = "" if buffered else "1"
    settings = settings_for(sandbox.base_url, directory, PYTHONUNBUFFERED=unbuffered)
    async with running(settings, directory) as daemon:
        await until_ready(daemon)
        for words in (["--version"], ["check"], ["status"], ["tail", "--from", "beginning"]):
            full = os.open("/dev/full", os.O_WRONLY)
            try:
                process = await started(settings, *words, stdout=full)
            finally:
                os.close(full)
            _, err = await process.communicate()
            assert (process.returncode, err.decode().splitlines()) == (
                1,
                [
                    "standard output takes no more (No space left on device): make room, or send it elsewhere",
                ],
            ), words


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
async def test_closed_standard_files_do_no_harm(directory: Path, sandbox: Sandbox, closed: str) -> None:
    settings = settings_for(sandbox.base_url, directory)
    called = f"{shlex.quote(sys.executable)} -m watcher check {closed}"
    process = await asyncio.create_subprocess_shell(
        called, env={**os.environ, **settings}, stdout=PIPE, stderr=PIPE
    )
    assert ((await process.communicate())[1], process.returncode) == (b"", 0)


async def test_check_names_everything_that_fails(directory: Path, sandbox: Sandbox) -> None:
    endpoints = [
        webhook("nowhere", "http://127.0.0.1:1/", new_secret()),
        webhook("unknown", "https://no-such-host.invalid/", new_secret()),
        webhook("metadata", "http://169.254.169.254/", new_secret()),
    ]
    settings = settings_for(
        sandbox.base_url,
        directory,
        WATCHER_MONITE__TOKEN="invalid",
        WATCHER_WEBHOOKS=json.dumps(endpoints),
        WATCHER_REDIS__URL="redis://127.0.0.1:1/0",
    )
    del settings["WATCHER_REDIS__DATA_DIR"]
    code, out, _ = await command(settings, "check")
    lines = out.splitlines()
    assert code == 1
    assert [line.split()[0] for line in lines] == ["ok", "FAIL", "FAIL", "FAIL", "FAIL", "FAIL"]
    assert lines[1].endswith("; see WATCHER_MONITE__TOKEN")
    assert lines[2].endswith("; see WATCHER_REDIS__URL")
    assert "cannot connect to 127.0.0.1:1" in lines[3]
    assert "does not resolve" in lines[4]
    assert "which the address policy refuses" in lines[5]


async def test_what_others_wrote_is_shown_as_it_is(directory: Path) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "[/x] is [red] :bell:"}}, status=400)

    app = web.Application()
    app.router.add_get("/v1/ocr_tasks", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        code, out, err = await command(settings_for(base_url, directory / "[red]"), "check")
    finally:
        await runner.cleanup()
    _, api, store = out.splitlines()
    assert (code, err) == (1, "")
    assert "[/x] is [red] :bell:" in api
    assert f"embedded in {directory}/[red]: " in store


@pytest.mark.parametrize(
    ("words", "settings", "code", "told"),
    [
        (["run"], {}, 2, "WATCHER_MONITE__TOKEN: nothing to authenticate with"),
        (["run"], {"WATCHER_POLL__INTERVAL": "0"}, 2, "WATCHER_POLL__INTERVAL: 0 is less than 0.2"),
        (["check"], {"WATCHER_POLL__INTERVALL": "5"}, 2, "did you mean WATCHER_POLL__INTERVAL?"),
        (
            ["run"],
            {"WATCHER_MONITE__TOKEN": "t", "WATCHER_ALERTS__URLS": "nonsense://x"},
            2,
            "is not an Apprise URL",
        ),
        (["run"], {"OCR_WATCHER_DIE_AT": "99:1"}, 2, "OCR_WATCHER_DIE_AT: '99:1' is no step"),
        (["run"], {"OCR_WATCHER_DIE_AT": "6:often"}, 2, "OCR_WATCHER_DIE_AT: '6:often' is no step"),
        (
            ["run"],
            {**TOKEN, "WATCHER_REDIS__DATA_DIR": "/dev/null/x"},
            2,
            "WATCHER_REDIS__DATA_DIR: the embedded",
        ),
        (["run"], {**TOKEN, "WATCHER_REDIS__DATA_DIR": "/x" * 99}, 2, "WATCHER_REDIS__DATA_DIR: is too long"),
        (["reshard", "--to", "0"], {}, 2, "--to: must be from 1 to 256"),
        (["status"], {}, 1, "no daemon runs its store in"),
        (["status"], {"WATCHER_REDIS__URL": "redis://127.0.0.1:1/0"}, 1, "; see WATCHER_REDIS__URL"),
        (["tail", "--from", "yesterday"], {}, 2, "--from: 'yesterday' is not a time"),
        (["tail", "--from", "5-99999999999999999999999"], {}, 2, "is not a time; give now"),
        (
            ["tail", "--type", "sucess"],
            {},
            2,
            "--type: 'sucess' is not known; did you mean ocr_task.success?",
        ),
        (["tail", "--type", "invoice.success"], {}, 2, "--type: 'invoice.success' matches no event"),
        (
            ["deadletters", "list", "--type", "eror"],
            {},
            2,
            "--type: 'eror' is not known; did you mean ocr_task.err",
        ),
        (["deadletters", "drop", "--type", "*"], {}, 2, "--type: '*' is no single event type"),
        (["demo", "--rate", "0"], {}, 2, "--rate: 0 is too little"),
        (["sandbox", "--port", "70000"], {}, 2, "--port: must be from 0 to 65535"),
        (["no-such-command"], {}, 2, "No such command"),
    ],
)
async def test_what_is_wrong_is_said_in_a_line(
    words: list[str], settings: dict[str, str], code: int, told: str, directory: Path
) -> None:
    found, _, err = await command({"WATCHER_REDIS__DATA_DIR": str(directory), **settings}, *words)
    assert (found, told in err) == (code, True), err


@pytest.mark.parametrize("name", ["WATCHER_REDIS__PORT", "WATCHER_HTTP__PORT"])
async def test_a_port_in_use_is_a_fault_of_its_setting(name: str, directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for("http://127.0.0.1:1/v1", directory, **{name: str(port)})
        code, _, err = await command(settings, "run")
    (fault,) = [line for line in err.splitlines() if line.startswith("WATCHER_")]
    assert code == 2
    assert fault.startswith(f"{name}: ")
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use); stop what uses it" in fault


async def test_the_version_is_said() -> None:
    code, out, _ = await command({}, "--version")
    assert code == 0
    assert out.startswith("ocr-watcher ")
