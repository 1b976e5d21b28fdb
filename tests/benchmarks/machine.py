"""The machine: which cores do what, and what the system knows of a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Cores:
    """What is measured has one core to itself, what serves it has the others.

    Both are empty where the system cannot bind processes, or has one core: then nothing is bound.
    """

    measured: frozenset[int] = frozenset()
    serving: frozenset[int] = frozenset()

    @classmethod
    def of_this_machine(cls) -> Self:
        """The first core that this process may use, and the rest."""
        if sys.platform != "linux":
            return cls()
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset((first,)), frozenset(others)) if others else cls()

    def __str__(self) -> str:
        if not self.measured:
            return "nothing is bound to a core"
        return f"measured on core {_listed(self.measured)}, served from {_listed(self.serving)}"

    @contextmanager
    def bound(self) -> Iterator[None]:
        """This thread, and what it starts, on the measured core."""
        with _on(self.measured):
            yield

    @contextmanager
    def starting_servers(self) -> Iterator[None]:
        """Processes started in here run on the serving cores."""
        with _on(self.serving):
            yield


@contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def place(pid: int, cores: frozenset[int]) -> None:
    """Have a process that has only just started run on these cores; wherever it likes if there are none."""
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(pid, cores)


def _listed(cores: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cores)))


@dataclass(frozen=True, slots=True)
class Footprint:
    """A process's memory in MiB, resident and of that its own alone (no file's), and its CPU seconds so far."""

    resident: float
    own: float
    cpu: float


def footprint(pid: int) -> Footprint | None:
    """What Linux tells of a process; None on other systems.

    Raises:
        OSError: there is no such process, or it is another user's.
    """
    if sys.platform != "linux":
        return None
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    status = {name: value for name, _, value in (line.partition(":") for line in lines)}
    # The fields after the command's name, which may hold anything but stands in brackets.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Footprint(_mib(status["VmRSS"]), _mib(status["RssAnon"]), ticks / os.sysconf("SC_CLK_TCK"))


def _mib(text: str) -> float:
    """Of a size such as ``1234 kB``, which means kibibytes."""
    return int(text.split()[0]) / 1024
