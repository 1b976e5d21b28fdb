"""How late ends are seen, beside the least that any poller could reach with as many requests.

On a simulated clock, with the real scanner, planner, coverage, ladder, pacer and budget; 2.9 % of the rows appear
up to two seconds late and 0.1 % a minute. A delay counts from when the end could first be read. What appears a
minute late is found by the ladder, whatever looks are spent on the rest, and has a column of its own: the bounds
know nothing of rows that cannot be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tests.benchmarks import bound
from tests.benchmarks.bound_found import least_delay_found
from tests.benchmarks.machine import Cores
from tests.benchmarks.polling_baselines import BASELINES, poll
from tests.benchmarks.report import Cell, Column, Report, Target
from tests.simulation import Lifetime, Measured, World, mixture, simulate, uniform

LIFETIMES: Final[dict[str, tuple[Lifetime, bound.Lifetimes]]] = {
    "uniform": (uniform, bound.uniform(10.0, 15.0, share=0.02)),
    "mixture": (mixture, bound.mixture()),
}
WIDE: Final = 14
"""Looks in the span of a page from which on it shows nearly all by whatever page it is."""
HORIZON: Final = 120.0
"""Seconds up to which late rows are looked for.

With a day the last level would find them a day later; and the ladder is to read as much as ever while flows are
measured, so that warming up takes longer than that, less the minute of rows there is at the beginning.
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """Tasks arriving at ``rate`` a second, watched with a budget; for how long, and after what warming up."""

    rate: float
    requests_per_second: float
    lifetimes: str
    target_delay: float = 0.0
    warm: float = 150.0
    seconds: float = 1200.0

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
        Flow(2.0, 24.0, "uniform", target_delay=0.25),
        Flow(2.0, 24.0, "mixture", target_delay=0.25),
        Flow(20.0, 2.0, "uniform"),
        Flow(20.0, 2.0, "mixture"),
        Flow(50.0, 5.0, "uniform", seconds=300.0),
        Flow(50.0, 5.0, "mixture", seconds=300.0),
        Flow(200.0, 24.0, "uniform", warm=110.0, seconds=150.0),
        Flow(200.0, 24.0, "mixture", warm=110.0, seconds=150.0),
    )
)
QUICK: Final = Size(
    (
        Flow(5.0, 24.0, "uniform", target_delay=1.0, seconds=300.0),
        Flow(20.0, 2.0, "uniform", seconds=250.0),
    )
)


@dataclass(frozen=True)
class Outcome:
    """What the watcher came to in one flow, and the bounds at what it spent."""

    flow: Flow
    measured: Measured

    @property
    def bound(self) -> float:
        """The greater of the programme's bound and half the spacing of requests."""
        return self._bound(self.measured.requests)

    @property
    def ratio(self) -> float:
        return self.measured.delay / self.bound

    @property
    def net(self) -> float:
        """The delay beside the bound for what was spent on anything but the ladder."""
        return self.measured.delay / self._bound(self.measured.requests - self.measured.again)

    @property
    def net_at_best(self) -> float:
        """The same of the least delay, with the ladder that it supposes."""
        return self.floor / self._bound(self.measured.requests * (1 - self.least_ladder))

    @property
    def ladder(self) -> float:
        return self.measured.again / self.measured.requests

    @property
    def least_ladder(self) -> float:
        """What it takes to download every row once more, in full pages: the ladder of a single level."""
        return self.flow.rate / bound.PAGE / self.measured.requests

    @cached_property
    def floor(self) -> float:
        """The least delay with a ladder of a single level in full pages, and what it leaves to looks.

        Looks come at even requests, but for the ladder's, which shows nobody in flight: rows that appear late are
        found by it up to the horizon only where it reads at that age. Tasks are found by ranges, and a look is either
        at a range or by id: neither shows all, unless a page spans very many looks.
        """
        looks = self.measured.requests * (1 - self.least_ladder)
        flow, distribution = self.flow, LIFETIMES[self.flow.lifetimes][1]
        spacings = bound.spacings_beside(looks, flow.rate / bound.PAGE, flow.requests_per_second)
        spaced = bound.half_of(spacings)
        if len(spacings) > WIDE:
            return spaced
        return max(spaced, least_delay_found(distribution, flow.rate, spacings))

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
            Column("best ÷ bound", ".2f"),
            Column("÷ best", ".2f"),
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
        outcome.floor / outcome.bound,
        found.delay / outcome.floor,
        found.late_delay if found.late else "-",
        found.missed,
    )


