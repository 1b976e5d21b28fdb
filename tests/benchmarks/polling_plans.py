"""What a cycle costs where no extra looks are wanted, beside the fewest requests and the cheapest fixed plan."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from tests.benchmarks.bound import PAGE, Lifetimes
from tests.benchmarks.machine import Cores
from tests.benchmarks.polling import LIFETIMES
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.simulation import World, simulate

INTERVAL: Final = 5.0
OVERLAP: Final = 5.0
"""Seconds that a fixed plan reads again, for rows that appear late."""
WINDOW: Final = 20.0
"""Seconds back that the window of plan B reaches."""
REQUESTS_PER_SECOND: Final = 24.0


@dataclass(frozen=True, slots=True)
class Size:
    """Arrival rates, and the simulated seconds to watch each after its warming up."""

    rates: tuple[float, ...]
    seconds: float
    warm: float = 150.0


FULL: Final = Size((5.0, 50.0), 600.0)
QUICK: Final = Size((5.0,), 300.0)


@dataclass(frozen=True, slots=True)
class Plans:
    """Requests that a cycle of each complete plan takes."""

    lower_bound: int
    by_id: int
    """A: in flight by id, new ones by a window."""
    window: int
    """B: one window that shows both, older stragglers by id."""
    listing: int
    """C: a listing of what is processing, what left it by id, new ones by a window."""

    @classmethod
    def of(cls, rate: float, lifetimes: Lifetimes) -> Plans:
        """With so many arrivals a second."""
        flying = ceil(rate * lifetimes.mean / PAGE)
        stragglers = ceil(rate * (lifetimes.mean - lifetimes.lived(WINDOW)) / PAGE)
        return cls(
            lower_bound=max(1, ceil(rate * INTERVAL / PAGE)),
            by_id=flying + ceil(rate * (INTERVAL + OVERLAP) / PAGE),
            window=ceil(rate * WINDOW / PAGE) + stragglers,
            listing=flying + ceil(rate * INTERVAL / PAGE) + 1,
        )

    @property
    def cheapest(self) -> int:
        """Of the three."""
        return min(self.by_id, self.window, self.listing)


async def run(size: Size, cores: Cores) -> Report:
    """Watch flows with a target of half the interval."""
    rows: list[tuple[Cell, ...]] = []
    targets: list[Target] = []
    lifetime, distribution = LIFETIMES["uniform"]
    priced = {rate: Plans.of(rate, distribution) for rate in size.rates}
    for rate, plans in priced.items():
        found = await simulate(
            World(rate, lifetime, size.seconds, size.warm, drain=400.0),
            requests_per_second=REQUESTS_PER_SECOND,
            interval=INTERVAL,
            target_delay=INTERVAL / 2,
        )
        cycle = found.requests * INTERVAL
        present = (found.requests - found.again) * INTERVAL
        gets = rate * distribution.mean
        rows.append(
            (
                f"{rate:g}/s",
                found.delay,
                cycle,
                present,
                plans.lower_bound,
                present / plans.lower_bound,
                f"{plans.by_id}, {plans.window}, {plans.listing}",
                cycle / plans.cheapest,
                gets,
                gets / cycle,
                found.missed,
            )
        )
        targets += [
            Target(
                f"{rate:g}/s: requests in {INTERVAL:g} s at most 1.1 times the lower bound "
                f"({present / plans.lower_bound:.2f} without the ladder, {cycle / plans.lower_bound:.2f} with it)",
                cycle <= 1.1 * plans.lower_bound,
            ),
            Target(
                f"{rate:g}/s: and at most 1.1 times those of the cheapest plan ({cycle / plans.cheapest:.2f})",
                cycle <= 1.1 * plans.cheapest,
            ),
        ]
        if plans.lower_bound == 1:
            targets.append(
                Target(
                    f"{gets:.0f} in flight: at least 30 times fewer requests than one GET each ({gets / cycle:.0f})",
                    gets >= 30 * cycle,
                )
            )
    return Report(
        title=f"no extra looks: requests in an interval of {INTERVAL:g} s, by arrivals",
        columns=(
            Column("flow"),
            Column("delay s", ".2f"),
            Column("requests", ".2f"),
            Column("without ladder", ".2f"),
            Column("lower bound", "d"),
            Column("÷ bound", ".2f"),
            Column("plans A, B, C"),
            Column("all ÷ cheapest", ".2f"),
            Column("one GET a task", ".0f"),
            Column("÷ all", ".0f"),
            Column("missed", "d"),
        ),
        rows=tuple(rows),
        reading="the bound downloads each row once, when it has ended; a ladder of one level downloads it once more, "
        "and to see that a task has not ended yet takes a place on a page, too, so no complete plan reaches it: the "
        "cheapest of the three is "
        + " and ".join(
            f"{plans.cheapest / plans.lower_bound:.1f} times the bound at {rate:g}/s"
            for rate, plans in priced.items()
        ),
        targets=tuple(targets),
    )
