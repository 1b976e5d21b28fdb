"""The simulated world: tasks that arrive, are processed and end, all decided by a seed.

It knows no clock and no network: every method takes the instant it is asked about, so the same world serves
the HTTP sandbox, property tests and benchmarks on a clock of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from watcher.model import PROCESSING, SECOND, Micros, Scope, TaskId
from watcher.sandbox.faults import NO_FAULTS, Faults
from watcher.sandbox.queries import Cursor, Page, Query
from watcher.sandbox.shelf import Place, Shelf
from watcher.sandbox.tasks import SimulatedTask, WorldSettings, arrival, created, entity_scope, gap_to

_HIGHEST_ID: Final = "\U0010ffff"
_LOWEST_ID: Final = ""


class World:
    """Every task of the simulated API, now and at every earlier instant.

    The ``n``-th arrival's fate depends on the seed and ``n`` alone; tasks that are created through `create`
    are counted apart and do not shift the arrivals. Instants may be asked about in any order.
    """

    def __init__(self, settings: WorldSettings, start: Micros, faults: Faults = NO_FAULTS) -> None:
        self.settings = settings
        self.start = start
        self.faults = faults
        self._shelves: defaultdict[Scope, Shelf] = defaultdict(Shelf)
        self._by_id: dict[TaskId, SimulatedTask] = {}
        self._order: list[SimulatedTask] = []
        self._created = 0
        self._arrived = 0
        self._last_arrival: Micros | None = None
        self._next_arrival = Micros(start - round(settings.backlog_seconds * SECOND))
        if settings.rate > 0:
            self._next_arrival = Micros(self._next_arrival + gap_to(settings, 0))

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes in which tasks arrive: that of no entity first, then each entity's."""
        return (Scope(), *(entity_scope(self.settings.seed, n) for n in range(self.settings.entities)))

    def advance(self, now: Micros) -> None:
        """Let everything arrive that arrives by this instant."""
        if self.settings.rate <= 0:
            return
        end = now if self._last_arrival is None else min(now, self._last_arrival)
        while self._next_arrival <= end:
            self._add(arrival(self.settings, self.faults, self._arrived, self._next_arrival))
            self._arrived += 1
            self._next_arrival = Micros(self._next_arrival + gap_to(self.settings, self._arrived))

    def end_arrivals(self, last: Micros) -> None:
        """Let nothing arrive of itself after this instant; what is there goes on to its end."""
        self._last_arrival = last

    def create(
        self,
        scope: Scope,
        now: Micros,
        document_type: str | None = None,
        outcome: str | None = None,
    ) -> SimulatedTask:
        """Create a task as its owner does. ``outcome`` None leaves it to chance."""
        self.advance(now)
        newest = self._order[-1].created_at if self._order else now
        task = created(
            self.settings,
            self.faults,
            self._created,
            scope=scope,
            document_type=document_type,
            outcome=outcome,
            created_at=max(now, newest),
        )
        self._created += 1
        self._add(task)
        return task

    def find(self, scope: Scope, task: TaskId, now: Micros) -> SimulatedTask | None:
        """The task with this id, if this scope shows it at this instant."""
        self.advance(now)
        found = self._by_id.get(task)
        return found if found is not None and found.scope == scope and found.readable_at(now) else None

    def page(self, scope: Scope, query: Query, now: Micros, cursor: Cursor | None = None) -> Page:
        """A page of a listing as the API shows it at this instant. Only the last page is short."""
        self.advance(now)
        backward = cursor is not None and cursor.backward
        beyond = self._beyond(scope, query, now, cursor, descending=query.descending != backward)
        found = list(islice((task for task in beyond if _matches(task, query, now)), query.limit + 1))
        more = len(found) > query.limit
        del found[query.limit :]
        if not found:
            return Page((), None, None)
        if backward:
            found.reverse()
        return Page(
            tasks=tuple(found),
            next=Cursor(found[-1].created_at, found[-1].id) if more or backward else None,
            previous=(
                Cursor(found[0].created_at, found[0].id, backward=True)
                if (more if backward else cursor is not None)
                else None
            ),
        )

    def truth(self, now: Micros) -> Sequence[SimulatedTask]:
        """Every task created by this instant, in order of creation, whether or not anybody could see it."""
        self.advance(now)
        return self._order[: bisect_right(self._order, now, key=attrgetter("created_at"))]

    def _add(self, task: SimulatedTask) -> None:
        self._order.append(task)
        self._by_id[task.id] = task
        self._shelves[task.scope].add(task)

    def _beyond(
        self, scope: Scope, query: Query, now: Micros, cursor: Cursor | None, *, descending: bool
    ) -> Iterator[SimulatedTask]:
        if query.ids is not None:
            return self._chosen(
                scope, query.ids, self._place(query, cursor, descending), query.sort, descending
            )
        shelf = self._shelves.get(scope)
        if shelf is None:
            return iter(())
        first = query.created_from
        if query.status == PROCESSING:  # what is processed now was not created longer ago than any has lived
            oldest = Micros(now - shelf.longest)
            first = oldest if first is None else max(first, oldest)
        low, high = shelf.span(first, query.created_before)
        if query.sort == "id":
            return shelf.by_id(low, high, None if cursor is None else cursor.id, descending=descending)
        return shelf.by_creation(low, high, self._place(query, cursor, descending), descending=descending)

    def _place(self, query: Query, cursor: Cursor | None, descending: bool) -> Place | None:
        if cursor is None:
            return None
        if self.faults.one_field_cursor and query.sort == "created_at":
            return cursor.created_at, _LOWEST_ID if descending else _HIGHEST_ID
        return cursor.created_at, cursor.id

    def _chosen(
        self, scope: Scope, ids: tuple[TaskId, ...], after: Place | None, sort: str, descending: bool
    ) -> Iterator[SimulatedTask]:
        there = (self._by_id[task] for task in set(ids) if task in self._by_id)
        shelf = Shelf()
        for task in sorted((task for task in there if task.scope == scope), key=attrgetter("created_at")):
            shelf.add(task)
        low, high = shelf.span(None, None)
        if sort == "id":
            return shelf.by_id(low, high, None if after is None else after[1], descending=descending)
        return shelf.by_creation(low, high, after, descending=descending)


def _matches(task: SimulatedTask, query: Query, now: Micros) -> bool:
    if query.status == PROCESSING and task.ended_at <= now:
        return False  # what most rows come to in this listing, so the cheapest question is asked first
    return (
        task.readable_at(now)
        and (query.created_from is None or task.created_at >= query.created_from)
        and (query.created_before is None or task.created_at < query.created_before)
        and (query.status is None or task.status_at(now) == query.status)
        and (query.document_type is None or task.document_type_at(now) == query.document_type)
    )
