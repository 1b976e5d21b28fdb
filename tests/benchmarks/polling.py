"""How late ends are seen, beside the least that any poller could reach with as many requests.

On a simulated clock, with the real scanner, planner, coverage, ladder, pacer and budget; 2.9 % of the rows appear
up to two seconds late and 0.1 % a minute. A delay counts from when the end could first be read. What appears a
minute late is found by the ladder, whatever looks are spent on the rest, and has a column of its own: the bounds
know nothing of rows that cannot be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.benchmarks import bound
from tests.benchmarks.machine import Cores
from tests.benchmarks.polling_baselines import BASELINES, poll
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.simulation import Lifetime, Measured, World, mixture, simulate, uniform

LIFETIMES: Final[dict[str, tuple[Lifetime, bound.Lifetimes]]] = {
    "uniform": (uniform, bound.uniform(10.0, 15.0, share=0.02)),
    "mixture": (mixture, bound.mixture()),
}
HORIZON: Final = 300.0
"""Seconds up to which late rows are looked for: with a day the last level would find them a day later."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Tasks arriving at ``rate`` a second, watched with a budget; for how long, and after what warming up."""

    rate: float
    requests_per_second: float
    lifetimes: str
    target_delay: float = 0.0
    warm: float = 150.0
    seconds: float = 450.0

    @property
    def batch_limited(self) -> bool:
        """Whether more is in flight than a request shows, and requests are what lacks."""
        return self.rate * LIFETIMES[self.lifetimes][1].mean > bound.PAGE

    @property
    def world(self) -> World:
        return World(self.rate, LIFETIMES[self.lifetimes][0], self.seconds, self.warm, drain=3 * HORIZON)


@dataclass(frozen=True, slots=True)
class Size:
    """The flows to watch."""

    flows: tuple[Flow, ...]


