"""The benchmarks that ``make bench`` runs: ``python -m tests.benchmarks [--quick] [--list] [NAME ...]``."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.console import Console

from tests.benchmarks import (
    backlog,
    decoding,
    deliveries,
    growth,
    idle,
    latency,
    memory,
    pages,
    planner_cost,
    polling,
    polling_few,
    polling_plans,
    polling_scopes,
    replicas,
)
from tests.benchmarks.machine import Cores
from tests.benchmarks.report import Report, show
from watcher.cli.common import event_loop

_WIDTH: Final = 150
"""Columns where there is no terminal that would say: no table needs more."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a benchmark measures, and how it is run in full and quickly."""

    summary: str
    full: Callable[[Cores], Awaitable[Report]]
    quick: Callable[[Cores], Awaitable[Report]]


BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "pages": Benchmark(
        "pages applied a second, against a bare pipeline",
        partial(pages.run, pages.FULL),
        partial(pages.run, pages.QUICK),
    ),
    "deliveries": Benchmark(
        "deliveries a second and their CPU, against bare loops and a load tool",
        partial(deliveries.run, deliveries.FULL),
        partial(deliveries.run, deliveries.QUICK),
    ),
    "latency": Benchmark(
        "delay from the stream to an endpoint's 2xx, alone and beside endpoints that hang",
        partial(latency.run, latency.FULL),
        partial(latency.run, latency.QUICK),
    ),
    "decoding": Benchmark(
        "pages decoded a second, by decoder",
        partial(decoding.run, decoding.FULL),
        partial(decoding.run, decoding.QUICK),
    ),
    "memory": Benchmark(
        "bytes of Redis for a tracked task",
        partial(memory.run, memory.FULL),
        partial(memory.run, memory.QUICK),
    ),
    "backlog": Benchmark(
        "bytes of Redis for a delivery that waits, and the daemon's memory with a million due",
        partial(backlog.run, backlog.FULL),
        partial(backlog.run, backlog.QUICK),
    ),
    "growth": Benchmark(
        "the store, the daemon and its cycles with ever more tasks and scopes, and what ten times more takes",
        partial(growth.run, growth.FULL),
        partial(growth.run, growth.QUICK),
    ),
    "replicas": Benchmark(
        "events a second of 1, 2 and 4 replicas, their one budget, and how soon one that is lost is replaced",
        partial(replicas.run, replicas.FULL),
        partial(replicas.run, replicas.QUICK),
    ),
    "idle": Benchmark(
        "memory and CPU of the idle daemon", partial(idle.run, idle.FULL), partial(idle.run, idle.QUICK)
    ),
    "polling": Benchmark(
        "delay of polling on a simulated clock, beside its bound and simple pollers",
        partial(polling.run, polling.FULL),
        partial(polling.run, polling.QUICK),
    ),
    "few": Benchmark(
        "delay and requests where a task comes now and then",
        partial(polling_few.run, polling_few.FULL),
        partial(polling_few.run, polling_few.QUICK),
    ),
    "plans": Benchmark(
        "requests a cycle without extra looks, beside fixed plans",
        partial(polling_plans.run, polling_plans.FULL),
        partial(polling_plans.run, polling_plans.QUICK),
    ),
    "scopes": Benchmark(
        "delay of thousands of scopes on one budget",
        partial(polling_scopes.run, polling_scopes.FULL),
        partial(polling_scopes.run, polling_scopes.QUICK),
    ),
    "planner": Benchmark(
        "CPU and memory of planning",
        partial(planner_cost.run, planner_cost.FULL),
        partial(planner_cost.run, planner_cost.QUICK),
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks named, or all. A target that was missed is said, and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all if none"
    )
    parser.add_argument("--quick", action="store_true", help="smaller samples and fewer rounds")
    parser.add_argument("--list", action="store_true", help="list the names and end")
    wanted = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    if wanted.list:
        for name, benchmark in BENCHMARKS.items():
            console.print(f"{name:<11} {benchmark.summary}", highlight=False)
        return 0
    if unknown := [name for name in wanted.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    event_loop(_run(wanted.names or list(BENCHMARKS), quick=wanted.quick, console=console))
    return 0


async def _run(names: Sequence[str], *, quick: bool, console: Console) -> None:
    cores = Cores.of_this_machine()
    load = os.getloadavg()[0]
    console.print(
        f"{platform.python_implementation()} {platform.python_version()} on {os.cpu_count()} cores "
        f"({cores}), {type(asyncio.get_running_loop()).__module__}; load before the start {load:.1f}; "
        "medians of rounds in turns, ratios as median (least to greatest)\n",
        highlight=False,
        soft_wrap=True,
    )
    seconds: dict[str, float] = {}
    with cores.bound():
        for name in dict.fromkeys(names):
            benchmark = BENCHMARKS[name]
            began = time.monotonic()
            show(await (benchmark.quick if quick else benchmark.full)(cores), console)
            seconds[name] = time.monotonic() - began
    each = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    console.print(f"took {sum(seconds.values()):.0f} s: {each}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
