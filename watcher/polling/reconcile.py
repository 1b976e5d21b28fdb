"""What is read again at random, and what the store should have known of it. Pure.

The check proves the rest of the watcher: whatever it finds that could have been known is an error of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from watcher.model import SECOND, TERMINAL, Micros, Task
from watcher.polling.backfill import MARGIN, forgotten_soon
from watcher.state.coverage import Interval
from watcher.state.records import Known
from watcher.state.scope import ScopeState

PERIOD: Final = 3600.0
"""Seconds between two checks of a scope."""
SPACING: Final = 30.0
"""Seconds between two checks of a shard at least, however many scopes it has: they take a small share of requests."""
PAGES: Final = 2
"""Pages of a window that are compared, at most."""
LONGEST: Final = 3600 * SECOND
SHORTEST: Final = 1 * SECOND
GRACE: Final = 60 * SECOND
"""How long ago a task must have ended, at least, before the store should know of it."""
WATCHED: Final = 600 * SECOND
"""The same for a task that is in flight: where polling has fallen behind, after an outage, it will still be seen."""


def pause(scopes: int, chance: float) -> float:
    """Seconds until the next check of a shard with so many scopes; spread, so that replicas and shards differ."""
    return max(SPACING, PERIOD / max(1, scopes)) * (0.5 + chance)


def pick(state: ScopeState, horizon: int, chance: Callable[[], float]) -> Interval | None:
    """A random window that is covered, was read a second time already, and is still remembered.

    Its span is as likely to be seconds as an hour, so that it fits a page or two at any rate of arrivals.
    None while there is no such window. ``chance`` gives numbers in [0, 1).
    """
    if state.start is None or not state.ladder:
        return None
    low = max(state.start.cover_from, state.forgotten, forgotten_soon(state, horizon) + MARGIN)
    pieces = _covered(state, Micros(low), max(state.ladder.values()))
    if not pieces:
        return None
    at = int(chance() * sum(each.span for each in pieces))
    for piece in pieces:
        if at < piece.span:
            span = round(SHORTEST * (LONGEST / SHORTEST) ** chance())
            begin = piece.low + at
            return Interval(Micros(begin), Micros(min(piece.high, begin + span)))
        at -= piece.span
    return None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An ended task, and what the store knew of it (None: nothing)."""

    task: Task
    known: Known | None


def mismatch(
    task: Task, known: Known | None, now: Micros, interval: int, *, in_flight: bool
) -> Mismatch | None:
    """Whether the store should have known better: the task ended long enough ago, and it does not know.

    ``interval`` is that of polling, in microseconds; ``in_flight`` says that the store has the task looked at
    until it ends. What changed since the last look is not a mismatch, nor is an answer older than what is known.
    """
    if task.status not in TERMINAL or now - task.updated_at <= max(
        2 * interval, WATCHED if in_flight else GRACE
    ):
        return None
    if known is None:
        return Mismatch(task, None)
    if known.status == task.status or task.updated_at < known.updated_at:
        return None
    if task.updated_at == known.updated_at and known.status in TERMINAL:
        return None
    return Mismatch(task, known)


def may_be_late(found: Mismatch, state: ScopeState, horizon: int) -> bool:
    """Whether the row may have appeared since its window was last read: nobody has seen it, and the ladder will.

    ``state`` is that before the row was read. Once the ladder's last level has passed, nothing excuses us.
    """
    return found.known is None and found.task.created_at >= state.ladder.get(horizon // SECOND, 0)


def _covered(state: ScopeState, low: Micros, high: Micros) -> list[Interval]:
    clipped = ((max(each.low, low), min(each.high, high)) for each in state.coverage.intervals)
    return [Interval(begin, end) for begin, end in clipped if begin < end]
