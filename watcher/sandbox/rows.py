"""Tasks written as the API writes them, and written badly on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Raw

from watcher.model import SUCCESS, Micros
from watcher.sandbox.documents import recognized_data
from watcher.sandbox.tasks import SimulatedTask

Row = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(instant: Micros) -> str:
    """ISO 8601 in UTC with an offset; a whole second has no fraction."""
    return (_EPOCH + timedelta(microseconds=instant)).isoformat()


def task_row(task: SimulatedTask, now: Micros) -> Row:
    """The task as a row at this instant. A success carries what was recognised, byte for byte the same."""
    status, since = task.state_at(now)
    return {
        "id": task.id,
        "created_at": stamp(task.created_at),
        "updated_at": stamp(since),
        "status": status,
        "document_type": task.document_type_at(now),
        "recognized_data": Raw(recognized_data(task.id, task.document_type)) if status == SUCCESS else None,
    }


def odd(row: Row, draw: float) -> Row:
    """The same row as a lenient API may write it: null fields left out, unknown ones added, other stamps."""
    kept = {name: value for name, value in row.items() if value is not None}
    offset = "Z" if draw < 0.5 else ""
    for name in ("created_at", "updated_at"):
        kept[name] = kept[name].replace("+00:00", offset)
    return {"object": "ocr_task", **kept, "confidence": 0.97, "pages": [{"number": 1}]}


def _drop_status(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "status"}


def _numeric_status(row: Row) -> Row:
    return row | {"status": 3}


def _null_status(row: Row) -> Row:
    return row | {"status": None}


def _null_id(row: Row) -> Row:
    return row | {"id": None}


def _no_instant(row: Row) -> Row:
    return row | {"created_at": "yesterday"}


def _no_update(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "updated_at"}


_DAMAGE: Final[tuple[Callable[[Row], Row], ...]] = (
    _drop_status,
    _numeric_status,
    _null_status,
    _null_id,
    _no_instant,
    _no_update,
)


def damaged(rows: Iterable[Row], draw: float) -> list[Row]:
    """The rows with the last one malformed, so that a reader has taken in the others before it finds out."""
    made = list(rows)
    if made:
        made[-1] = _DAMAGE[int(draw * len(_DAMAGE))](made[-1])
    return made
