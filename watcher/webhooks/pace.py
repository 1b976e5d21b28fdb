"""How many deliveries a lane takes at a time. Pure; ``now`` is in seconds on a clock that never steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_AHEAD_SECONDS: Final = 0.1
"""A lane holds claims for so long ahead: few, large steps at the store, and yet hardly any claim gets old."""
_MEASURE_SECONDS: Final = 0.02
_STEPS: Final = 4
"""Parts of what is held ahead, in which what came of it is written down."""
_MOST: Final = 256


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

    @property
    def at_once(self) -> int:
        """Outcomes that make a step at the store: what is sent in a fortieth of a second, at least one."""
        return max(1, self._size // _STEPS)
