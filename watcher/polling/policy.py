"""How to poll, as it is set, and the rules that follow from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from watcher.model import PROCESSING, SECOND, Micros
from watcher.polling.diff import Rules
from watcher.polling.learned import CAUTIOUS
from watcher.polling.situation import Policy
from watcher.state.records import Start

StartMode = Literal["baseline", "all"] | Micros

LOOKBACK: Final = 600.0
"""Seconds before a first run that are read too: what may have ended while the first listing was under way."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How to poll; spans are in seconds, ``kinds`` are event types without their prefix."""

    start: StartMode
    kinds: frozenset[str]
    interval: float = 5.0
    target_delay: float = 1.0
    horizon: float = 86_400.0
    stalled_after: float = 300.0

    @property
    def planning(self) -> Policy:
        """The planner's part."""
        return Policy(
            interval=round(self.interval * SECOND),
            horizon=round(self.horizon * SECOND),
            early=PROCESSING in self.kinds,
        )

    def rules(self, start: Start) -> Rules:
        """What decides of a row, in a scope that began so."""
        return Rules(start, self.kinds, round(self.stalled_after * SECOND))


def first_start(policy: PollPolicy, now: Micros, earliest: Micros) -> Start:
    """The first-run rule of a scope whose oldest row was created at ``earliest``."""
    match policy.start:
        case "baseline":
            lookback = max(LOOKBACK, policy.stalled_after)
            return Start(now, now, now - round(lookback * SECOND))
        case "all":
            return Start(now, 0, min(earliest, now) - CAUTIOUS * SECOND)
        case since:
            return Start(now, since, min(since, now))
