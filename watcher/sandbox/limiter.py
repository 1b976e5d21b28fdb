"""The API's rate limit: so many requests in each second of the clock for each client."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import floor


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may still do in this second."""

    granted: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Whole seconds until the next second begins: always 1."""


class RateLimiter:
    """Counts requests in fixed seconds, as the gateway before the API does; 0 is no limit."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._second = 0
        self._used: Counter[str] = Counter()

    def take(self, client: str, now: float) -> Allowance:
        """Count a request of this client at this time (unix seconds). One that is not granted counts, too."""
        second = floor(now)
        if second != self._second:
            self._second = second
            self._used.clear()
        self._used[client] += 1
        remaining = self.per_second - self._used[client]
        granted = self.per_second == 0 or remaining >= 0
        return Allowance(granted, self.per_second, max(0, remaining), 1)
