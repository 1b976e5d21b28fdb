"""What a scope's poller remembers between cycles of the tasks in flight: when each was last seen. Pure.

The store is the truth of what is in flight; this only says how fresh each sighting is. A task that this
process has not seen counts as last seen at its creation, so that it is looked at soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from watcher.model import TERMINAL, Micros, Task, TaskId
from watcher.polling.lifetimes import Survival
from watcher.polling.looks import Sighting


@dataclass(slots=True)
class Memory:
    """Sightings of what is in flight. ``survival_of`` says how long tasks of a document type live."""

    survival_of: Callable[[str | None], Survival]
    sightings: dict[TaskId, Sighting] = field(default_factory=dict)

    def agree(self, in_flight: Mapping[TaskId, Micros]) -> None:
        """Follow the store: forget what is no longer in flight there, take in what this process has not seen."""
        for task_id in self.sightings.keys() - in_flight.keys():
            del self.sightings[task_id]
        for task_id in in_flight.keys() - self.sightings.keys():
            created_at = in_flight[task_id]
            self.sightings[task_id] = Sighting(created_at, created_at, self.survival_of(None))

    def saw(self, tasks: Iterable[Task], now: Micros) -> None:
        """Take in rows that were read at an instant."""
        for task in tasks:
            if task.status in TERMINAL:
                self.sightings.pop(task.id, None)
            else:
                self.sightings[task.id] = Sighting(task.created_at, now, self.survival_of(task.document_type))

    def missed(self, absent: Set[TaskId], now: Micros) -> None:
        """Take in who was asked for and not there: that was a look too, and another soon would show no more."""
        for task_id in absent & self.sightings.keys():
            self.sightings[task_id] = replace(self.sightings[task_id], seen_at=now)
