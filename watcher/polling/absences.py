"""Which tasks were missing when they were asked for, and how often in a row. Pure.

One absence proves nothing: an answer may come from a replica of the API that lags behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Final

from watcher.model import Micros, TaskId

ABSENCES: Final = 3
"""Absences, an interval apart, after which a task is said to have vanished."""


@dataclass(frozen=True, slots=True)
class _Absence:
    """How often a task was missing in a row, and when that was last counted."""

    times: int
    at: Micros


@dataclass(slots=True)
class Absences:
    """Counts at most one absence of a task an ``interval`` (microseconds): looks may follow within moments."""

    interval: int
    _counted: dict[TaskId, _Absence] = field(default_factory=dict)

    def seen(self, task_ids: Iterable[TaskId]) -> None:
        """Begin anew with tasks that are there."""
        for task_id in task_ids:
            self._counted.pop(task_id, None)

    def missed(self, absent: Set[TaskId], now: Micros) -> set[TaskId]:
        """Count tasks that were missing at an instant; those of them that are to be called vanished."""
        for task_id in absent:
            before = self._counted.get(task_id, _Absence(0, Micros(now - self.interval)))
            if now - before.at >= self.interval:
                self._counted[task_id] = _Absence(before.times + 1, now)
        return {task_id for task_id in absent if self._counted[task_id].times >= ABSENCES}
