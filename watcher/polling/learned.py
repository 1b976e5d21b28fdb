"""What a scope's poller learns from what it reads: how much arrives, how late, and what may be spent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Final

from watcher.model import SECOND
from watcher.polling.ladder import SHARE

RATE_SPAN: Final = 60.0
"""Seconds after which an old reading of the arrival rate counts for a third."""
HOUR: Final = 3600.0
"""The same for what is to be expected in the long run."""
OVERLAPS: Final = (2, 5, 10, 30, 60, 120, 300)
"""Overlaps to choose from, in seconds."""
CAUTIOUS: Final = 30
"""Overlap in seconds before enough rows have been seen."""
ENOUGH: Final = 500.0
"""Rows after which the overlap is chosen by their lateness."""
LATER: Final = 0.005
"""Share of rows that may be later than the overlap: the ladder finds those."""
MEMORY: Final = 5_000.0
"""Rows after which an old one's lateness counts for a third."""
FREE_ROWS: Final = 8
"""Rows that a window may read again without anybody minding: a tenth of a page."""
LONGEST_FREE: Final = 7200.0
"""Seconds that a window reaches back at most on that account."""
BUSY: Final = 1.0
"""Tasks a second that are expected where nothing is known and too few would be the mistake."""
MOST_CREDIT: Final = 30.0
"""Requests that may be saved up for second looks, or be owed: a busy hour does not end in a burst, or in none."""


@dataclass(frozen=True, slots=True)
class Seen:
    """So many rows in so many seconds, both fading."""

    rows: float = 0.0
    seconds: float = 0.0

    def and_then(self, rows: int, seconds: float, *, span: float) -> Seen:
        """With as many more; what is older by ``span`` seconds counts for a third."""
        kept = exp(-seconds / span)
        return Seen(self.rows * kept + rows, self.seconds * kept + seconds)

    def expected(self, rate: float) -> float:
        """Rows a second to expect, where ``rate`` was before these were seen.

        The mean of what is left possible, if that rate was known as well as one row tells (Poisson arrivals, with
        the conjugate gamma prior of shape 1). So a row or none of them says little, and many say all.
        """
        return (1.0 + self.rows) / (1.0 / rate + self.seconds)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Tasks created a second, from fresh windows: the new rows of each, and the span that it added."""

    lately: Seen = Seen()
    in_the_long_run: Seen = Seen()

    @property
    def rate(self) -> float:
        """Tasks a second, lately; 0 before anything was read."""
        return self.lately.rows / self.lately.seconds if self.lately.seconds > 0 else 0.0

    def expected(self, usual: float) -> float:
        """Tasks a second to expect; ``usual`` of a scope of which nothing is known.

        A busy minute shows at once, and a quiet one does not hide a busy hour.
        """
        return self.lately.expected(self.in_the_long_run.expected(usual))

    def read(self, rows: int, span: int) -> Arrivals:
        """With a fresh window that added ``span`` microseconds and brought so many new rows."""
        seconds = span / SECOND
        return Arrivals(
            self.lately.and_then(rows, seconds, span=RATE_SPAN),
            self.in_the_long_run.and_then(rows, seconds, span=HOUR),
        )


def free_overlap(arrivals: Arrivals) -> int:
    """How far back a window may always reach, in microseconds, since next to nothing was created there.

    Where little arrives this spares the younger levels of the ladder, and finds late rows at once. A scope is taken
    for busy until it is known not to be, and while an hour ago was busy.
    """
    rate = max(arrivals.in_the_long_run.expected(BUSY), arrivals.expected(BUSY))
    return round(min(LONGEST_FREE, FREE_ROWS / rate) * SECOND)


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late rows become visible: decayed counts of those later than each of ``OVERLAPS``, and of all."""

    rows: float = 0.0
    later: tuple[float, ...] = (0.0,) * len(OVERLAPS)
    latest: float = 0.0

    def read(self, on_time: int, late: tuple[float, ...]) -> Lateness:
        """With rows that were there at once, and the lateness in seconds of those that were not."""
        kept = exp(-(on_time + len(late)) / MEMORY)
        later = tuple(
            count * kept + sum(each > overlap for each in late)
            for count, overlap in zip(self.later, OVERLAPS, strict=True)
        )
        rows = self.rows * kept + on_time + len(late)
        return Lateness(rows, later, max((self.latest, *late)))

    @property
    def overlap(self) -> int:
        """How far behind what is covered to read again each time, in microseconds."""
        if self.rows < ENOUGH:
            return CAUTIOUS * SECOND
        fit = (each for each, later in zip(OVERLAPS, self.later, strict=True) if later <= LATER * self.rows)
        return next(fit, OVERLAPS[-1]) * SECOND


@dataclass(frozen=True, slots=True)
class Thrift:
    """What second looks may spend: ``SHARE`` of what the present has spent, saved up to a bound.

    ``spending`` is the requests a second that the present takes.
    """

    credit: float = 1.0
    spending: float = 0.0

    def spent(self, *, present: int, again: int, seconds: float) -> Thrift:
        """After a cycle that spent so many requests on the present and on second looks, ``seconds`` since the last."""
        kept = exp(-seconds / RATE_SPAN)
        return Thrift(
            credit=max(-MOST_CREDIT, min(MOST_CREDIT, self.credit + SHARE * present - again)),
            spending=self.spending * kept + (1 - kept) * present / max(seconds, 1e-3),
        )


@dataclass(frozen=True, slots=True)
class Purse:
    """The requests that a scope has left to spend, and those that second looks took and that are still to be paid.

    They are paid over an interval, not at once: were the next look put off by each of them, looks would be uneven.
    """

    credit: float = 1.0
    owed: float = 0.0

    def earned(self, pace: float, *, seconds: float, interval: float) -> Purse:
        """After so many seconds at ``pace`` requests a second; no more is saved than an interval earns."""
        paid = self.owed * min(1.0, seconds / interval)
        credit = min(max(1.0, pace * interval), self.credit + pace * seconds - paid)
        return Purse(credit, self.owed - paid)

    def spent(self, *, present: int, again: int) -> Purse:
        """After a cycle that spent so many requests on the present and on second looks."""
        return Purse(self.credit - present, self.owed + again)

    def left(self, pace: float, *, interval: float) -> float:
        """Requests a second that ``pace`` leaves to the present for now: at least half of it."""
        return max(pace / 2, pace - self.owed / interval)
