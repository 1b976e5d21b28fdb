"""What a listing asks for, and the page that answers it, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from watcher.model import Micros, TaskId
from watcher.sandbox.tasks import SimulatedTask

PAGE: Final = 100
"""The most rows on a page, and the number when nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a listing of tasks.

    ``created_from`` is the first instant that counts and ``created_before`` the first that does not; None is
    no bound. ``ids`` None is no filter; ids that do not exist are left out.
    """

    sort: Literal["created_at", "id"] = "created_at"
    descending: bool = False
    limit: int = PAGE
    created_from: Micros | None = None
    created_before: Micros | None = None
    status: str | None = None
    document_type: str | None = None
    ids: tuple[TaskId, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after the row that has this place, or before it when ``backward``."""

    created_at: Micros
    id: TaskId
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the order asked for, with the cursors of the pages beside it."""

    tasks: tuple[SimulatedTask, ...]
    next: Cursor | None
    previous: Cursor | None
