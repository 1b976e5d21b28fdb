"""How soon ends can be seen at best by whoever must find the tasks first, by ranges of ``created_at``.

The bounds of ``bound`` know of every task from its creation on. A poller does not: each task is on the page of a
range before it can be asked for by id, and such a page has places also for those known to have ended. Here every
so-many-th of evenly spaced requests is such a page, full, and all others ask by id. A page spans the time in which
as many tasks are created as fit it, and begins at some age. What is left open is a dynamic programme over the ages
at which there are requests, as in ``bound``, in which

- a place on a range's page costs ``price``, whether its task is alive or not, and nothing is seen before the first;
- a place on a page by id costs ``price`` for each task that was alive when it was last seen.

It leaves out that arrivals are uneven, and that lifetimes must be learned. Spans are in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from statistics import fmean
from typing import Final

from tests.benchmarks.bound import GOLDEN, PAGE, Lifetimes, Table

PHASES: Final = 4
"""Places of a task's creation between two requests that are averaged over."""
OLDEST: Final = 16.0
"""Age in seconds at which a range's page begins at most."""
STEP: Final = 0.25
"""Seconds between two such ages that are tried."""
CHEAPEST, DEAREST = 1e-3, 0.5
"""Prices in task-seconds between which the best is sought."""
SECTIONS: Final = 12


def least_delay_found(lifetimes: Lifetimes, arrival_rate: float, requests: float) -> float:
    """The mean delay below which nobody comes who finds tasks so, at so many requests a second.

    By Lagrangian duality: whatever the price, what is least at it, for any age and distance of the ranges, is no
    more than what any mixture of them comes to.
    """
    spacing = 1 / requests
    tables = [Table.of(lifetimes, (phase + 0.5) / PHASES * spacing, spacing) for phase in range(PHASES)]
    span = max(1, int(PAGE / arrival_rate / spacing))
    firsts = range(1, round(OLDEST / spacing), max(1, round(STEP / spacing)))

    def value(price: float) -> float:
        later = [table.costs(price) for table in tables]
        least = min(
            fmean(
                _cost(table, costs, price, tuple(range(first + shift, first + span, distance)))
                for table, costs in zip(tables, later, strict=True)
                for shift in range(distance)
            )
            for distance in range(1, span + 1)
            for first in firsts
        )
        return least - price * PAGE * requests / arrival_rate

    low, high = log(CHEAPEST), log(DEAREST)
    for _ in range(SECTIONS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if value(exp(left)) > value(exp(right)) else (left, high)
    return value(exp((low + high) / 2))


def _cost(table: Table, later: Sequence[float], price: float, shown: Sequence[int]) -> float:
    """The cost of a task that the pages of ranges show at these places of the table, the first of them first.

    Between two of them it may be asked for by id, and after the last one at the best ages: ``later``.
    """
    ages, alive, lived = table.ages, table.alive, table.lived
    costs = {shown[-1]: later[shown[-1]]}
    for begin, end in zip(reversed(shown[:-1]), reversed(shown[1:]), strict=True):
        costs[end] += price
        for place in range(end - 1, begin - 1, -1):
            costs[place] = min(
                alive[place] * (ages[after] - ages[place] + (price if after < end else 0.0))
                - (lived[after] - lived[place])
                + costs[after]
                for after in range(place + 1, end + 1)
            )
    first = shown[0]
    return ages[first] - lived[first] + price + costs[first]
