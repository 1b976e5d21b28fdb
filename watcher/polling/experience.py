"""What the windows of one scope have taught: how much arrives and how late. Pure but for what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from watcher.model import SECOND, Micros
from watcher.polling.learned import Arrivals, Lateness, free_overlap
from watcher.polling.situation import Window
from watcher.polling.widths import FIRST_WIDTH, narrower, next_width
from watcher.state.scope import ScopeState

FRUGAL: Final = 3600 * SECOND
"""How long fresh windows reach back no further than they must, after one that could not be read to its end."""


class Experience:
    """Follows every window that is read, and says from that how wide the next are to be and how far they reach back.

    ``width`` is the span of the past that is worth one window, in microseconds; ``fresh_at`` is when the last fresh
    window was read.
    """

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.width = FIRST_WIDTH
        self.fresh_at: Micros | None = None
        self._lateness = Lateness()
        self._frugal_until = Micros(0)
        self._heard = 0

    def heard(self, count: int) -> None:
        """So many tasks became known beside the windows."""
        self._heard += count

    def read(
        self, window: Window, rows: int, first_seen: Sequence[Micros], before: ScopeState, now: Micros
    ) -> tuple[float, ...]:
        """Take in a window that was read to its end; the seconds by which rows of it were late.

        ``first_seen`` is when the tasks were created that nobody knew, ``before`` the state before it was read.
        """
        late = tuple(
            (now - created_at) / SECOND for created_at in first_seen if before.coverage.holds(created_at)
        )
        on_time = len(first_seen) - len(late)
        if window.rung is None and window.fresh:
            added = window.interval.span - before.coverage.covered(window.interval)
            if self.fresh_at is not None:
                self.arrivals = self.arrivals.read(on_time + self._heard, added)
            self.fresh_at, self._heard = now, 0
        else:
            self.width = next_width(self.width, window.interval.span, rows)
        if before.adopted:
            self._lateness = self._lateness.read(on_time, late)
        return late

    def broke_off(self, window: Window, now: Micros) -> None:
        """Take in that a window took longer than its pages could be asked for."""
        self.width = narrower(self.width, window.interval.span)
        if window.fresh:
            self._frugal_until = Micros(now + FRUGAL)

    def overlap(self, now: Micros, horizon: int) -> int:
        """How far behind what is covered to read again, in microseconds: what lateness asks for, and what is free."""
        free = free_overlap(self.arrivals) if now >= self._frugal_until else 0
        return min(horizon, max(self._lateness.overlap, free))
