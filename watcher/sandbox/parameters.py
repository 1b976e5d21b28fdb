"""Reading what a request asks for: every documented query parameter, with the API's own refusals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from multidict import MultiMapping

from watcher.model import DOCUMENT_TYPES, DOCUMENTED, Micros, TaskId, from_datetime
from watcher.sandbox.answers import Refusal, detail, error, unprocessable
from watcher.sandbox.queries import PAGE, Query

_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Parameters:
    """Reads query parameters and collects what is wrong with them. The last of a repeated one counts."""

    def __init__(self, values: MultiMapping[str]) -> None:
        self._values = values
        self._faults: list[dict[str, Any]] = []

    def text(self, name: str) -> str | None:
        """The value as it came, or None."""
        values = self._values.getall(name, [])
        return values[-1] if values else None

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of the allowed values, or None when the parameter is not given."""
        value = self.text(name)
        if value is None or value in allowed:
            return value
        listed = ", ".join(repr(one) for one in allowed)
        self._fault(name, f"value is not a valid enumeration member; permitted: {listed}", "type_error.enum")
        return None

    def limit(self) -> int:
        """Rows a page, 1 to 100. Raises the 416 `Refusal` for a number outside that."""
        value = self.text("limit")
        if value is None:
            return PAGE
        try:
            number = int(value)
        except ValueError:
            self._fault("limit", "value is not a valid integer", "type_error.integer")
            return PAGE
        if not 1 <= number <= PAGE:
            raise Refusal(error(416, f"The limit must be between 1 and {PAGE}."))
        return number

    def instant(self, name: str) -> Micros | None:
        """An ISO 8601 instant; without an offset it is UTC."""
        value = self.text(name)
        if value is None:
            return None
        try:
            if not _INSTANT.fullmatch(value):
                raise ValueError
            return from_datetime(datetime.fromisoformat(value))
        except ValueError:
            self._fault(name, "invalid datetime format", "value_error.datetime")
            return None

    def created_range(self) -> tuple[Micros | None, Micros | None]:
        """The four ``created_at`` filters as one range: the first instant in it, and the first after it."""
        first, after = self.instant("created_at__gte"), self.instant("created_at__gt")
        before, last = self.instant("created_at__lt"), self.instant("created_at__lte")
        firsts = [first] if after is None else [first, Micros(after + 1)]
        befores = [before] if last is None else [before, Micros(last + 1)]
        return (
            max((one for one in firsts if one is not None), default=None),
            min((one for one in befores if one is not None), default=None),
        )

    def uuids(self, name: str) -> tuple[str, ...] | None:
        """Every value of a repeated parameter, in canonical form; None when there is none."""
        found = []
        for value in self._values.getall(name, []):
            try:
                found.append(str(UUID(value)))
            except ValueError:
                self._fault(name, "value is not a valid uuid", "type_error.uuid")
        return tuple(found) if name in self._values else None

    def check(self) -> None:
        """Raise the 422 `Refusal` if anything was wrong."""
        if self._faults:
            raise Refusal(unprocessable(*self._faults))

    def _fault(self, name: str, text: str, type_: str) -> None:
        self._faults.append(detail("query", name, text, type_))


def task_query(values: MultiMapping[str]) -> Query:
    """The query of ``GET /ocr_tasks``. Raises `Refusal` with 416 or 422. Unknown parameters are ignored."""
    read = Parameters(values)
    first, before = read.created_range()
    ids = read.uuids("id__in")
    sort = read.choice("sort", ("id", "created_at"))
    query = Query(
        sort="id" if sort == "id" else "created_at",
        descending=read.choice("order", ("asc", "desc")) == "desc",
        created_from=first,
        created_before=before,
        status=read.choice("status", sorted(DOCUMENTED)),
        document_type=read.choice("document_type", DOCUMENT_TYPES),
        ids=None if ids is None else tuple(TaskId(one) for one in ids),
        limit=read.limit(),
    )
    read.check()
    return query
