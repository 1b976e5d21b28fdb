"""How many deliveries a lane takes at a time. Pure; ``now`` is in seconds on a clock that never steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_BURST_SECONDS: Final = 0.1
"""So much of a second's allowance may be spent at once; else a high rate would need a wake-up for each."""

_AHEAD_SECONDS: Final = 0.1
"""A lane holds claims for so long ahead: few, large steps at the store, and yet hardly any claim gets old."""
_MEASURE_SECONDS: Final = 0.02
_MOST: Final = 256


@dataclass(slots=True)
class TokenBucket:
    """Lets ``rate`` things through per second, and a tenth of that (at least one) at once."""

    rate: float
    _tokens: float = field(init=False)
    _seen: float | None = None

    def __post_init__(self) -> None:
        self._tokens = self.capacity

    @property
    def capacity(self) -> float:
        """Most tokens that gather while nothing is sent."""
        return max(1.0, self.rate * _BURST_SECONDS)

    def available(self, now: float) -> int:
        """Whole tokens that are there."""
        elapsed = 0.0 if self._seen is None else max(0.0, now - self._seen)
        self._seen = now
        self._tokens = min(self.capacity, self._tokens + elapsed * self.rate)
        # A hair's breadth below a whole token is rounding, and waiting for it would be waiting for nothing.
        return int(self._tokens + 1e-6)

    def take(self, count: int) -> None:
        """Spend tokens that ``available`` has shown."""
        self._tokens -= count

    def wait(self) -> float:
        """Seconds from the last look until there is a whole token."""
        return max(0.0, (1.0 - self._tokens) / self.rate)


@dataclass(slots=True)
class Ahead:
    """How many claims to hold beyond those being sent: what the lane sends in a tenth of a second.

    An endpoint that answers in milliseconds gets hundreds a claim, one that hangs gets none ahead.
    """

    _since: float
    _sent: int = 0
    _size: int = 0

    def sent(self) -> None:
        """One more was sent."""
        self._sent += 1

    def size(self, now: float) -> int:
        """Claims to hold ahead."""
        elapsed = now - self._since
        if elapsed >= _MEASURE_SECONDS:
            self._size = min(_MOST, int(self._sent / elapsed * _AHEAD_SECONDS))
            self._since, self._sent = now, 0
        return self._size
