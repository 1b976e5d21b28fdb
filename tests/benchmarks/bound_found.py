"""How soon ends can be seen at best by whoever must find the tasks first, by ranges of ``created_at``.

The bound of ``bound`` knows of every task from its creation on. A poller does not: each task is on the page of a range
before it can be asked for by id, such a page has places also for those that have ended, and a request is either the
one or the other. What is bounded here is any poller that

- looks at given spacings, and has a pattern of ranges and pages by id, fixed beforehand, that repeats with them;
- reads a range as a page: of what was created within the time in which a page of tasks is, and from some age on,
  its own for each range of the pattern;
- shows every task by a range at an age of ``APPEARED`` at least, as rows appear up to then;
- has a page of places at each request, of which by id one is taken by each task that was alive when last seen.

Tasks come evenly, and how long they live is known. A poller that lets what it finds decide between range and page by
id can come lower by little, and tasks that come at random cost more. Spans are in seconds.

For one pattern and one price a place at each of its requests, in task-seconds, the least cost of a task is a dynamic
programme over the ages at requests, as in ``bound``, but that a place of a range costs its price whether the task is
alive or not. By Lagrangian duality, that cost less the prices of all places is no more than the mean delay, whatever
the prices; they are raised and lowered with the demand. The ages of ranges are found by branch and bound: at first a
range may show whatever any of its ages would let it, and of the pattern that bounds least the possible ages are halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import count, product
from math import ceil, inf
from typing import Final, NamedTuple

from tests.benchmarks.bound import PAGE, Lifetimes, Lines, Table, least_delay

APPEARED: Final = 2.0
"""Age up to which rows appear; but for those that only the ladder finds."""
OLDEST: Final = 16.0
"""Age at which a range begins at most."""
NARROW: Final = 0.3
"""Span of possible ages that is halved no more."""
PHASE: Final = 0.15
"""Span of a task's creation, between two requests, that its middle stands for; or, if that is more, a ``PHASES``-th."""
PHASES: Final = 4
"""Spans of a task's creation between two requests at most."""
STEPS: Final[tuple[tuple[int, float], ...]] = ((12, 1.0), (12, 0.6))
"""How often prices are changed, and by which part of the first one where demand is twice what there is.

Once coarsely, then again; with the ages halved, only as they were the last time.
"""
TAIL: Final = 40.0
"""Seconds of a memoryless tail that are gone through; in what follows any request may look at every task."""
SPLITS: Final = 80
"""Halvings after which the bound is good enough: it holds whenever they end."""

Ages = tuple[float, float] | None
"""The ages from which a request's range may begin; None if it is by id."""


class Bounded(NamedTuple):
    """No poller of this pattern comes below ``delay``, as these ``prices`` prove after so much refining."""

    delay: float
    number: int
    refined: int
    pattern: tuple[Ages, ...]
    prices: tuple[float, ...]


def least_delay_found(
    lifetimes: Lifetimes, arrival_rate: float, spacings: Sequence[float], splits: int = SPLITS
) -> float:
    """The mean delay below which nobody comes who finds tasks so, with requests at these spacings, again and again."""
    flow = Flow(lifetimes, arrival_rate, tuple(spacings))
    numbers = count()
    queue: list[Bounded] = []

    def consider(pattern: tuple[Ages, ...], prices: tuple[float, ...], least: float, refined: int) -> None:
        delay = max(least, flow.bound(pattern, prices)[0])
        heappush(queue, Bounded(delay, next(numbers), refined, pattern, prices))

    for pattern in flow.patterns:
        consider(pattern, (flow.price,) * len(spacings), 0.0, refined=0)
    for _ in range(splits):
        while (best := heappop(queue)).refined < len(STEPS):
            heappush(queue, flow.refine(best, *STEPS[best.refined]))
        halves = _halves(best.pattern)
        if not halves:
            return best.delay
        for pattern in halves:
            consider(pattern, best.prices, best.delay, refined=len(STEPS) - 1)
    return queue[0].delay


