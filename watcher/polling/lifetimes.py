"""How long tasks take to end, learned from those that have. Pure.

A histogram of ``updated_at - created_at`` whose counts decay, so that it follows the API as it changes. Before
anything was learned it says what the documentation says: 10 to 15 seconds. However much it has learned, it
never takes an end for impossible: some may come early, and some very late, or tasks would be starved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp
from typing import Final

import msgspec

EDGES: Final[tuple[float, ...]] = (
    *(tick * 0.1 for tick in range(300)),
    *(30.0 + tick * 0.5 for tick in range(60)),
    *(60.0 * 1.1**step for step in range(45)),
)
"""Ages in seconds at which the bins begin: a tenth of a second while most tasks end, then ever wider."""

HALF_LIFE: Final = 200.0
"""Ended tasks after which an old one counts half, or as many as are added at once, if those are more.

Enough to smooth, few enough to follow a change within an hour.
"""
PRIOR_WEIGHT: Final = 10.0
"""How many ended tasks the documentation's word is worth."""
EARLY: Final = 0.001
"""Share of tasks assumed to end at any moment of the first 15 seconds, whatever was learned.

Much more, and where many are in flight, those that cannot have ended would be looked at for its sake.
"""
LATE: Final = 0.005
"""Share of tasks assumed to take long, with a mean of ``LATE_MEAN`` seconds, whatever was learned."""
LATE_MEAN: Final = 60.0
SCARCE: Final = 1e-6
"""Share alive below which differences of sums say nothing any more; what still lives then is taken for late."""


class Histogram(msgspec.Struct, frozen=True):
    """Decayed counts of ended tasks, a number for each bin of ``EDGES``."""

    counts: tuple[float, ...] = (0.0,) * len(EDGES)

    @property
    def weight(self) -> float:
        """How many ended tasks it stands for, the older ones counting less."""
        return sum(self.counts)

    def encode(self) -> bytes:
        """The counts as JSON."""
        return msgspec.json.encode([round(count, 3) for count in self.counts])

    @classmethod
    def decode(cls, record: bytes) -> Histogram | None:
        """Read one back; None if it is not one of this version's."""
        try:
            counts = msgspec.json.decode(record, type=tuple[float, ...])
        except msgspec.MsgspecError:
            return None
        return cls(counts) if len(counts) == len(EDGES) else None

    def add(self, lifetimes: Iterable[float]) -> Histogram:
        """With more ended tasks, given their lifetimes in seconds, the oldest first."""
        fresh = [bisect_right(EDGES, max(0.0, lifetime)) - 1 for lifetime in lifetimes]
        if not fresh:
            return self
        half_life = max(HALF_LIFE, len(fresh))
        kept = 0.5 ** (len(fresh) / half_life)
        counts = [count * kept for count in self.counts]
        for later, place in enumerate(reversed(fresh)):
            counts[place] += 0.5 ** (later / half_life)
        return Histogram(tuple(counts))


@dataclass(frozen=True, slots=True)
class Survival:
    """Which share of tasks lives at each age, and its integral: what a wait is expected to cost.

    ``alive[i]`` is the share alive at ``EDGES[i]``; ``lived[i]`` the integral of it from 0 to there, in seconds.
    Between edges the share falls linearly; beyond the last it falls off with ``LATE_MEAN``.
    """

    alive: tuple[float, ...]
    lived: tuple[float, ...]

    @classmethod
    def of(cls, histogram: Histogram) -> Survival:
        """What a histogram, the documentation and the floors say together."""
        counts = list(histogram.counts)
        for place, weight in _PRIOR:
            counts[place] += weight
        total = sum(counts)
        ended = [0.0, *accumulate(count / total for count in counts[:-1])]
        early_late = 1.0 - EARLY - LATE
        alive = tuple(
            early_late * max(0.0, 1.0 - share)
            + EARLY * max(0.0, 1.0 - age / 15.0)
            + LATE * exp(-age / LATE_MEAN)
            for share, age in zip(ended, EDGES, strict=True)
        )
        areas = (
            (EDGES[at + 1] - EDGES[at]) * (alive[at] + alive[at + 1]) / 2 for at in range(len(EDGES) - 1)
        )
        return cls(alive, (0.0, *accumulate(areas)))

    @property
    def mean(self) -> float:
        """The mean lifetime in seconds."""
        return self.lived[-1] + self.alive[-1] * LATE_MEAN

    def at(self, age: float) -> tuple[float, float]:
        """The share alive at an age, and the integral up to it."""
        place = _place(age)
        if place == len(EDGES) - 1:
            beyond = age - EDGES[-1]
            left = exp(-beyond / LATE_MEAN)
            return self.alive[-1] * left, self.lived[-1] + self.alive[-1] * LATE_MEAN * (1 - left)
        low, width = EDGES[place], EDGES[place + 1] - EDGES[place]
        done = age - low
        share = self.alive[place] + (self.alive[place + 1] - self.alive[place]) * done / width
        return share, self.lived[place] + (self.alive[place] + share) / 2 * done

    def unseen(self, seen_at: float, age: float) -> float:
        """The delay in seconds that a task, alive when last seen at one age, has on average gathered by another.

        ``C(a, d) = integral over s from 0 to d of (1 - S(a + s) / S(a))``: how long it has been ended unseen.
        """
        alive, before = self.at(seen_at)
        if alive < SCARCE:
            wait = age - seen_at
            return wait - LATE_MEAN * (1 - exp(-wait / LATE_MEAN))
        _, after = self.at(age)
        return (age - seen_at) - (after - before) / alive


def _place(age: float) -> int:
    """The bin that an age lies in; quick where most lie."""
    if 0 <= age < 29.9:
        return int(age * 10 + 1e-9)
    return max(0, bisect_right(EDGES, age) - 1)


def _prior() -> Sequence[tuple[int, float]]:
    places = range(100, 150)  # 10 to 15 s in tenths
    return [(place, PRIOR_WEIGHT / len(places)) for place in places]


_PRIOR: Final = tuple(_prior())
