"""How soon ends can be seen at best: bounds for any poller, even one that knows how long tasks live.

An inspection costs ``price`` task-seconds, and a task that has ended gathers delay until it is inspected. The
least of both together, over all tables of ages at which to inspect, is a dynamic programme over the age of the
last inspection; with survival S,

    V(a) = min over d of  price + C(a, d) + S(a + d) / S(a) * V(a + d)
    C(a, d) = integral over s from 0 to d of  1 - S(a + s) / S(a).

By Lagrangian duality ``V(0) - price * inspections`` is no more than the mean delay of any policy that inspects a
task ``inspections`` times on average; the greatest over all prices is the bound. Spans are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, exp, log
from statistics import NormalDist, fmean
from typing import Final

GRAIN: Final = 0.01
"""Step of the ages at which survival is tabled."""
FINE: Final = 0.025
"""Step of inspection ages that nothing spaces."""
COARSE: Final = 0.1
"""Step of inspection ages between which a longest gap is kept."""
PHASES: Final = 10
"""Places of a task's creation between two requests that are averaged over."""
BEYOND: Final = 60.0
"""Seconds of a memoryless tail that are gone through step by step."""
PAGE: Final = 100
"""Tasks that a request inspects at most."""
CHEAPEST, DEAREST = 1e-5, 100.0
"""Prices in task-seconds between which the best is sought."""
GOLDEN: Final = 0.6180339887
SECTIONS: Final = 24


@dataclass(frozen=True)
class Lifetimes:
    """A known distribution: the share alive at each age, memoryless with mean ``tail`` from ``end`` on."""

    survival: Callable[[float], float]
    end: float
    tail: float

    def lived(self, age: float) -> float:
        """The integral of survival from 0 to an age."""
        if age > self.end:
            left = 1 - exp((self.end - age) / self.tail)
            return self.lived(self.end) + self.survival(self.end) * self.tail * left
        place = int(age / GRAIN)
        low, high = self._table[place : place + 2]
        return low + (high - low) * (age / GRAIN - place)

    @cached_property
    def mean(self) -> float:
        """Mean lifetime."""
        return self.lived(self.end) + self.survival(self.end) * self.tail

    @cached_property
    def _table(self) -> list[float]:
        alive = [self.survival(step * GRAIN) for step in range(ceil(self.end / GRAIN) + 3)]
        table = [0.0]
        for before, after in pairwise(alive):
            table.append(table[-1] + (before + after) / 2 * GRAIN)
        return table


def uniform(low: float, high: float, share: float = 0.0, tail: float = 20.0) -> Lifetimes:
    """Evenly between two ages; but a ``share`` outlives the second by ``tail`` on average."""
    return Lifetimes(
        lambda age: (1 - share) * _evenly(age, low, high) + share * _outliving(age, high, tail), high, tail
    )


def memoryless(mean: float) -> Lifetimes:
    """The same hazard at every age."""
    return Lifetimes(lambda age: exp(-age / mean), GRAIN, mean)


def mixture() -> Lifetimes:
    """3 % early failures, 90 % around 12 s, and 7 % that outlive 15 s by 20 s on average."""
    body = NormalDist(2.485, 0.25)

    def survival(age: float) -> float:
        around = 1 - body.cdf(log(max(age, GRAIN)))
        return 0.03 * _evenly(age, 0.3, 3.0) + 0.9 * around + 0.07 * _outliving(age, 15.0, 20.0)

    return Lifetimes(survival, 60.0, 20.0)


def least_delay(lifetimes: Lifetimes, inspections: float) -> float:
    """The mean delay below which nobody comes who inspects a task so often on average, whenever he likes."""
    table = Table.of(lifetimes, FINE, FINE)
    return greatest(lambda price: table.value(price) - price * inspections)


def least_delay_in_pages(lifetimes: Lifetimes, arrival_rate: float, requests: float) -> float:
    """The mean delay below which nobody comes who spends so many requests a second, evenly spaced, on one flow.

    Tasks are created at any moment between two requests, and are inspected at requests only, ``PAGE`` at each.
    It includes both ``least_delay`` at ``PAGE * requests / arrival_rate`` inspections and half the spacing,
    ``1 / (2 * requests)``, which holds for whoever does not know when tasks were created.
    """
    spacing = 1 / requests
    tables = [Table.of(lifetimes, (phase + 0.5) / PHASES * spacing, spacing) for phase in range(PHASES)]
    inspections = PAGE * requests / arrival_rate
    return greatest(lambda price: fmean(table.value(price) for table in tables) - price * inspections)


def least_delay_beside(looks: float, others: float, granted: float) -> float:
    """Half the mean spacing of so many looks a second, weighed by its length, with other requests between them.

    No second may hold more than were ``granted``: of as many looks, together with one other, the first and the last
    lie a second apart at least. All spacings beside that are even.
    """
    around = granted - 1
    period = 1 / others
    wide = max(1.0, around / looks)
    if wide >= period:
        return 1 / (2 * looks)
    return (wide**2 / around + (period - wide) ** 2 / (looks * period - around)) / (2 * period)


