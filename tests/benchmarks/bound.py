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
from math import ceil, exp, inf, log
from statistics import NormalDist, fmean
from typing import Final

GRAIN: Final = 0.01
"""Step of the ages at which survival is tabled."""
FINE: Final = 0.025
"""Step of inspection ages that nothing spaces."""
COARSE: Final = 0.1
"""Step of inspection ages between which a longest gap is kept."""
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
    table = Table.of(lifetimes, FINE)
    return greatest(lambda price: table.value(price) - price * inspections)


def spacings_beside(looks: float, others: float, granted: float) -> tuple[float, ...]:
    """The seconds between looks, so many a second, that repeat with each of the other requests, so many a second.

    No second may hold more than were ``granted``: of as many looks, together with one other, the first and the last
    lie a second apart at least. All spacings beside that are even. Looks are rounded to whole ones a period.
    """
    count, around = max(1, round(looks / others)), int(granted) - 1
    if around >= min(looks, count):
        return (1 / looks,) * count
    return (1 / around,) * around + ((count / looks - 1) / (count - around),) * (count - around)


def half_of(spacings: Sequence[float]) -> float:
    """The mean delay where each look shows everything: half a spacing, each weighed by its length."""
    return sum(spacing * spacing for spacing in spacings) / (2 * sum(spacings))


def fewest_requests(lifetimes: Lifetimes, arrival_rate: float, delay: float, longest: float) -> float:
    """The requests a second below which nobody sees lone tasks so soon who also looks every ``longest`` seconds.

    Each look shows everything, so that one which comes early spares a part of the next; a task is created
    anywhere between two idle looks. That tasks in flight at the same time share looks is left out of account.
    """
    steps = round(longest / COARSE)
    table = Table.of(lifetimes, COARSE)

    def looks(price: float) -> float:
        costs = table.costs_within(price, steps)
        found = (table.ages[step] - table.lived[step] + costs[step] for step in range(steps))
        return (fmean(found) - delay) / price

    return 1 / longest + arrival_rate * max(0.0, greatest(looks))


Line = tuple[float, float, int]
"""Slope, height, and the place that it stands for."""


class Lines:
    """Lines of ever smaller slopes, of which the lowest is asked for at ever greater shares, by walking along.

    A slope that does not fall is taken for the last one's, which is lower: what follows from it bounds all the same.
    One of infinite height is none.
    """

    def __init__(self) -> None:
        self._hull: list[Line] = []
        self._at = 0

    def add(self, line: Line) -> None:
        hull = self._hull
        if line[1] == inf:
            return
        if hull and line[0] > hull[-1][0]:
            line = (hull[-1][0], *line[1:])
        while len(hull) > 1 and _hidden(hull[-2], hull[-1], line):
            hull.pop()
        hull.append(line)
        self._at = min(self._at, len(hull) - 1)

    def lowest(self, share: float) -> tuple[float, int]:
        """The height of the lowest at a share, and its place; infinite if there are no lines."""
        hull, at = self._hull, self._at
        if not hull:
            return inf, 0
        lowest = share * hull[at][0] + hull[at][1]
        while at + 1 < len(hull):
            following = share * hull[at + 1][0] + hull[at + 1][1]
            if following > lowest:
                break
            at, lowest = at + 1, following
        self._at = at
        return lowest, hull[at][2]


@dataclass(frozen=True)
class Table:
    """Creation and the ages at which a task may be inspected, with the share alive and its integral."""

    ages: Sequence[float]
    alive: Sequence[float]
    lived: Sequence[float]
    tail: float

    @classmethod
    def of(cls, lifetimes: Lifetimes, spacing: float) -> Table:
        count = ceil((lifetimes.end + BEYOND) / spacing)
        return cls.at(lifetimes, [step * spacing for step in range(count + 1)])

    @classmethod
    def at(cls, lifetimes: Lifetimes, ages: Sequence[float]) -> Table:
        alive, lived = map(lifetimes.survival, ages), map(lifetimes.lived, ages)
        return cls(ages, list(alive), list(lived), lifetimes.tail)

    def value(self, price: float) -> float:
        """V(0)."""
        return self.costs(price)[0]

    def costs(self, price: float) -> list[float]:
        """``S V`` at each age.

        In terms of ``W = S V``, the cost for all tasks instead of one alive, each inspection age b is a line in S:
        ``W(a) = S(a) (price - a) + L(a) + min over b of  S(a) b + W(b) - L(b)``, with L the integral of S.
        """
        ages, alive, lived = self.ages, self.alive, self.lived
        costs = [alive[-1] * self.beyond(price, len(ages))]
        later = Lines()
        for place in range(len(ages) - 2, -1, -1):
            later.add((ages[place + 1], costs[-1] - lived[place + 1], place + 1))
            lowest, _ = later.lowest(alive[place])
            costs.append(alive[place] * (price - ages[place]) + lived[place] + lowest)
        return costs[::-1]

    def costs_within(self, price: float, steps: int) -> list[float]:
        """``S V`` at each age, with ``steps`` between two inspections at most: so long a wait is free of charge."""
        ages, alive, lived = self.ages, self.alive, self.lived
        price_of_time = 1 - price / (ages[steps] - ages[0])
        beyond = self.beyond(price, steps, price_of_time)
        costs = [share * beyond for share in alive]
        for place in range(len(ages) - 1 - steps, -1, -1):
            share = alive[place]
            least = min(
                share * ages[after] * price_of_time + costs[after] - lived[after]
                for after in range(place + 1, place + steps + 1)
            )
            costs[place] = share * (price - ages[place] * price_of_time) + lived[place] + least
        return costs

    def beyond(self, price: float, most: int, price_of_time: float = 1.0) -> float:
        """V in the tail: ``least of (price + C(d)) / (1 - S(d))``, the same at every age."""
        spacing, tail = self.ages[-1] / (len(self.ages) - 1), self.tail
        waits = (step * spacing for step in range(1, most + 1))
        ended = ((wait, 1 - exp(-wait / tail)) for wait in waits)
        return min((price + wait * price_of_time - tail * share) / share for wait, share in ended)


def _hidden(before: Line, line: Line, after: Line) -> bool:
    """Whether of three lines, the slopes falling, the middle one is nowhere the lowest."""
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