def _baseline(name: str, outcome: Outcome, found: Measured) -> tuple[Cell, ...]:
    late = found.late_delay if found.late else "-"
    ratio = found.delay / outcome.bound
    return ("", name, found.requests, "-", found.delay, "-", ratio, "-", "-", "-", late, found.missed)


def _reading(outcomes: list[Outcome]) -> str:
    return (
        "best is what a poller could come to that knows how long tasks live, and to which they come evenly: it reads "
        "every row again once, in full pages, which takes (arrivals / page) of the requests, "
        + ", ".join(f"{each.least_ladder:.1%} ({_name(each)})" for each in outcomes)
        + "; spends the others on looks, evenly, as far as the seconds' limit allows beside the ladder's; and, where a "
        f"page spans at most {WIDE} looks, finds each task by a page of a range before it can ask for it by id, each "
        "look being either, in a pattern fixed beforehand that repeats with the ladder's page (a dynamic programme "
        "over the ages at requests, with a price for the places of each; the least for any pattern, and any ages of "
        "its ranges). Net of its ladder, best is "
        + ", ".join(f"{each.net_at_best:.2f} ({_name(each)})" for each in outcomes)
        + " times the bound"
    )


def _name(outcome: Outcome) -> str:
    flow = outcome.flow
    return f"{flow.rate:g}/s {flow.lifetimes}" + (f", {flow.target_delay:g} s" if flow.target_delay else "")


def _targets(outcomes: list[Outcome]) -> tuple[Target, ...]:
    fitting = [each for each in outcomes if not each.flow.batch_limited]
    limited = [each for each in outcomes if each.flow.batch_limited]
    missed, twice = (sum(getattr(each.measured, what) for each in outcomes) for what in ("missed", "twice"))
    over = [each for each in outcomes if each.measured.most_in_a_second > each.flow.requests_per_second]
    return (
        *_at_most(
            "delay ÷ bound where all in flight fits a page",
            1.05,
            [(each.ratio, each.floor / each.bound, each) for each in fitting],
        ),
        *_at_most(
            "delay ÷ bound where requests lack",
            1.3,
            [(each.ratio, each.floor / each.bound, each) for each in limited],
        ),
        *_at_most(
            "delay ÷ bound net of the ladder", 1.15, [(each.net, each.net_at_best, each) for each in outcomes]
        ),
        *_at_most(
            "the ladder's share of the requests",
            0.1,
            [(each.ladder, each.least_ladder, each) for each in outcomes],
        ),
        Target(f"no row missed, none told twice: {missed} and {twice}", missed == twice == 0),
        Target(f"never more requests in a second than granted: {len(over)} flows with more", not over),
    )


def _at_most(text: str, most: float, found: list[tuple[float, float, Outcome]]) -> list[Target]:
    """A target, with what was found, each beside the best that there can be; the worst of all last."""
    if not found:
        return []
    kept = sum(value <= most for value, _, _ in found)
    out_of_reach = [outcome for _, best, outcome in found if best > most]
    worst, best, outcome = max(found, key=lambda each: each[0])
    above, at_best, which = max(found, key=lambda each: each[0] / each[1])
    said = f"{text} at most {most:g}: {kept} of {len(found)}, at worst {worst:.2f} ({_name(outcome)}; best {best:.2f})"
    said += f", above the best by most {above:.2f} to {at_best:.2f} ({_name(which)})"
    if out_of_reach:
        said += "; above it at best: " + ", ".join(_name(each) for each in out_of_reach)
    return [Target(said, kept == len(found))]