def fewest_requests(lifetimes: Lifetimes, arrival_rate: float, delay: float, longest: float) -> float:
    """The requests a second below which nobody sees lone tasks so soon who also looks every ``longest`` seconds.

    Each look shows everything, so that one which comes early spares a part of the next; a task is created
    anywhere between two idle looks. That tasks in flight at the same time share looks is left out of account.
    """
    steps = round(longest / COARSE)
    table = Table.of(lifetimes, COARSE, COARSE)

    def looks(price: float) -> float:
        costs = table.costs_within(price, steps)
        found = (table.ages[step] - table.lived[step] + costs[step] for step in range(steps))
        return (fmean(found) - delay) / price

    return 1 / longest + arrival_rate * max(0.0, greatest(looks))


@dataclass(frozen=True)
class Table:
    """Creation and the ages at which a task may be inspected, with the share alive and its integral."""

    ages: Sequence[float]
    alive: Sequence[float]
    lived: Sequence[float]
    tail: float

    @classmethod
    def of(cls, lifetimes: Lifetimes, first: float, spacing: float) -> Table:
        count = ceil((lifetimes.end + BEYOND) / spacing)
        ages = [0.0, *(first + step * spacing for step in range(count))]
        alive, lived = map(lifetimes.survival, ages), map(lifetimes.lived, ages)
        return cls(ages, list(alive), list(lived), lifetimes.tail)

    def value(self, price: float) -> float:
        """V(0)."""
        return self.costs(price)[0]

    def costs(self, price: float, allowed: Sequence[bool] | None = None) -> list[float]:
        """``S V`` at each age, with inspections at all others or at those which are ``allowed``.

        In terms of ``W = S V``, the cost for all tasks instead of one alive, each inspection age b is a line in S:
        ``W(a) = S(a) (price - a) + L(a) + min over b of  S(a) b + W(b) - L(b)``, with L the integral of S. Going
        back in age, S grows and the slopes b fall, so the lowest line is found by walking along their hull.
        """
        ages, alive, lived = self.ages, self.alive, self.lived
        cost = alive[-1] * self._beyond(price, len(ages), price_of_time=1.0)
        costs = [cost]
        hull: list[tuple[float, float]] = []
        at = 0
        for place in range(len(ages) - 2, -1, -1):
            if allowed is None or allowed[place + 1] or not hull:
                line = ages[place + 1], cost - lived[place + 1]
                while len(hull) > 1 and _hidden(hull[-2], hull[-1], line):
                    hull.pop()
                hull.append(line)
                at = min(at, len(hull) - 1)
            share = alive[place]
            lowest = share * hull[at][0] + hull[at][1]
            while at + 1 < len(hull):
                following = share * hull[at + 1][0] + hull[at + 1][1]
                if following > lowest:
                    break
                at, lowest = at + 1, following
            cost = share * (price - ages[place]) + lived[place] + lowest
            costs.append(cost)
        return costs[::-1]

    def costs_within(self, price: float, steps: int) -> list[float]:
        """``S V`` at each age, with ``steps`` between two inspections at most: so long a wait is free of charge."""
        ages, alive, lived = self.ages, self.alive, self.lived
        price_of_time = 1 - price / (ages[steps] - ages[0])
        beyond = self._beyond(price, steps, price_of_time)
        costs = [share * beyond for share in alive]
        for place in range(len(ages) - 1 - steps, -1, -1):
            share = alive[place]
            least = min(
                share * ages[after] * price_of_time + costs[after] - lived[after]
                for after in range(place + 1, place + steps + 1)
            )
            costs[place] = share * (price - ages[place] * price_of_time) + lived[place] + least
        return costs

    def _beyond(self, price: float, most: int, price_of_time: float) -> float:
        """V in the tail: ``least of (price + C(d)) / (1 - S(d))``, the same at every age."""
        spacing, tail = self.ages[2] - self.ages[1], self.tail
        waits = (step * spacing for step in range(1, most + 1))
        ended = ((wait, 1 - exp(-wait / tail)) for wait in waits)
        return min((price + wait * price_of_time - tail * share) / share for wait, share in ended)


def _hidden(before: tuple[float, float], line: tuple[float, float], after: tuple[float, float]) -> bool:
    """Whether of three lines (slope, height), the slopes falling, the middle one is nowhere the lowest."""
    return (after[1] - before[1]) * (before[0] - line[0]) <= (line[1] - before[1]) * (before[0] - after[0])


def greatest(
    function: Callable[[float], float],
    cheapest: float = CHEAPEST,
    dearest: float = DEAREST,
    sections: int = SECTIONS,
) -> float:
    """The greatest value over prices of a function that rises, then falls: golden section over their logarithm."""
    low, high = log(cheapest), log(dearest)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = function(exp(left)), function(exp(right))
    for _ in range(sections):
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = function(exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = function(exp(right))
    return max(at_left, at_right)


def _evenly(age: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (high - age) / (high - low)))


def _outliving(age: float, start: float, mean: float) -> float:
    return exp(min(0.0, start - age) / mean)
