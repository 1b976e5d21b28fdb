"""Simple pollers, to compare with: on the same simulated worlds, at as many requests a second."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tests.fakes import EagerClock
from tests.simulation import Measured, World, measure
from watcher.model import SECOND, TERMINAL, Micros, Scope, TaskId
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage

PAGE: Final = 100
OVERLAP: Final = 2 * SECOND
"""How far back a closed range reaches for rows that appear late."""
FIRST: Final = 60 * SECOND
"""How far back the first of them reaches."""


@dataclass
class RoundRobin:
    """New tasks by closed ranges every ``interval`` seconds; between them all in flight by id in turn."""

    interval: float = 5.0
    detected: dict[TaskId, Micros] = field(default_factory=dict)
    in_flight: dict[TaskId, Micros] = field(default_factory=dict)
    """When each was created; who was seen longest ago comes first."""
    seen_until: Micros | None = None
    discovered_at: Micros | None = None
    following: TaskQuery | None = None

    def ask(self, now: Micros) -> TaskQuery | None:
        """The next request, if there is anything to ask."""
        if self.following is not None:
            return self.following
        if self.discovered_at is None or now - self.discovered_at >= self.interval * SECOND:
            self.discovered_at = now
            return self.discovery(now)
        ids = tuple(islice(self.due(now), PAGE))
        return TaskQuery(id_in=ids) if ids else None

    def saw(self, query: TaskQuery, page: TaskPage, now: Micros) -> None:
        """Take in an answer."""
        self.following = None if page.next_token is None else query.page(page.next_token)
        for task in page.tasks:
            self.in_flight.pop(task.id, None)
            if task.status in TERMINAL:
                self.detected.setdefault(task.id, now)
            else:
                self.in_flight[task.id] = task.created_at
                self.looked_at(task.id, now - task.created_at)

    def discovery(self, now: Micros) -> TaskQuery:
        """How new tasks are found."""
        low = Micros((now - FIRST if self.seen_until is None else self.seen_until) - OVERLAP)
        self.seen_until = now
        return TaskQuery(created_at_gte=low, created_at_lt=now, sort="id")

    def due(self, now: Micros) -> list[TaskId]:
        """Who is to be asked for, the most urgent first."""
        return list(islice(self.in_flight, PAGE))

    def looked_at(self, task_id: TaskId, age: int) -> None:
        """Note that a task was in flight at an age."""


@dataclass
class VendorLooks(RoundRobin):
    """Asks for each task at 5, 10 and 15 s, and every 5 s from then on; those due together in one request."""

    next_age: dict[TaskId, int] = field(default_factory=dict)

    def due(self, now: Micros) -> list[TaskId]:
        late = [
            (created_at + self.next_age[task_id], task_id)
            for task_id, created_at in self.in_flight.items()
            if created_at + self.next_age[task_id] <= now
        ]
        return [task_id for _, task_id in sorted(late)]

    def looked_at(self, task_id: TaskId, age: int) -> None:
        self.next_age[task_id] = (age // (5 * SECOND) + 1) * 5 * SECOND


@dataclass
class Cursor(RoundRobin):
    """New tasks by ``created_at > the greatest seen``; in between as round-robin."""

    def discovery(self, now: Micros) -> TaskQuery:
        low = Micros(now - FIRST if self.seen_until is None else self.seen_until + 1)
        return TaskQuery(created_at_gte=low, created_at_lt=Micros(now + 1), sort="created_at")

    def saw(self, query: TaskQuery, page: TaskPage, now: Micros) -> None:
        super().saw(query, page, now)
        if not query.id_in and page.tasks:
            newest = max(task.created_at for task in page.tasks)
            self.seen_until = max(newest, self.seen_until or newest)


BASELINES: Final[dict[str, type[RoundRobin]]] = {
    "round-robin": RoundRobin,
    "looks at 5, 10, 15 s": VendorLooks,
    "cursor": Cursor,
}


async def poll(poller: RoundRobin, world: World, *, requests_per_second: float, pace: float) -> Measured:
    """Watch a world with one of them, evenly spaced at ``pace`` requests a second."""
    clock = EagerClock()
    began = clock.time()
    api = world.api(clock, requests_per_second)
    while clock.time() < began + world.seconds + world.drain:
        at = clock.time()
        query = poller.ask(api.now())
        if query is not None:
            poller.saw(query, await api.list_tasks(Scope(), query), api.now())
        clock.move(max(0.0, at + 1 / pace - clock.time()))
    return measure(world, api, poller.detected, began=began)
