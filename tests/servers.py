"""Real servers as processes: one, one with a replica and sentinels, a cluster. They end with the test process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from watcher.state.embedded import child
from watcher.state.embedded.binary import find_binary

HOST = "127.0.0.1"
SLOTS = 16_384
PATIENCE = 30.0


def binaries() -> list[Path]:
    """Every server program on this machine: the daemon's own, those on the PATH, those of ``TEST_REDIS_SERVERS``.

    The variable holds paths, separated as in ``PATH``. ``TEST_REDIS_SERVER`` takes the place of the daemon's own.
    """
    found = [os.environ.get("TEST_REDIS_SERVER") or str(find_binary())]
    found += [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    found += [path for path in os.environ.get("TEST_REDIS_SERVERS", "").split(os.pathsep) if path]
    return [Path(path).absolute() for path in dict.fromkeys(found)]


@dataclass(frozen=True, slots=True)
class Node:
    """A server that listens on a port of this machine."""

    port: int
    process: subprocess.Popen[bytes]
    password: str = ""

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def client(self) -> Redis:
        return Redis(host=HOST, port=self.port, password=self.password or None, socket_timeout=5)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Not pytest's own tmp_path: a unix socket's path may have some 100 bytes only."""
    with tempfile.TemporaryDirectory(prefix="watcher-") as name:
        yield Path(name)


@contextmanager
def running(
    binary: Path, options: Sequence[str], folder: Path, address: tuple[str, int] | str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that works in a folder and listens on a host's port or a socket's path; killed in the end."""

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as probe:
            return probe.connect_ex(address) == 0

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(binary), *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait(answers, lambda: f"{binary} does not start:\n{(folder / 'log').read_text()}", process)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def node(binary: Path, *options: str, password: str = "") -> Iterator[Node]:
    """A server without persistence on a free port."""
    port = free_port()
    given = ("--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", *options)
    with short_folder() as folder, running(binary, given, folder, (HOST, port)) as process:
        yield Node(port, process, password)


@contextmanager
def replicated(binary: Path, sentinels: int = 0) -> Iterator[tuple[Node, Node, list[Node]]]:
    """A master with one replica, and sentinels that watch it under the name ``main``."""
    with ExitStack() as stack:
        master = stack.enter_context(
            node(binary, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        )
        replica = stack.enter_context(node(binary, "--replicaof", HOST, str(master.port)))
        wait(lambda: linked(replica), lambda: "the replica finds no master")
        watchers = [stack.enter_context(_sentinel(binary, master)) for _ in range(sentinels)]
        for each in watchers:
            wait(
                partial(_sees, each, sentinels - 1, 1 if sentinels > 1 else 0),
                lambda: "the sentinels find no one another",
            )
        yield master, replica, watchers


@contextmanager
def _sentinel(binary: Path, master: Node) -> Iterator[Node]:
    port = free_port()
    lines = [
        f"port {port}",
        f"bind {HOST}",
        f"sentinel monitor main {HOST} {master.port} 2",
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 3000",
    ]
    with short_folder() as folder:
        config = folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        with running(binary, (str(config), "--sentinel"), folder, (HOST, port)) as process:
            yield Node(port, process)


@contextmanager
def cluster(binary: Path, masters: int = 3, replicas: int = 0) -> Iterator[list[Node]]:
    """A cluster: its masters, each with an even part of the slots, then replicas of the first ones."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                node(
                    binary,
                    *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
                    *("--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"),
                    *("--repl-diskless-sync-delay", "0", "--cluster-require-full-coverage", "yes"),
                )
            )
            for _ in range(masters + replicas)
        ]
        bounds = [SLOTS * number // masters for number in range(masters + 1)]
        for number, each in enumerate(nodes):
            with each.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < masters:
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                if number:
                    with nodes[0].client() as first:
                        bus = first.config_get("cluster-port")["cluster-port"]
                    client.execute_command("CLUSTER", "MEET", HOST, nodes[0].port, bus)
        for each in nodes[masters:] or nodes:
            wait(partial(_knows, each, len(nodes)), lambda: "the nodes do not find one another")
        for number, each in enumerate(nodes[masters:]):
            with nodes[number].client() as master, each.client() as client:
                client.execute_command(
                    "CLUSTER", "REPLICATE", master.execute_command("CLUSTER MYID").decode()
                )
            wait(partial(linked, each), lambda: "a replica finds no master")
        for each in nodes:
            wait(partial(healthy, each), lambda: "the cluster does not come up")
        yield nodes


def owner(nodes: Sequence[Node], slot: int) -> Node | None:
    """Who of them has a slot, as the first of them knows."""
    with nodes[0].client() as client:
        for low, high, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next((each for each in nodes if each.port == port), None)
    return None


@dataclass(frozen=True, slots=True)
class Move:
    """A slot on its way from one master of a cluster to another."""

    slot: int
    source: Node
    target: Node
    nodes: Sequence[Node]

    def begin(self) -> None:
        """From here on the source asks for what it has no longer (``ASK``)."""
        with self.source.client() as source, self.target.client() as target:
            ids = [each.execute_command("CLUSTER MYID").decode() for each in (source, target)]
            target.execute_command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", ids[0])
            source.execute_command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", ids[1])

    def carry(self) -> int:
        """Take every key there is over; how many."""
        with self.source.client() as source:
            keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", self.slot, 1000)
            if keys:
                source.execute_command("MIGRATE", HOST, self.target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end(self) -> None:
        """From here on the source sends away (``MOVED``)."""
        with self.target.client() as target:
            name = target.execute_command("CLUSTER MYID").decode()
        for each in (self.target, self.source, *self.nodes):
            with each.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", self.slot, "NODE", name)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait(
    condition: Callable[[], bool], why: Callable[[], str], process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait for what only asking can tell."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except RedisError:
            pass  # not yet
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            pytest.fail(why())
        time.sleep(0.005)  # another process is waited for, and it tells nobody


def linked(replica: Node) -> bool:
    """Whether a replica follows its master."""
    with replica.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


def role(server: Node) -> str:
    """``master`` or ``slave``."""
    with server.client() as client:
        return str(client.info("replication")["role"])


def sentinel_url(sentinels: Sequence[Node], service: str = "main", database: int = 0) -> str:
    """Where the master that sentinels know is found."""
    return f"redis+sentinel://{','.join(f'{HOST}:{each.port}' for each in sentinels)}/{service}/{database}"


def healthy(each: Node) -> bool:
    """Whether a node takes the cluster for whole."""
    with each.client() as client:
        return bool(client.execute_command("CLUSTER INFO").get("cluster_state") == "ok")


def _knows(each: Node, count: int) -> bool:
    with each.client() as client:
        return int(client.execute_command("CLUSTER INFO").get("cluster_known_nodes", 0)) == count


def _sees(sentinel: Node, others: int, replicas: int) -> bool:
    with sentinel.client() as client:
        state = client.execute_command("SENTINEL", "MASTER", "main")
        fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
        plain = {
            key.decode() if isinstance(key, bytes) else key: value.decode()
            if isinstance(value, bytes)
            else value
            for key, value in fields.items()
        }
        return int(plain["num-other-sentinels"]) == others and int(plain.get("num-slaves", 0)) >= replicas
