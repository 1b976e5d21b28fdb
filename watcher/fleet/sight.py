"""Whether a replica reaches the API, so that one that does not leaves the polling to others. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

BLIND: Final = 30.0
"""Seconds without anything read after which the trouble may lie with this replica alone."""
FIRST: Final = 60.0
LONGEST: Final = 600.0
"""Seconds for which it leaves the polling to others, the first time and at most; doubling between."""


@dataclass(slots=True)
class Sight:
    """What a replica has seen lately. All times are seconds on a clock that never steps."""

    _since: float = math.inf
    _until: float = -math.inf
    _wait: float = 0.0

    def able(self, *, polling: bool, blind: bool, now: float) -> bool:
        """Whether it is to poll, given that it does, and that nothing of it can be read.

        Polling alone can show that it sees again: so after a while it is said to be able once more.
        """
        if now < self._until:
            return False
        if not (polling and blind):
            self._since = math.inf
            self._wait = 0.0 if polling else self._wait
            return True
        self._since = min(self._since, now)
        if now - self._since < BLIND:
            return True
        self._since = math.inf
        self._wait = min(LONGEST, max(FIRST, 2 * self._wait))
        self._until = now + self._wait
        return False
