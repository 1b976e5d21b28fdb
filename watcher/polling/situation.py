"""What a planner knows when a cycle begins, how it is to plan, and the reads that it may choose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from watcher.model import SECOND, Micros, TaskId
from watcher.polling import ladder
from watcher.polling.flight import PAGE
from watcher.polling.lifetimes import Survival
from watcher.polling.looks import Sighting
from watcher.state.coverage import Interval
from watcher.state.scope import ScopeState

STEADY: Final = 20.0
"""Tasks in flight from which on they end so steadily that looks are best spaced evenly."""


@dataclass(frozen=True, slots=True)
class Window:
    """Read every row created in an interval; ``rung`` is the ladder's level that asked for it, if one did.

    ``fresh`` windows reach to the end of what is covered. One with ``until`` may end sooner: it is read by whole
    pages, in order of creation, up to the page that reaches that instant.
    """

    interval: Interval
    rung: ladder.Rung | None = None
    fresh: bool = False
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """Read every row that is processing, of whatever age: what was in flight when watching began."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Ask for tasks by id."""

    ids: tuple[TaskId, ...]


Read = Window | Adoption | Batch


@dataclass(frozen=True, slots=True)
class Policy:
    """How to plan. Spans are in microseconds.

    ``interval``: the longest without a fresh window. ``horizon``: how late a row may appear. ``early``: tasks
    are to be seen as soon as they are created, since ``ocr_task.processing`` is published.
    """

    interval: int
    horizon: int
    early: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a cycle begins.

    ``sightings`` are the tasks in flight and ``typical`` the survival of those not yet seen. ``arrival_rate``
    is tasks created a second, ``price`` what a request must save in task-seconds, ``allowed`` the requests
    that the pace allows now. ``overlap`` is how far behind what is covered a fresh window reads again, in
    microseconds, ``width`` the span of the past that is worth one window. ``past`` and ``second_looks`` are
    the requests that reading history, and the ladder, may spend now, ``levels`` how many the ladder has.
    ``fresh_at`` is when the last fresh window was read. ``hinted``: whoever creates tasks hints at every one, so
    what is in flight is known without windows.
    """

    state: ScopeState
    now: Micros
    sightings: Mapping[TaskId, Sighting]
    typical: Survival
    arrival_rate: float
    price: float
    allowed: int
    overlap: int
    width: int
    past: float
    second_looks: float
    levels: int
    fresh_at: Micros | None
    hinted: bool = False

    @property
    def steady(self) -> bool:
        """Whether so many tasks are in flight that ends come steadily, and yet a request shows them all."""
        return STEADY <= self.arrival_rate * self.typical.mean <= PAGE

    @property
    def crowded(self) -> bool:
        """Whether more is in flight than a request shows."""
        return self.arrival_rate * self.typical.mean > PAGE

    @property
    def scarce(self) -> bool:
        """Whether a page of the youngest leaves out many that are in flight: it spans less than two mean lifetimes."""
        return self.arrival_rate * self.typical.mean > PAGE / 2

    @property
    def unobserved(self) -> float:
        """Seconds since anything in flight was seen, while fresh windows do not show it; 0 if nothing is."""
        if not self.hinted or not self.sightings:
            return 0.0
        return (self.now - max(each.seen_at for each in self.sightings.values())) / SECOND
