"""A task now and then, as most users have them: what seeing its end soon costs above an idle poll."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.benchmarks import bound
from tests.benchmarks.machine import Cores
from tests.benchmarks.polling import LIFETIMES
from tests.benchmarks.polling_baselines import BASELINES, poll
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.simulation import World, simulate
from watcher.settings import PollSettings

RATE: Final = 0.012
"""Tasks a second: a thousand a day."""
REQUESTS_PER_SECOND: Final = 24.0
DELAYS: Final = {"uniform": 0.6, "mixture": 0.8}
"""Mean delays in seconds that were promised."""


@dataclass(frozen=True, slots=True)
class Size:
    """Simulated seconds to watch, of which the first ``warm`` do not count."""

    seconds: float
    warm: float = 5000.0


FULL: Final = Size(50_000.0)
QUICK: Final = Size(15_000.0, warm=3000.0)


async def run(size: Size, cores: Cores) -> Report:
    """Watch lone tasks with the settings as they are by default, then with the simple pollers."""
    settings = PollSettings()
    interval = settings.interval
    idle = 1 / interval
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    for name, (lifetime, distribution) in LIFETIMES.items():
        world = World(RATE, lifetime, size.seconds, size.warm, drain=900.0)
        found = await simulate(
            world,
            requests_per_second=REQUESTS_PER_SECOND,
            interval=interval,
            target_delay=settings.target_delay,
            horizon=86_400.0,
        )
        fewest = bound.fewest_requests(distribution, RATE, found.mean_delay, interval)
        above = found.requests / idle
        rows.append(
            (
                name,
                "watcher",
                found.mean_delay,
                found.requests,
                above,
                fewest,
                found.requests / fewest,
                found.missed,
            )
        )
        for who, poller in BASELINES.items():
            simple = await poll(
                poller(interval=interval), world, requests_per_second=REQUESTS_PER_SECOND, pace=2 * idle
            )
            rows.append(
                ("", who, simple.mean_delay, simple.requests, simple.requests / idle, "-", "-", simple.missed)
            )
        most = DELAYS[name]
        targets += [
            Target(
                f"{name}: mean delay at most {most:g} s ({found.mean_delay:.2f}) for at most 1.3 times the requests "
                f"of a fixed interval ({above:.2f})",
                found.mean_delay <= most and above <= 1.3,
            ),
            Target(
                f"{name}: at most 1.2 times the fewest requests for that delay ({found.requests / fewest:.2f})",
                found.requests <= 1.2 * fewest,
            ),
            Target(f"{name}: no row missed or told twice", found.missed == found.twice == 0),
        ]
    return Report(
        title=f"lone tasks, {RATE:g}/s, with the settings as they are: a look every {interval:g} s, and extra ones",
        columns=(
            Column("lifetimes"),
            Column("poller"),
            Column("delay s", ".2f"),
            Column("requests/s", ".4f"),
            Column("÷ fixed interval", ".2f"),
            Column("fewest requests/s", ".4f"),
            Column("÷ fewest", ".2f"),
            Column("missed", "d"),
        ),
        rows=tuple(rows),
        reading=f"a fixed interval is {interval / 2:g} s late for {idle:g} requests a second; the fewest are those of "
        f"the dynamic programme that looks every {interval:g} s at the latest and knows how long tasks live",
        targets=tuple(targets),
    )