@dataclass(frozen=True)
class Flow:
    """Tasks that come evenly, ``arrival_rate`` a second, and requests at ``spacings``."""

    lifetimes: Lifetimes
    arrival_rate: float
    spacings: tuple[float, ...]

    @property
    def patterns(self) -> list[tuple[Ages, ...]]:
        """All with a range at least; where spacings are even, of those that only begin elsewhere one."""
        kinds = list(product((None, (0.0, OLDEST)), repeat=len(self.spacings)))[1:]
        if len(set(self.spacings)) > 1:
            return kinds
        return list({min(_rotated(kind), key=repr): None for kind in kinds})

    @cached_property
    def period(self) -> float:
        """Seconds after which all repeats."""
        return sum(self.spacings)

    @cached_property
    def page(self) -> float:
        """Seconds in which a page of tasks is created; the period, if rounding made that a little longer."""
        return max(PAGE / self.arrival_rate, self.period)

    @cached_property
    def places(self) -> float:
        """Places of one request in a period, for each task created in it."""
        return self.page / self.period

    @cached_property
    def price(self) -> float:
        """A price a place, in task-seconds, to begin with: what it is where looks are many and each at whatever age.

        Delay and looks a task are then in inverse proportion, and their exchange is one for the other.
        """
        inspections = self.places * len(self.spacings)
        return least_delay(self.lifetimes, inspections) / inspections

    @cached_property
    def creations(self) -> list[tuple[float, int, Table]]:
        """For each place of creation: its share of all, the first request after it, and the ages at requests."""
        found = []
        for first, spacing in enumerate(self.spacings):
            phases = min(PHASES, ceil(spacing / PHASE))
            for phase in range(phases):
                ages = [0.0, spacing * (phase + 0.5) / phases]
                while ages[-1] < self.lifetimes.end + TAIL:
                    ages.append(ages[-1] + self.spacings[(first + len(ages) - 1) % len(self.spacings)])
                share = spacing / phases / self.period
                found.append((share, first, Table.at(self.lifetimes, ages)))
        return found

    def bound(self, pattern: tuple[Ages, ...], prices: tuple[float, ...]) -> tuple[float, list[float]]:
        """A delay below which nobody comes, and the places wanted at each request beyond those that there are."""
        shown = [ages and (ages[0], ages[1] + self.page) for ages in pattern]
        cost, wanted = 0.0, [-self.places] * len(pattern)
        for share, first, table in self.creations:
            least, taken = _least(table, first, shown, prices)
            cost += share * least
            for request, places in taken:
                wanted[request] += share * places
        return cost - self.places * sum(prices), wanted

    def refine(self, bounded: Bounded, steps: int, size: float) -> Bounded:
        """With prices that follow demand for so many steps, ever smaller ones: the best of them."""
        best = bounded._replace(refined=bounded.refined + 1)
        prices = best.prices
        for step in range(steps):
            delay, wanted = self.bound(best.pattern, prices)
            if delay >= best.delay:
                best = best._replace(delay=delay, prices=prices)
            if delay == inf:
                break
            change = size * self.price / (1 + step / 5) / self.places
            prices = tuple(
                max(0.0, price + change * more) for price, more in zip(prices, wanted, strict=True)
            )
        return best


def _halves(pattern: tuple[Ages, ...]) -> list[tuple[Ages, ...]]:
    """The pattern with the younger and with the older half of the ages of the range that has most; none if few."""
    width, at = max((ages[1] - ages[0], at) for at, ages in enumerate(pattern) if ages)
    ages = pattern[at]
    if ages is None or width < NARROW:
        return []
    low, high = ages
    middle = (low + high) / 2
    return [(*pattern[:at], half, *pattern[at + 1 :]) for half in ((low, middle), (middle, high))]


def _rotated(pattern: tuple[Ages, ...]) -> list[tuple[Ages, ...]]:
    return [pattern[at:] + pattern[:at] for at in range(len(pattern))]


def _least(
    table: Table, first: int, shown: Sequence[Ages], prices: Sequence[float]
) -> tuple[float, list[tuple[int, float]]]:
    """The least cost of tasks that share a place of creation, and the places that they then take, by request.

    Ranges show the ages ``shown``. In the terms of ``Table.costs``, a look by id at age b is a line of slope
    ``b + price`` and one by a range a line of slope b, higher by the price. All is gone through twice: for tasks that
    were shown by a range at ``APPEARED`` or later, and for those that were not yet.
    """
    ages, alive, lived = table.ages, table.alive, table.lived
    end, requests = len(ages) - 1, len(shown)
    cheapest = min((price for price, ages in zip(prices, shown, strict=True) if ages is None), default=0.0)
    settled, open_ = _Looks(), _Looks()
    settled.cost = alive[end] * table.beyond(cheapest, end)
    settled.by_id.add((ages[end], settled.cost - lived[end], end))
    for place in range(end - 1, -1, -1):
        for looks in (settled, open_):
            looks.choose(place, alive[place], lived[place] - alive[place] * ages[place], begun=place > 0)
        request = (first + place - 1) % requests
        age, height, price, range_ = ages[place], -lived[place], prices[request], shown[request]
        for looks in (settled, open_):
            if range_ is None:
                looks.by_id.add((age + price, looks.cost + height, place))
            elif range_[0] <= age < range_[1]:
                then = settled if age >= APPEARED else looks
                looks.ranges.add((age, then.cost + height + price, place))
    taken: list[tuple[int, float]] = []
    at, following = 0, open_
    while open_.cost < inf and (after := following.chosen[at]) < end:
        request = (first + after - 1) % requests
        is_range = shown[request] is not None
        taken.append((request, 1.0 if is_range else alive[at]))
        at, following = after, settled if is_range and ages[after] >= APPEARED else following
    return open_.cost, taken


class _Looks:
    """The later looks that there may be at a task, from the oldest back to its creation, and the best of them."""

    def __init__(self) -> None:
        self.cost = inf
        self.by_id, self.ranges = Lines(), Lines()
        self.chosen: dict[int, int] = {}

    def choose(self, place: int, share: float, beside: float, *, begun: bool) -> None:
        """The next look after one at a place, by a range if that is the creation; ``cost`` is then that from there."""
        lowest, self.chosen[place] = self.ranges.lowest(share)
        if begun:
            by_id, after = self.by_id.lowest(share)
            if by_id < lowest:
                lowest, self.chosen[place] = by_id, after
        self.cost = lowest + beside
