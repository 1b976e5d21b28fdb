"""Measuring that survives a machine whose speed drifts: everything is compared within one run, in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Sample:
    """So many operations took so many seconds, and so many CPU seconds of this process and of the store."""

    count: int
    seconds: float
    cpu: float
    store_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.count / self.seconds

    @property
    def cost(self) -> float:
        """CPU microseconds of this process for one operation."""
        return self.cpu / self.count * 1e6

    @property
    def store_cost(self) -> float:
        """CPU microseconds of the store for one operation."""
        return self.store_cpu / self.count * 1e6


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of all rounds of one run: the median, the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: Sequence[float], denominators: Sequence[float]) -> Self:
        """Compare round by round: both of a pair were measured within the same seconds."""
        ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Stopwatch:
    """Takes the wall time and this process's CPU time, all threads, of what is done within it."""

    def __enter__(self) -> Self:
        # Nobody pays for what another has left behind, nor for walking over the samples again and again.
        gc.collect()
        gc.freeze()
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu = time.process_time() - self._cpu

    def sample(self, count: int, store_cpu: float = 0.0) -> Sample:
        """What was measured, as so many operations."""
        return Sample(count, self.seconds, self.cpu, store_cpu)


async def interleave(
    contestants: Mapping[str, Callable[[], Awaitable[Sample]]], rounds: int
) -> dict[str, list[Sample]]:
    """Let all take turns for so many rounds, after one that only warms up.

    Every other round goes backwards, so that a drift within the rounds favours nobody.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        order = list(contestants)
        for name in order if number % 2 else reversed(order):
            sample = await contestants[name]()
            if number > 0:
                samples[name].append(sample)
    return samples


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The median of one figure over the rounds."""
    return median(value(sample) for sample in samples)
