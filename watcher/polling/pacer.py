"""How the request budget is shared among scopes. Pure but for what it remembers of each scope.

Visits in proportion to the square root of each scope's arrival rate give the least mean delay over all tasks
(minimise ``sum(rate_e / visits_e)`` for a fixed ``sum(visits_e)``). A scope in which next to nothing arrives
keeps a small share, so that what does arrive is discovered. Where the scopes are so few that each can be looked
at once an interval, it is, however much arrives in others.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

from watcher.model import Scope, Weight
from watcher.polling.learned import Arrivals

LOAD: Final = 0.9
"""Part of the budget that polling plans with: a queue that is loaded fully never empties."""
USUAL: Final = 1 / 3600
"""Tasks a second that are expected of a scope of which nothing is known: one an hour."""


class Pacer:
    """Says how many requests a second each scope of a shard may spend, out of ``requests_per_second`` for all.

    ``elsewhere`` is what the scopes of other shards weigh, as their pacers say. Were they left out, every shard
    would plan with the whole budget, and its requests would wait in line, a busy scope's behind all idle ones.
    ``interval`` is the seconds within which each scope is to be looked at, where the budget affords it.
    """

    def __init__(self, requests_per_second: float, interval: float = inf) -> None:
        self.elsewhere = Weight()
        self._rate = requests_per_second * LOAD
        self._interval = interval
        self._weights: dict[Scope, float] = {}
        self._total = 0.0

    @property
    def weight(self) -> Weight:
        """What the shard's scopes weigh together."""
        return Weight(self._total, len(self._weights))

    def pace(self, scope: Scope, arrivals: Arrivals) -> float:
        """Requests a second for a scope in which so much arrives; takes note of the scope."""
        weight = sqrt(arrivals.expected(self._usual()))
        self._total += weight - self._weights.get(scope, 0.0)
        self._weights[scope] = weight
        scopes = len(self._weights) + self.elsewhere.scopes
        alike = self._alike(scopes)
        shared = self._rate - scopes * alike
        return alike + shared * weight / (self._total + self.elsewhere.traffic)

    def leave(self, scope: Scope) -> None:
        """Take a scope out of the sharing."""
        self._total -= self._weights.pop(scope, 0.0)

    def _usual(self) -> float:
        """Tasks a second of a scope of which nothing is known yet: as many as of one elsewhere, by its weight.

        Were it taken for idle, a shard that has just been taken over would hardly be read while others are busy,
        and so would hardly learn otherwise.
        """
        if self.elsewhere.scopes == 0:
            return USUAL
        return max(USUAL, (self.elsewhere.traffic / self.elsewhere.scopes) ** 2)

    def _alike(self, scopes: int) -> float:
        """Requests a second that every scope has, whatever arrives in it.

        One an interval while that takes up to half of the budget, then less, and none where all of it would not do.
        """
        part = scopes / self._interval / self._rate
        return min(1.0, max(0.0, 2.0 - 2.0 * part)) / self._interval
