"""The tasks of one scope, kept so that a listing costs what it shows and not what there is.

Tasks stand in order of creation, so a range of ``created_at`` is a slice. For order by id, every complete run
of tasks is kept sorted by id as well, and a listing merges the runs that its range touches.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from heapq import merge
from operator import attrgetter
from typing import Final

from watcher.model import Micros
from watcher.sandbox.tasks import SimulatedTask

RUN: Final = 1024
"""Tasks in a run: what is sorted anew for each listing is at most two of these."""

_created = attrgetter("created_at")
_id = attrgetter("id")
_place = attrgetter("created_at", "id")

Place = tuple[Micros, str]
"""Where a row stands in order of creation: its instant, and its id among those of the same instant."""


class Shelf:
    """Tasks that can be listed by creation and by id. They are added in order of ``created_at``."""

    def __init__(self, run: int = RUN) -> None:
        self._run = run
        self._tasks: list[SimulatedTask] = []
        self._runs: list[list[SimulatedTask]] = []
        self.longest = 0
        """Microseconds from a task's creation to its last change, the longest of all here."""

    def add(self, task: SimulatedTask) -> None:
        """Put the task in its place; it is not created before any other here."""
        if not self._tasks or self._tasks[-1].created_at < task.created_at:
            self._tasks.append(task)
        else:
            insort(self._tasks, task, key=_place)
        self.longest = max(self.longest, task.settled_at - task.created_at)

    def span(self, first: Micros | None, before: Micros | None) -> tuple[int, int]:
        """The slice of tasks created at ``first`` or later and before ``before``; None is no bound."""
        low = 0 if first is None else bisect_left(self._tasks, first, key=_created)
        high = len(self._tasks) if before is None else bisect_left(self._tasks, before, key=_created)
        return low, max(low, high)

    def by_creation(
        self, low: int, high: int, after: Place | None, *, descending: bool
    ) -> Iterator[SimulatedTask]:
        """The tasks of a slice in order of creation, those beyond the place ``after``."""
        if descending:
            if after is not None:
                high = min(high, bisect_left(self._tasks, after, key=_place))
            return map(self._tasks.__getitem__, range(high - 1, low - 1, -1))
        if after is not None:
            low = max(low, bisect_right(self._tasks, after, key=_place))
        return map(self._tasks.__getitem__, range(low, high))

    def by_id(self, low: int, high: int, after: str | None, *, descending: bool) -> Iterator[SimulatedTask]:
        """The tasks of a slice in order of id, those beyond the id ``after``."""
        parts = (_beyond(part, after, descending) for part in self._sorted_parts(low, high))
        return merge(*parts, key=_id, reverse=descending)

    def _sorted_parts(self, low: int, high: int) -> Iterator[list[SimulatedTask]]:
        self._complete_runs()
        while low < high:
            run, offset = divmod(low, self._run)
            end = min(high, (run + 1) * self._run)
            if offset == 0 and end == (run + 1) * self._run and run < len(self._runs):
                yield self._runs[run]
            else:
                yield sorted(self._tasks[low:end], key=_id)
            low = end

    def _complete_runs(self) -> None:
        # A run is complete once a later instant follows: until then a twin may still be put inside it.
        while (end := (len(self._runs) + 1) * self._run) < len(self._tasks):
            if self._tasks[end - 1].created_at == self._tasks[-1].created_at:
                break
            self._runs.append(sorted(self._tasks[end - self._run : end], key=_id))


def _beyond(part: list[SimulatedTask], after: str | None, descending: bool) -> Iterator[SimulatedTask]:
    if descending:
        high = len(part) if after is None else bisect_left(part, after, key=_id)
        return map(part.__getitem__, range(high - 1, -1, -1))
    low = 0 if after is None else bisect_right(part, after, key=_id)
    return map(part.__getitem__, range(low, len(part)))
