"""What ``GET /ocr_tasks`` and ``GET /entities`` can be asked, and how it is written. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from watcher.model import EntityId, Micros, TaskId, to_iso

MAX_LIMIT: Final = 100
"""Rows a page may have; the API answers 416 to more."""

Params = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A listing of tasks: every parameter that ``GET /ocr_tasks`` has (schema 2024-05-25).

    ``pagination_token`` overrides everything else at the API, so it is then sent alone. Raises ``ValueError``
    for a limit outside 1 to 100.
    """

    created_at_gte: Micros | None = None
    created_at_lt: Micros | None = None
    created_at_gt: Micros | None = None
    created_at_lte: Micros | None = None
    id_in: tuple[TaskId, ...] = ()
    status: Literal["processing", "success", "error"] | None = None
    document_type: str | None = None
    sort: Literal["id", "created_at"] | None = None
    order: Literal["asc", "desc"] | None = None
    limit: int = MAX_LIMIT
    pagination_token: str | None = None

    def __post_init__(self) -> None:
        _check_limit(self.limit)

    def params(self) -> Params:
        """The query string's pairs, in a fixed order."""
        if self.pagination_token is not None:
            return [("pagination_token", self.pagination_token)]
        optional = (
            ("order", self.order),
            ("sort", self.sort),
            ("created_at__gt", _iso(self.created_at_gt)),
            ("created_at__gte", _iso(self.created_at_gte)),
            ("created_at__lt", _iso(self.created_at_lt)),
            ("created_at__lte", _iso(self.created_at_lte)),
            ("status", self.status),
            ("document_type", self.document_type),
        )
        given = [(name, value) for name, value in optional if value is not None]
        return [("limit", str(self.limit)), *given, *(("id__in", task_id) for task_id in self.id_in)]

    def page(self, token: str) -> TaskQuery:
        """The same listing from the page that this token names."""
        return replace(self, pagination_token=token)


@dataclass(frozen=True, slots=True)
class EntityQuery:
    """A listing of entities: the parameters of ``GET /entities`` that a watcher can use.

    As with tasks, ``pagination_token`` is sent alone. Raises ``ValueError`` for a limit outside 1 to 100.
    """

    status: Literal["active", "inactive", "deleted"] | None = None
    sort: Literal["created_at", "updated_at"] | None = None
    id_in: tuple[EntityId, ...] = ()
    limit: int = MAX_LIMIT
    pagination_token: str | None = None

    def __post_init__(self) -> None:
        _check_limit(self.limit)

    def params(self) -> Params:
        """The query string's pairs, in a fixed order."""
        if self.pagination_token is not None:
            return [("pagination_token", self.pagination_token)]
        optional = (("sort", self.sort), ("status", self.status))
        given = [(name, value) for name, value in optional if value is not None]
        return [("limit", str(self.limit)), *given, *(("id__in", entity_id) for entity_id in self.id_in)]

    def page(self, token: str) -> EntityQuery:
        """The same listing from the page that this token names."""
        return replace(self, pagination_token=token)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit is {limit}; the API takes 1 to {MAX_LIMIT}")


def _iso(instant: Micros | None) -> str | None:
    return None if instant is None else to_iso(instant)
