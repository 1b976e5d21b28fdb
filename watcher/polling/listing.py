"""What a listing asks for, how much of a window a page of it has read, and what is known after it. Pure.

A window of which a part is enough is read page by page in order of creation, each page being a query of its
own: it is always full while there are rows, and what it has read ends with its youngest row. Nothing hangs on
a page token, and no row that appears meanwhile can move others over the edge between two pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from watcher.model import PROCESSING, Micros, Task
from watcher.monite.query import TaskQuery
from watcher.polling import ladder
from watcher.polling.situation import Adoption, Window
from watcher.state.coverage import Interval
from watcher.state.scope import ScopeState


def listing(read: Window | Adoption) -> TaskQuery:
    """The listing that a read goes through to its last page: sorted by id, so that pages do not shift."""
    match read:
        case Window(interval):
            return TaskQuery(created_at_gte=interval.low, created_at_lt=interval.high, sort="id")
        case Adoption():
            return TaskQuery(status=PROCESSING, sort="id")


def oldest(window: Window) -> TaskQuery:
    """The page of those of a window's rows that were created first."""
    query = listing(window)
    return replace(query, sort="created_at", order="asc")


def reached(window: Window, tasks: Sequence[Task], *, more: bool) -> Window | None:
    """The part of a window that its ``oldest`` page has read, if it may be known; ``more`` rows may follow.

    Others may have been created with the last row: its instant is left to the next page. A page whose rows all
    have the window's first instant, or do not come in order, shows nothing for certain.
    """
    if not more:
        return window
    created = [task.created_at for task in tasks]
    if any(one > other for one, other in pairwise(created)):
        return None
    low, last = window.interval.low, created[-1] if created else window.interval.low
    return cut(window, low, last) if low < last < window.interval.high else None


def cut(window: Window, low: Micros, high: Micros) -> Window:
    """A part of a window."""
    part = Interval(low, high)
    rung = None if window.rung is None else replace(window.rung, window=part)
    return replace(window, interval=part, rung=rung)


def after(read: Window | Adoption, state: ScopeState) -> ScopeState:
    """The state once all of a read has been written."""
    match read:
        case Window(interval, rung):
            marks = state.ladder if rung is None else ladder.climbed(state.ladder, rung)
            return replace(state, coverage=state.coverage.add(interval), ladder=marks)
        case Adoption():
            return replace(state, adopted=True)
