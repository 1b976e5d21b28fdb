"""The request budget: never more requests in a second than were granted.

A token bucket lets through up to twice its rate in an unlucky second (a full bucket, then its refill), and
the API counts seconds. So the last starts themselves are remembered: a request may start when the one that
lies ``limit`` starts back is a whole window old. Requests within the budget start at once, a burst included.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import Final

from watcher.clock import Clock

SLACK: Final = 0.05
"""Seconds by which a window is longer than it must be.

Between its start here and its arrival at the API a request may be held up, and a later one may not; without
slack a second counted over there would then hold one request too many.
"""

MOMENT: Final = 1e-6
"""Seconds to sleep at least: what rounding leaves can be too little to move a clock at all."""


@dataclass(frozen=True, slots=True)
class Window:
    """When requests started, and so when the next may: at most ``limit`` in any ``length`` seconds.

    Instants are monotonic seconds. ``starts`` holds the last ``limit`` of them, oldest first; nothing starts
    before ``not_before``.
    """

    limit: int
    length: float
    starts: tuple[float, ...] = ()
    not_before: float = -math.inf

    @classmethod
    def of_rate(cls, requests_per_second: float) -> Window:
        """The window for a rate: whole requests per second; a rate below 1 is one request in 1/rate seconds.

        2.5 a second grants 2, as there is no second that may hold two and a half. Raises ``ValueError`` for a
        rate that is not a positive number.
        """
        if not (requests_per_second > 0 and math.isfinite(requests_per_second)):
            raise ValueError(f"{requests_per_second} requests per second is not a positive number")
        if requests_per_second < 1:
            return cls(limit=1, length=1 / requests_per_second + SLACK)
        return cls(limit=math.floor(requests_per_second), length=1 + SLACK)

    def ready_at(self) -> float:
        """The first instant at which one more request may start."""
        if len(self.starts) < self.limit:
            return self.not_before
        return max(self.not_before, self.starts[0] + self.length)

    def started(self, now: float) -> Window:
        """As it is after a request started now."""
        return replace(self, starts=(*self.starts, now)[-self.limit :])

    def paused(self, until: float) -> Window:
        """With nothing starting before that instant; an earlier one changes nothing."""
        return replace(self, not_before=max(self.not_before, until))

    def remaining(self, now: float) -> int:
        """How many requests could start now."""
        if now < self.not_before:
            return 0
        return self.limit - sum(1 for start in self.starts if now < start + self.length)


class Started:
    """A request that was counted."""

    async def confirm(self) -> None:
        """Nothing: the little that a process asks alone does not come in a crowd, whatever holds it up."""

    async def sent(self) -> None:
        """Nothing, for the same reason."""


class Budget:
    """Lets requests start within a rate, in the order in which they asked, where one process is all there is.

    Replicas share ``watcher.state.budget.SharedBudget``.
    """

    def __init__(self, requests_per_second: float, clock: Clock) -> None:
        self._window = Window.of_rate(requests_per_second)
        self._clock = clock
        self._turn = asyncio.Lock()  # wakes its waiters in the order of their coming

    async def acquire(self) -> Started:
        """Wait until a request may start, and count it as started. One that is cancelled takes nothing."""
        async with self._turn:
            # More than once: a pause may have come while waiting, or rounding have left a little.
            while (wait := self._window.ready_at() - self._clock.monotonic()) > 0:
                await self._clock.sleep(max(wait, MOMENT))
            self._window = self._window.started(self._clock.monotonic())
        return Started()

    async def pause_until(self, instant: float) -> None:
        """Start nothing before this instant (monotonic seconds); the longest pause asked for holds."""
        self._window = self._window.paused(instant)

    def remaining(self) -> int:
        """How many requests could start at this moment."""
        return self._window.remaining(self._clock.monotonic())
