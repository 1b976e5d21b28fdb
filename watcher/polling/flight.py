"""What a read at an instant would be worth: the delay that what it shows has gathered unseen. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate, chain
from math import ceil, erfc, sqrt
from typing import Final

from watcher.model import SECOND, Micros, TaskId
from watcher.monite.query import MAX_LIMIT
from watcher.polling.lifetimes import Survival
from watcher.polling.looks import Sighting
from watcher.state.coverage import Interval

PAGE: Final = MAX_LIMIT
"""Rows that a request brings at most, and ids that it may ask for."""
NODES: Final = 16
"""Points at which what arrived unread is weighed."""


@dataclass(frozen=True, slots=True)
class Flight:
    """The tasks in flight at an instant, by when they were created, with the seconds of delay each has gathered.

    Of very many each stands for ``weight`` alike.
    """

    created: Sequence[Micros]
    ids: Sequence[TaskId]
    gathered: Sequence[float]
    summed: Sequence[float]
    weight: int

    @classmethod
    def of(cls, sightings: Mapping[TaskId, Sighting], now: Micros, weight: int = 1) -> Flight:
        """All of them, or every ``weight``-th."""
        ids, found = list(sightings)[::weight], list(sightings.values())[::weight]
        # Weighed before they are sorted: in the order of memory, which with very many is twice as quick.
        created = [each.created_at for each in found]
        gathered = [each.unseen(now) for each in found]
        order = sorted(range(len(found)), key=created.__getitem__)
        sums = accumulate((gathered[place] for place in order), initial=0.0)
        return cls(
            [created[place] for place in order],
            [ids[place] for place in order],
            [gathered[place] for place in order],
            list(sums),
            weight,
        )

    def within(self, interval: Interval) -> tuple[int, float]:
        """How many were created in an interval, and the task-seconds that they have gathered."""
        first, last = self._places(interval)
        return self.weight * (last - first), self.weight * (self.summed[last] - self.summed[first])

    def reach(self, low: Micros, span: int, most: int) -> Micros:
        """Where a window ends that begins at ``low``: after ``span`` microseconds, or with so many known tasks."""
        place = bisect_left(self.created, low) + ceil(most / self.weight)
        end = Micros(low + span)
        return end if place >= len(self.created) else max(Micros(low + 1), min(end, self.created[place]))

    def most(self) -> float:
        """The task-seconds gathered by those that have most, as many as fit a page."""
        return self.weight * sum(nlargest(ceil(PAGE / self.weight), self.gathered))

    def pages(self, shown: Interval | None, most: int) -> list[tuple[float, tuple[TaskId, ...]]]:
        """The ids of those that a window does not show and that have gathered most, so many pages of them."""
        low, high = (0, 0) if shown is None else self._places(shown)
        others = chain(range(low), range(high, len(self.ids)))
        first = nlargest(most * PAGE, others, key=self.gathered.__getitem__)
        return [
            (sum(self.gathered[place] for place in page), tuple(self.ids[place] for place in page))
            for page in (first[at : at + PAGE] for at in range(0, len(first), PAGE))
        ]

    def _places(self, interval: Interval) -> tuple[int, int]:
        """The first that was created in an interval, and the first after it."""
        return bisect_left(self.created, interval.low), bisect_left(self.created, interval.high)


@dataclass(frozen=True, slots=True)
class Unread:
    """What must have arrived between ``edge`` and ``now`` and nobody has read: so many tasks a second."""

    edge: Micros
    now: Micros
    summed: Sequence[float]

    @classmethod
    def of(cls, edge: Micros, now: Micros, rate: float, typical: Survival) -> Unread:
        """With the survival of such tasks."""
        step = (now - edge) / SECOND / NODES
        gathered = (rate * step * typical.unseen(0.0, (NODES - node - 0.5) * step) for node in range(NODES))
        return cls(edge, now, [0.0, *accumulate(gathered), 0.0])

    def before(self, high: Micros) -> float:
        """The task-seconds that those created before an instant have gathered."""
        if high >= self.now:
            return self.summed[NODES]
        if high <= self.edge:
            return 0.0
        place, part = divmod((high - self.edge) / (self.now - self.edge) * NODES, 1.0)
        low, following = self.summed[int(place) : int(place) + 2]
        return low + (following - low) * part


def pages_of(rows: float) -> float:
    """Requests that a listing takes on average, if so many rows are expected: their number is a Poisson one."""
    if rows <= 0:
        return 1.0
    spread = sqrt(2 * rows)
    return 1.0 + sum(
        erfc((PAGE * page + 0.5 - rows) / spread) / 2
        for page in range(1, ceil((rows + 4 * spread) / PAGE) + 1)
    )