FULL: Final = Size(
    (
        Flow(5.0, 24.0, "uniform", target_delay=1.0),
        Flow(5.0, 24.0, "mixture", target_delay=1.0),
        Flow(5.0, 24.0, "uniform", target_delay=0.25),
        Flow(20.0, 2.0, "uniform"),
        Flow(20.0, 2.0, "mixture"),
        Flow(50.0, 5.0, "uniform", seconds=300.0),
        Flow(50.0, 5.0, "mixture", seconds=300.0),
        Flow(200.0, 24.0, "uniform", warm=70.0, seconds=100.0),
        Flow(200.0, 24.0, "mixture", warm=70.0, seconds=100.0),
    )
)
QUICK: Final = Size(
    (
        Flow(5.0, 24.0, "uniform", target_delay=1.0, seconds=300.0),
        Flow(20.0, 2.0, "uniform", seconds=250.0),
    )
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the watcher came to in one flow, and the bounds at what it spent."""

    flow: Flow
    measured: Measured

    @property
    def bound(self) -> float:
        """The greater of the programme's bound and half the spacing of requests."""
        return self._bound(self.measured.requests)

    @property
    def in_pages(self) -> float:
        """The bound for whoever inspects at even requests only, a page at each: both of the above together."""
        distribution = LIFETIMES[self.flow.lifetimes][1]
        return bound.least_delay_in_pages(distribution, self.flow.rate, self.measured.requests)

    @property
    def ratio(self) -> float:
        return self.measured.delay / self.bound

    @property
    def net(self) -> float:
        """The delay beside the bound for what was spent on anything but the ladder."""
        return self.measured.delay / self._bound(self.measured.requests - self.measured.again)

    @property
    def ladder(self) -> float:
        return self.measured.again / self.measured.requests

    @property
    def least_ladder(self) -> float:
        """What it takes to download every row once more, in full pages: the ladder of a single level."""
        return self.flow.rate / bound.PAGE / self.measured.requests

    @property
    def at_best(self) -> float:
        """The bound for what such a ladder leaves to looks, beside that for all that was spent.

        Where more is in flight than a page shows, tasks are found young, which downloads every row once more.
        """
        downloads = 2 if self.flow.batch_limited else 1
        return self._bound(self.measured.requests * (1 - downloads * self.least_ladder)) / self.bound

    def _bound(self, requests: float) -> float:
        inspections = bound.PAGE * requests / self.flow.rate
        return max(1 / (2 * requests), bound.least_delay(LIFETIMES[self.flow.lifetimes][1], inspections))


async def run(size: Size, cores: Cores) -> Report:
    """Watch each flow, then let the simple pollers do so with as many requests."""
    outcomes: list[Outcome] = []
    rows: list[tuple[Cell, ...]] = []
    for flow in size.flows:
        measured = await simulate(
            flow.world,
            requests_per_second=flow.requests_per_second,
            target_delay=flow.target_delay,
            horizon=HORIZON,
        )
        outcomes.append(Outcome(flow, measured))
        rows.append(_row(outcomes[-1]))
        for name, poller in BASELINES.items():
            found = await poll(
                poller(), flow.world, requests_per_second=flow.requests_per_second, pace=measured.requests
            )
            rows.append(_baseline(name, outcomes[-1], found))
    return Report(
        title="delay from when an end could be read, beside the least that any poller could reach",
        columns=(
            Column("flow"),
            Column("poller"),
            Column("requests/s", ".2f"),
            Column("of that ladder", ".1%"),
            Column("delay s", ".3f"),
            Column("bound s", ".3f"),
            Column("÷ bound", ".2f"),
            Column("net of ladder", ".2f"),
            Column("÷ in pages", ".2f"),
            Column("late rows s", ".0f"),
            Column("missed", "d"),
        ),
        rows=tuple(rows),
        reading=_reading(outcomes),
        targets=_targets(outcomes),
    )


def _row(outcome: Outcome) -> tuple[Cell, ...]:
    flow, found = outcome.flow, outcome.measured
    name = f"{flow.rate:g}/s, R {flow.requests_per_second:g}, {flow.lifetimes}, {flow.target_delay:g} s"
    return (
        name,
        "watcher",
        found.requests,
        outcome.ladder,
        found.delay,
        outcome.bound,
        outcome.ratio,
        outcome.net,
        found.delay / outcome.in_pages,
        found.late_delay if found.late else "-",
        found.missed,
    )


def _baseline(name: str, outcome: Outcome, found: Measured) -> tuple[Cell, ...]:
    late = found.late_delay if found.late else "-"
    ratio = found.delay / outcome.bound
    return ("", name, found.requests, "-", found.delay, "-", ratio, "-", "-", late, found.missed)


def _reading(outcomes: list[Outcome]) -> str:
    said = [
        "a ladder of one level, in full pages, takes "
        + ", ".join(f"{each.least_ladder:.1%} ({_name(each)})" for each in outcomes)
    ]
    said.append(
        "so, and with each row found once before it ends where requests lack, even perfect looks come to "
        + ", ".join(f"{each.at_best:.2f} ({_name(each)})" for each in outcomes)
        + " of the bound"
    )
    said.append(
        "looks at even requests of a page cannot come below the bound by more than "
        + ", ".join(f"{each.in_pages / each.bound:.2f} ({_name(each)})" for each in outcomes)
    )
    return "; ".join(said)


def _name(outcome: Outcome) -> str:
    return f"{outcome.flow.rate:g}/s {outcome.flow.lifetimes}"


def _targets(outcomes: list[Outcome]) -> tuple[Target, ...]:
    fitting = [each for each in outcomes if not each.flow.batch_limited]
    limited = [each for each in outcomes if each.flow.batch_limited]
    missed, twice = (sum(getattr(each.measured, what) for each in outcomes) for what in ("missed", "twice"))
    over = [each for each in outcomes if each.measured.most_in_a_second > each.flow.requests_per_second]
    return (
        *_at_most(
            "delay ÷ bound where all in flight fits a page", 1.05, [(each.ratio, each) for each in fitting]
        ),
        *_at_most("delay ÷ bound where requests lack", 1.3, [(each.ratio, each) for each in limited]),
        *_at_most("delay ÷ bound net of the ladder", 1.15, [(each.net, each) for each in outcomes]),
        *_at_most("the ladder's share of the requests", 0.1, [(each.ladder, each) for each in outcomes]),
        Target(f"no row missed, none told twice: {missed} and {twice}", missed == twice == 0),
        Target(f"never more requests in a second than granted: {len(over)} flows with more", not over),
    )


def _at_most(text: str, most: float, found: list[tuple[float, Outcome]]) -> list[Target]:
    if not found:
        return []
    worst, outcome = max(found, key=lambda pair: pair[0])
    kept = sum(value <= most for value, _ in found)
    return [
        Target(
            f"{text} at most {most:g}: {kept} of {len(found)}, at worst {worst:.2f} ({_name(outcome)})",
            kept == len(found),
        )
    ]
