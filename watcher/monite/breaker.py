"""When requests are held back because the API as a whole is failing: a circuit breaker. Pure.

A single entity that fails says nothing of the API. So the breaker opens only after failures of two scopes
with no answer in between, where there is more than one scope to tell it by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

THRESHOLD: Final = 5
"""Failures in a row that open it: more than the tries at one page, so that no single page does."""
FIRST: Final = 0.8
LONGEST: Final = 30.0
"""Seconds for which requests are held back at most: after the first failure, and however often it fails."""

Outcome = Literal["answered", "failed", "unknown"]
"""Of a request: the API answered it, if only with a refusal; it gave no usable answer; neither can be told."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether requests may start. Instants are monotonic seconds.

    Closed (``openings`` 0) it lets everything through and counts the ``failures`` since the last answer. Open
    it holds everything back until ``probe_at``; then one request, the probe, decides: an answer closes it, a
    failure opens it again for twice as long. ``known`` and ``failing`` are scopes that were asked, and that
    failed since the last answer: two of each at most, as more would not matter. None among them is what
    concerns all scopes, such as the token.
    """

    failures: int = 0
    openings: int = 0
    probe_at: float = -math.inf
    probing: bool = False
    known: frozenset[str] = frozenset()
    failing: frozenset[str | None] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether requests are held back."""
        return self.openings > 0

    def ready_at(self) -> float:
        """The first instant at which a request may start; infinite while the probe is under way."""
        if self.probing:
            return math.inf
        return self.probe_at if self.is_open else -math.inf

    def started(self) -> Breaker:
        """As it is once a request has started; while it is open, that is the probe."""
        return replace(self, probing=self.is_open)

    def ended(
        self, outcome: Outcome, scope: str | None, *, probe: bool, now: float, jitter: float
    ) -> Breaker:
        """As it is after a request has ended. ``jitter`` is in [0, 1); ``probe`` tells if it was the probe.

        Other requests that end while it is open began before it opened, and tell nothing new.
        """
        if self.is_open and not probe:
            return self
        if outcome == "unknown":
            return replace(self, probing=False)
        known = self.known if scope is None or len(self.known) > 1 else self.known | {scope}
        if outcome == "answered":
            return Breaker(known=known)
        failing = self.failing if len(self.failing) > 1 else self.failing | {scope}
        failures = self.failures + 1
        counted = replace(self, failures=failures, known=known, failing=failing)
        everywhere = None in failing or len(failing) > 1 or len(known) <= 1
        if not (probe or (everywhere and failures >= THRESHOLD)):
            return counted
        # Full jitter, uniform over the whole delay, keeps replicas from coming back in step.
        longest = min(LONGEST, FIRST * 2.0 ** min(self.openings, 10))
        return replace(counted, openings=self.openings + 1, probing=False, probe_at=now + jitter * longest)
