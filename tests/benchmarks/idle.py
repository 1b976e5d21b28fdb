"""What the daemon takes of a machine while nothing happens: memory and CPU, with its embedded store."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.daemons import ready, settings_of
from tests.benchmarks.machine import Cores, Footprint, footprint
from tests.benchmarks.report import Cell, Column, Report
from tests.benchmarks.samples import START
from watcher.clock import SystemClock
from watcher.demo.daemon import Daemon
from watcher.sandbox import Sandbox, World, WorldSettings
from watcher.settings import PollSettings
from watcher.state.connection import connect
from watcher.state.embedded import embedded_url


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds to let pass once the daemon is ready, and seconds to watch it for after that."""

    settling: float
    watching: float


FULL: Final = Size(settling=5.0, watching=30.0)
QUICK: Final = Size(settling=2.0, watching=10.0)


async def run(size: Size, cores: Cores) -> Report:
    """Measure `watcher run` with one endpoint, all other settings as they are by default."""
    clock = SystemClock()
    world = World(WorldSettings(rate=0, entities=0), START)
    with tempfile.TemporaryDirectory(prefix="watcher-") as name:
        directory = Path(name)
        async with Sandbox(world, clock) as sandbox:
            daemon = Daemon(
                {
                    **settings_of("idle", "http://127.0.0.1:9/", sandbox.base_url),
                    "WATCHER_REDIS__DATA_DIR": str(directory),
                },
                directory,
            )
            with cores.starting_servers():
                await daemon.start()
            try:
                pids = await ready(daemon), await _store_pid(directory)
                await asyncio.sleep(size.settling)
                before = [footprint(pid) for pid in pids]
                await asyncio.sleep(size.watching)
                after = [footprint(pid) for pid in pids]
                daemon.check()
            finally:
                await daemon.stop()
    return _report(before, after, size.watching)


async def _store_pid(directory: Path) -> int:
    async with connect(embedded_url(directory)) as redis:
        return int((await redis.info("server"))["process_id"])


def _report(before: list[Footprint | None], after: list[Footprint | None], seconds: float) -> Report:
    rows: list[tuple[Cell, ...]] = []
    measured: list[Footprint] = []
    for name, old, new in zip(("watcher run", "its store (Valkey)"), before, after, strict=True):
        if old is None or new is None:
            rows.append((name, None, None, None))
            continue
        spent = Footprint(new.resident, new.own, (new.cpu - old.cpu) * 60 / seconds)
        rows.append((name, spent.resident, spent.own, spent.cpu))
        measured.append(spent)
    reading = "only Linux tells a process's memory this way"
    if measured:
        resident, own, cpu = (
            sum(each.resident for each in measured),
            sum(each.own for each in measured),
            sum(each.cpu for each in measured),
        )
        rows.append(("together", resident, own, cpu))
        reading = f"{resident:.0f} MiB, and {cpu / 60:.1%} of a core, while nothing happens"
    interval = PollSettings().interval
    return Report(
        title=f"the daemon idle for {seconds:g} s: one scope every {interval:g} s, one endpoint",
        columns=(
            Column("process"),
            Column("resident MiB", ".1f"),
            Column("of that no file's MiB", ".1f"),
            Column("CPU s a minute", ".2f"),
        ),
        rows=tuple(rows),
        reading=reading,
    )
