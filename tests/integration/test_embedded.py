"""The embedded store, with real servers and real kills.

Run as a program, this module is a small daemon: it starts the store, then writes and tells of every write
that the store has acknowledged, until it is killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis

from tests.fakes import settle
from watcher.errors import ConfigurationError, StoreBusy, StoreError, WatcherError
from watcher.state.embedded import EmbeddedServer, child, embedded_url
from watcher.state.embedded import server as server_module
from watcher.state.embedded.binary import find_binary
from watcher.state.embedded.config import render
from watcher.state.embedded.diagnosis import explain
from watcher.state.embedded.lock import FileLock
from watcher.state.embedded.place import SOCKET_PATH_LIMIT

ROOT = Path(__file__).parents[2]
WRITERS = 8

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc or needs pidfd_open")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="w-"))  # short: the socket lies in it
    yield folder
    shutil.rmtree(folder)


@contextmanager
def daemon(data_dir: Path, loop: str = "asyncio") -> Iterator[subprocess.Popen[str]]:
    """The small daemon below in its own process, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.test_embedded", str(data_dir), loop],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def acknowledged_until_killed(process: subprocess.Popen[str], writes: int) -> Counter[int]:
    """Kill the daemon in the midst of its writes; how many of each writer it knows to be stored."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(writes)]
    process.kill()
    lines += process.stdout.readlines()
    return Counter(int(line) for line in lines if line.endswith("\n"))


def server_pid(server: EmbeddedServer) -> int:
    assert server._process is not None
    return server._process.pid


def newest_append_only_file(data_dir: Path) -> Path:
    return max((data_dir / "store" / "appendonlydir").glob("*.incr.aof"))


async def fill(server: EmbeddedServer, count: int = 1000) -> None:
    async with Redis.from_url(server.url) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(count):
            pipeline.rpush("numbers", number)
        await pipeline.execute()


async def filled(data_dir: Path) -> int:
    """How many numbers a newly started server has, in order."""
    server = EmbeddedServer(data_dir)
    await server.start()
    async with Redis.from_url(server.url) as client:
        numbers = await client.lrange("numbers", 0, -1)
    await server.stop()
    assert numbers == [str(number).encode() for number in range(len(numbers))]
    return len(numbers)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_keeps_its_data_over_a_clean_stop(
    run: Callable[[Coroutine[Any, Any, None]], None], data_dir: Path
) -> None:
    async def scenario() -> None:
        server = EmbeddedServer(data_dir)
        for count in (1, 2, 3):
            await server.start()
            async with Redis.from_url(server.url) as client:
                assert await client.incr("starts") == count
            await server.stop()
            assert not (data_dir / "store" / "valkey.sock").exists()
        await server.stop()  # once more does no harm

    run(scenario())


@pytest.mark.parametrize("name", ["plain", "a[b]c*d?", "[!"])
async def test_is_configured_to_keep_everything_and_to_serve_this_user_only(
    data_dir: Path, name: str
) -> None:
    """Also in a directory whose name the server would take for a pattern."""
    data_dir = data_dir / name
    (data_dir / "store").mkdir(mode=0o755, parents=True)
    server = EmbeddedServer(data_dir)
    await server.start()
    async with Redis.from_url(server.url, decode_responses=True) as client:
        settings = await client.config_get("*")
        await client.set("a", "b")
    assert (
        settings.items()
        >= {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "protected-mode": "yes",
            "enable-debug-command": "no",
            "enable-module-command": "no",
            "hide-user-data-from-log": "yes",
        }.items()
    )
    store = data_dir / "store"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [store, *store.rglob("*")]}
    assert modes["store"] == 0o700
    assert modes["valkey.sock"] == 0o600
    assert modes["appendonlydir"] == 0o700
    assert modes[newest_append_only_file(data_dir).name] == 0o600
    await server.stop()


async def test_the_server_gets_no_secret(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_MONITE__TOKEN", "hush-hush")
    program = data_dir / "valkey-server"
    program.write_text(f"#!/bin/sh\n(env; cat) > '{data_dir}/seen'\n")
    program.chmod(0o700)
    with pytest.raises(StoreError):
        await EmbeddedServer(data_dir, binary=program).start()
    seen = (data_dir / "seen").read_text()
    assert "PATH=" in seen
    assert "appendonly yes" in seen
    assert "hush-hush" not in seen


async def test_an_interrupt_from_the_terminal_is_not_for_the_server(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    assert os.getpgid(server_pid(server)) != os.getpgid(0)
    await server.stop()


@pytest.mark.parametrize("name", ["plain", "a b", "100%41 #?&ü"])
async def test_other_commands_find_it_by_its_data_dir(data_dir: Path, name: str) -> None:
    server = EmbeddedServer(data_dir / name)
    await server.start()
    async with Redis.from_url(embedded_url(data_dir / name)) as client:
        assert await client.ping()
    assert server.url == embedded_url(data_dir / name)
    await server.stop()


async def test_killed_daemons_lose_nothing_they_had_acknowledged(data_dir: Path) -> None:
    stored: Counter[int] = Counter()
    for loop in ("asyncio", "uvloop", "asyncio", "uvloop"):
        with daemon(data_dir, loop) as process:
            new = acknowledged_until_killed(process, writes=500)
        assert new.total() >= 500
        server = EmbeddedServer(data_dir)
        await server.start()  # at once: the old server may still be ending
        async with Redis.from_url(server.url) as client:
            for writer in range(WRITERS):
                rows = [int(row) for row in await client.lrange(f"writer:{writer}", 0, -1)]
                assert rows == list(range(len(rows)))
                # One write of each may have been stored and not yet told.
                assert stored[writer] + new[writer] <= len(rows) <= stored[writer] + new[writer] + 1
                stored[writer] = len(rows)
        await server.stop()


@linux_only
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_server_of_a_killed_daemon_ends_by_itself(data_dir: Path, loop: str) -> None:
    with daemon(data_dir, loop) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ending = os.pidfd_open(int((data_dir / "store" / "server.lock").read_text()))
        process.kill()
        assert select.select([ending], [], [], 60)[0], "it outlives its daemon"
        os.close(ending)


def test_a_server_whose_daemon_is_gone_before_it_starts_does_not_start(tmp_path: Path) -> None:
    proof = tmp_path / "started"
    somebody_else = str(os.getppid())
    command = [
        sys.executable,
        "-I",
        "-S",
        child.__file__,
        somebody_else,
        shutil.which("touch") or "",
        str(proof),
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, proof.exists()) == (1, False)
    assert "ended before" in refused.stderr
    command[4] = str(os.getpid())
    subprocess.run(command, check=True)
    assert proof.exists()


def test_a_second_daemon_is_refused_and_told_the_first(data_dir: Path) -> None:
    with daemon(data_dir) as first:
        assert first.stdout is not None
        first.stdout.readline()
        second = EmbeddedServer(data_dir)
        with pytest.raises(StoreBusy, match=rf"process {first.pid} .*WATCHER_REDIS__DATA_DIR"):
            asyncio.run(second.start())
        first.stdout.readline()
        assert first.poll() is None  # undisturbed


async def test_a_lock_that_is_given_up_meanwhile_is_taken(data_dir: Path) -> None:
    (data_dir / "store").mkdir()
    lock = FileLock(data_dir / "store" / "daemon.lock")
    assert lock.acquire()
    server = EmbeddedServer(data_dir)
    starting = asyncio.create_task(server.start())
    await settle()
    lock.close()
    await starting
    await server.stop()


async def test_a_note_left_by_a_dead_daemon_is_no_lock(data_dir: Path) -> None:
    (data_dir / "store").mkdir()
    for name in ("daemon.lock", "server.lock"):
        (data_dir / "store" / name).write_text("1 on elsewhere\n")
    server = EmbeddedServer(data_dir)
    await server.start()
    await server.stop()


async def test_ends_an_orphan_that_nobody_has_told_to_end(data_dir: Path) -> None:
    orphan = EmbeddedServer(data_dir)
    await orphan.start()
    await fill(orphan)
    orphan._lock.close()  # all that is left of a killed daemon where the kernel doesn't tell its children
    successor = EmbeddedServer(data_dir)
    await successor.start()
    assert await orphan.wait() == 0
    async with Redis.from_url(successor.url) as client:
        assert await client.llen("numbers") == 1000
    await successor.stop()
    await orphan.stop()


async def test_an_orphan_that_does_not_end_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_ORPHAN_SECONDS", 0.0)
    (data_dir / "store").mkdir()
    orphan = FileLock(data_dir / "store" / "server.lock")
    assert orphan.acquire()
    orphan.note("4711")
    server = EmbeddedServer(data_dir)
    with pytest.raises(StoreError, match=r"process 4711\) still writes"):
        await server.start()
    orphan.close()
    await server.start()
    await server.stop()


async def test_its_death_is_noticed_and_it_can_be_started_again(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await fill(server)
    watching = [asyncio.create_task(server.wait()) for _ in range(2)]
    os.kill(server_pid(server), signal.SIGKILL)
    assert await asyncio.gather(*watching) == [-signal.SIGKILL, -signal.SIGKILL]
    with pytest.raises(StoreBusy):  # the directory is still this daemon's
        await EmbeddedServer(data_dir).start()
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.llen("numbers") == 1000
    await server.stop()


async def test_a_server_that_does_not_end_is_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_GRACE_SECONDS", 0.01)
    server = EmbeddedServer(data_dir)
    await server.start()
    ending = asyncio.create_task(server.wait())
    os.kill(server_pid(server), signal.SIGSTOP)
    await server.stop()
    assert await ending == -signal.SIGKILL
    assert await server.wait() == -signal.SIGKILL


async def test_start_returns_when_everything_is_loaded(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await fill(server, 1)
    await server.stop()
    increments = 400_000
    with newest_append_only_file(data_dir).open("ab") as file:
        file.write(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * increments)
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.get("n") == str(increments).encode()
    await server.stop()


async def test_a_file_that_was_cut_short_is_loaded_as_far_as_it_goes(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await fill(server)
    await server.stop()
    file = newest_append_only_file(data_dir)
    os.truncate(file, file.stat().st_size - 5)
    assert await filled(data_dir) == 999


async def test_a_damaged_file_is_named_with_a_command_that_mends_it(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await fill(server)
    await server.stop()
    file = newest_append_only_file(data_dir)
    good = file.read_bytes()
    file.write_bytes(good[:20_000] + b"\0" * 100 + good[20_100:])
    with pytest.raises(StoreError, match=re.escape(str(file))) as refused:
        await server.start()
    message = str(refused.value)
    assert "\n" not in message
    assert file.stat().st_size == len(good)  # untouched
    mending = message.rpartition("with: ")[2].split()
    mended = await asyncio.create_subprocess_exec(*mending, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    await mended.communicate(b"y\n")
    assert mended.returncode == 0
    assert 100 < await filled(data_dir) < 1000


@pytest.mark.parametrize(("pattern", "content"), [("*.base.rdb", b"x" * 200), ("*.manifest", b"nonsense\n")])
async def test_other_damage_is_told_as_such(data_dir: Path, pattern: str, content: bytes) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()
    await server.stop()
    for file in (data_dir / "store" / "appendonlydir").glob(pattern):
        file.write_bytes(content)
    with pytest.raises(StoreError, match=r"appendonlydir.* damaged"):
        await server.start()


async def test_a_killed_rewrite_and_a_long_log_leave_nothing(data_dir: Path) -> None:
    store = data_dir / "store"
    server = EmbeddedServer(data_dir)
    await server.start()
    await server.stop()
    unfinished = store / "temp-rewriteaof-bg-17.aof"
    unfinished.write_bytes(b"half")
    long_log = "x" * (server_module._LOG_BYTES + 1)
    (store / "valkey.log").write_text(long_log)
    await server.start()
    await server.stop()
    assert not unfinished.exists()
    assert (store / "valkey.log.1").read_text() == long_log
    assert 0 < (store / "valkey.log").stat().st_size < 100_000


async def test_the_socket_path_may_be_as_long_as_the_system_allows(data_dir: Path) -> None:
    room = SOCKET_PATH_LIMIT - len(f"{data_dir}//store/valkey.sock")
    server = EmbeddedServer(data_dir / ("x" * room))
    await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.ping()
    await server.stop()
    with pytest.raises(
        ConfigurationError, match=rf"WATCHER_REDIS__DATA_DIR: is too long.* {SOCKET_PATH_LIMIT}"
    ):
        await EmbeddedServer(data_dir / ("x" * (room + 1))).start()


def _below_a_file(data_dir: Path) -> Path:
    (data_dir / "file").touch()
    return data_dir / "file" / "below"


def _not_to_be_written(_: Path) -> Path:
    return Path("/sys/watcher" if sys.platform == "linux" else "/System/watcher")


def _full(data_dir: Path) -> Path:
    (data_dir / "store").mkdir()
    (data_dir / "store" / "valkey.conf").symlink_to("/dev/full")
    return data_dir


def _linked_elsewhere(data_dir: Path) -> Path:
    (data_dir / "elsewhere").mkdir(mode=0o755)
    (data_dir / "store").symlink_to(data_dir / "elsewhere")
    return data_dir


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_below_a_file, ConfigurationError),
        (_not_to_be_written, ConfigurationError),
        pytest.param(_full, StoreError, marks=linux_only),  # it may have room at another try
        (_linked_elsewhere, ConfigurationError),
    ],
)
async def test_a_directory_that_cannot_be_used_is_named(
    data_dir: Path, spoil: Callable[[Path], Path], error: type[WatcherError]
) -> None:
    place = spoil(data_dir)
    server = EmbeddedServer(place)
    with pytest.raises(error, match=str(place)) as refused:
        await server.start()
    assert "WATCHER_REDIS__DATA_DIR" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not server._lock.held


@pytest.mark.parametrize("package", ["no_such_package", "watcher"])
def test_a_platform_without_a_wheel_is_told_to_set_the_url(package: str) -> None:
    with pytest.raises(StoreError, match=rf"{package}.*set WATCHER_REDIS__URL"):
        find_binary(package)


@pytest.mark.parametrize(("content", "mode"), [(None, 0), ("", 0o600), ("#!/no/such/interpreter\n", 0o700)])
async def test_a_program_that_cannot_be_run_is_told(data_dir: Path, content: str | None, mode: int) -> None:
    program = data_dir / "valkey-server"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    (data_dir / "store").mkdir()
    (data_dir / "store" / "valkey.log").write_text("7:M # No space left on device\n")  # an earlier run's
    server = EmbeddedServer(data_dir, binary=program)
    with pytest.raises(StoreError, match=rf"{program}.*set WATCHER_REDIS__URL") as refused:
        await server.start()
    assert "\n" not in str(refused.value)


def _never_answering(data_dir: Path) -> Path:
    """A program that never listens; it says through a pipe that it was started."""
    os.mkfifo(data_dir / "pipe")
    program = data_dir / "silent"
    program.write_text(f"#!/bin/sh\necho $$ > '{data_dir}/pipe'\nexec sleep 1000\n")
    program.chmod(0o700)
    return program


async def test_a_server_that_never_answers_is_ended(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SILENCE_SECONDS", 0.0)
    server = EmbeddedServer(data_dir, binary=_never_answering(data_dir))
    started = asyncio.create_task(asyncio.to_thread((data_dir / "pipe").read_text))
    with pytest.raises(StoreError, match="does not answer"):
        await server.start()
    if not started.done():  # ended before it could say anything
        (data_dir / "pipe").write_text("")
    await started
    writer = FileLock(data_dir / "store" / "server.lock")
    assert writer.acquire()
    writer.close()


async def test_a_start_that_is_given_up_leaves_no_server(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, binary=_never_answering(data_dir))
    starting = asyncio.create_task(server.start())
    await asyncio.to_thread((data_dir / "pipe").read_text)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    for name in ("daemon.lock", "server.lock"):
        lock = FileLock(data_dir / "store" / name)
        assert lock.acquire(), name
        lock.close()


async def test_a_port_is_opened_on_the_loopback_address_alone(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedServer(data_dir, port=port)
        with pytest.raises(ConfigurationError, match=f"WATCHER_REDIS__PORT: .*:{port} .*in use"):
            await server.start()
    await server.start()
    async with Redis(host="127.0.0.1", port=port, decode_responses=True) as client:
        assert (await client.config_get("bind"))["bind"] == "127.0.0.1 -::1"
    await server.stop()


def test_the_port_is_closed_unless_asked_for() -> None:
    assert render(None).splitlines()[-1] == "port 0"
    assert render(7000).splitlines()[-1] == "port 7000"


async def test_misuse_is_told(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    with pytest.raises(RuntimeError, match="not started"):
        await server.wait()
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(asyncio.run, server.start())
    await server.start()
    with pytest.raises(RuntimeError, match="runs already"):
        await server.start()
    async with Redis.from_url(server.url) as client:
        assert await client.ping()  # and is not hurt by it
    await server.stop()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "7:M 1 Nov 2026 04:18:28.846 # Can't write: No space left on device",
            "the disk that holds /d is full",
        ),
        (
            "*** FATAL CONFIG FILE ERROR ***\n>>> 'bad'\nWrong number of arguments\n",
            "ended with -9 (Wrong number of arguments)",
        ),
        (
            "7:M 1 Nov 2026 04:18:28.846 # Configured to not listen anywhere, exiting.",
            "(Configured to not listen",
        ),
        ("", "is the disk full?"),
    ],
)
def test_what_the_server_said_last_is_passed_on(said: str, told: str) -> None:
    message = explain(
        said, -9, port=None, checker=Path("/d/valkey-check-aof"), append_only=Path("/d/appendonlydir")
    )
    assert told in str(message)


async def test_a_directory_of_another_user_is_refused(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    (data_dir / "store").mkdir(mode=0o755)
    with pytest.raises(
        ConfigurationError, match=f"WATCHER_REDIS__DATA_DIR: .*belongs to user {user} .* as user {user + 1}"
    ):
        await EmbeddedServer(data_dir).start()
    assert stat.S_IMODE((data_dir / "store").stat().st_mode) == 0o755  # not the watcher's to change


def test_a_lock_outlives_its_opener_in_a_child(data_dir: Path) -> None:
    lock = FileLock(data_dir / "lock")
    assert lock.acquire()
    with subprocess.Popen([shutil.which("cat") or ""], stdin=subprocess.PIPE, pass_fds=[lock.fileno()]):
        lock.close()
        assert not FileLock(data_dir / "lock").acquire()
    again = FileLock(data_dir / "lock")
    assert again.acquire()
    again.note("a longer note")
    again.note("short")
    assert again.holder() == "short"
    again.close()
    with pytest.raises(RuntimeError, match="not held"):
        again.fileno()


def test_a_file_system_without_locks_is_an_error_and_not_a_refusal(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_fd: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(ConfigurationError, match=r"WATCHER_REDIS__DATA_DIR: .*Operation not supported"):
        asyncio.run(EmbeddedServer(data_dir).start())


async def _write_until_killed(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    await server.start()

    async def write(writer: int) -> None:
        key = f"writer:{writer}"
        number = await client.llen(key)
        while True:
            await client.rpush(key, number)
            os.write(1, f"{writer}\n".encode())
            number += 1

    async with Redis.from_url(server.url) as client, asyncio.TaskGroup() as writers:
        for writer in range(WRITERS):
            writers.create_task(write(writer))


if __name__ == "__main__":
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    {"asyncio": asyncio.run, "uvloop": uvloop.run}[sys.argv[2]](_write_until_killed(Path(sys.argv[1])))
