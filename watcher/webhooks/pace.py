"""How many deliveries a lane takes at a time. Pure; ``now`` is in seconds on a clock that never steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_AHEAD_SECONDS: Final = 0.1
"""A lane holds claims for so long ahead: few, large steps at the store, and yet hardly any claim gets old."""
_MEASURE_SECONDS: Final = 0.02
_STEPS: Final = 2
"""Parts of what is held ahead, in which what came of it is written down."""
MOST: Final = 128
"""Events taken at a time, however small they are."""

_HELD_BYTES: Final = 8 * 2**20
"""Of events that are held at a time; one that is larger is taken alone."""
_AT_FIRST: Final = 16
"""Events taken before it is known how large they are."""


def size_of(fields: Mapping[bytes, bytes]) -> int:
    """Bytes of an event as it is on the stream, about: all but its data is small."""
    return len(fields.get(b"data", b""))


@dataclass(slots=True)
class Portion:
    """How many events to take at a time so that they fit into memory, by the size of those that came last."""

    number: int = _AT_FIRST

    def came(self, number: int, size: int) -> None:
        """So many came, of so many bytes together."""
        if number:
            self.number = max(1, min(MOST, _HELD_BYTES * number // max(1, size)))


@dataclass(slots=True)
class Ahead:
    """How many claims to hold beyond those being sent: what the lane sends in a tenth of a second.

    An endpoint that answers in milliseconds gets hundreds a claim, one that hangs gets none ahead. What is held fits
    into a ``portion``: by the size of what was claimed last, and of what was accepted last, which will be claimed.
    """

    _since: float
    _sent: int = 0
    _size: int = 0
    claimed: Portion = field(default_factory=Portion)
    accepted: Portion = field(default_factory=lambda: Portion(MOST))

    def sent(self) -> None:
        """One more was sent."""
        self._sent += 1

    @property
    def portion(self) -> int:
        """Claims that may be held ahead at all, one at least."""
        return min(self.claimed.number, self.accepted.number)

    def size(self, now: float) -> int:
        """Claims to hold ahead."""
        elapsed = now - self._since
        if elapsed >= _MEASURE_SECONDS:
            self._size = int(self._sent / elapsed * _AHEAD_SECONDS)
            self._since, self._sent = now, 0
        return min(self._size, self.portion)

    @property
    def at_once(self) -> int:
        """Outcomes that make a step at the store: what is sent in a twentieth of a second, at least one."""
        return max(1, min(self._size, self.portion) // _STEPS)
