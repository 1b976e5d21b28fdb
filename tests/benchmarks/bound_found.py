"""How soon ends can be seen at best by whoever must find the tasks first, by ranges of ``created_at``.

The bounds of ``bound`` know of every task from its creation on, and let each be inspected at every request. A poller
does not: each task is on the page of a range before it can be asked for by id, such a page has places also for those
known to have ended, and a request is either the one or the other. Here one of so many evenly spaced requests is a
range and the others are by id, or the other way round. Each range is a full page: it spans the time in which as many
tasks are created as fit it, and begins at some age. What is left open is a dynamic programme over the ages at which
there are requests, as in ``bound``, in which

- a place on a range's page costs ``price``, whether its task is alive or not, and nothing is seen before the first;
- a place on a page by id costs ``price`` for each task that was alive when it was last seen;
- when there is a range, a task that it does not span is not seen.

It leaves out that arrivals are uneven, and that lifetimes must be learned. Spans are in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from tests.benchmarks.bound import PAGE, Lifetimes, Table, greatest

PHASES: Final = 4
"""Places of a task's creation between two requests that are averaged over."""
OLDEST: Final = 16.0
"""Age in seconds at which a range's page begins at most."""
STEP: Final = 0.25
"""Seconds between two such ages that are tried."""
CHEAPEST, DEAREST = 1e-4, 0.5
"""Prices in task-seconds between which the best is sought."""
SECTIONS: Final = 9


def least_delay_found(lifetimes: Lifetimes, arrival_rate: float, requests: float) -> float:
    """The mean delay below which nobody comes who finds tasks so, at so many requests a second.

    By Lagrangian duality: whatever the price, what is least at it, for any age and distance of the ranges, is no
    more than what any mixture of them comes to. A page spans two requests at least.
    """
    spacing = 1 / requests
    tables = [Table.of(lifetimes, (phase + 0.5) / PHASES * spacing, spacing) for phase in range(PHASES)]
    span = int(PAGE / arrival_rate / spacing)
    firsts = range(1, round(OLDEST / spacing), max(1, round(STEP / spacing)))
    patterns = [(period, rare) for period in range(2, span + 1) for rare in (True, False)]

    def value(price: float) -> float:
        least = min(_least(tables, price, firsts, span, period, rare) for period, rare in patterns)
        return least - price * PAGE * requests / arrival_rate

    return greatest(value, CHEAPEST, DEAREST, SECTIONS)


def _least(
    tables: Sequence[Table], price: float, firsts: Sequence[int], span: int, period: int, rare: bool
) -> float:
    """The least cost of a task over the ages at which ranges begin.

    One request of a ``period`` is a range if those are ``rare``, else all others are. A task is created at any place
    in a period alike.
    """
    ways: list[tuple[Table, list[bool], list[float]]] = []
    for shift in range(period):
        by_id = [((place - shift) % period == 0) != rare for place in range(len(tables[0].ages))]
        ways += [(table, by_id, table.costs(price, by_id)) for table in tables]
    return min(
        fmean(
            _cost(
                table,
                by_id,
                later,
                price,
                [place for place in range(first, first + span) if not by_id[place]],
            )
            for table, by_id, later in ways
        )
        for first in firsts
    )


def _cost(
    table: Table, by_id: Sequence[bool], later: Sequence[float], price: float, shown: Sequence[int]
) -> float:
    """The cost of a task that the pages of ranges show at these places of the table, the first of them first.

    Between two of them it may be asked for ``by_id``, and after the last one at the best ages: ``later``.
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
                if by_id[after] or after == end
            )
    first = shown[0]
    return ages[first] - lived[first] + price + costs[first]
