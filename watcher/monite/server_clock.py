"""The API's own time, from the ``Date`` of its answers.

Windows of ``created_at`` are cut by the clock that stamps the rows. ``Date`` (RFC 9110) is the server's time
cut to a whole second, and the answer has travelled since: each sample is a lower bound. The largest of the
last samples is the closest one; with answers spread over the second it comes as near as the network's delay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from watcher.clock import Clock
from watcher.model import SECOND, Micros

MAX_SAMPLES: Final = 64
MAX_AGE: Final = 300.0
"""Seconds; an older sample no longer counts, so that a server's clock that was set back is followed."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The last samples: (monotonic seconds of arrival, server's microseconds minus our monotonic ones)."""

    seen: tuple[tuple[float, int], ...] = ()

    def noted(self, date: Micros, arrival: float) -> Samples:
        """With an answer stamped ``date`` that arrived at that monotonic instant."""
        return Samples((*self.seen, (arrival, date - _micros(arrival)))[-MAX_SAMPLES:])

    def now(self, instant: float) -> Micros | None:
        """A lower bound of the server's time at that monotonic instant; None before any sample."""
        if not self.seen:
            return None
        # The newest always counts: a bound that is old is still a bound while nobody has set a clock.
        young = [offset for arrival, offset in self.seen[:-1] if instant - arrival <= MAX_AGE]
        return Micros(_micros(instant) + max([*young, self.seen[-1][1]]))


def _micros(seconds: float) -> int:
    return round(seconds * SECOND)


class ServerClock:
    """What time it is at the API, never ahead of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples = Samples()

    def note(self, date: Micros, arrival: float) -> None:
        """Take in the ``Date`` of an answer and the monotonic seconds at which it came."""
        self._samples = self._samples.noted(date, arrival)

    def now(self) -> Micros | None:
        """The server's time or a little less; None before the first answer."""
        return self._samples.now(self._clock.monotonic())
