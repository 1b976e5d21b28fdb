"""The reading half of the API: tasks listed and looked up, entities listed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from watcher.model import Micros, Scope, TaskId
from watcher.sandbox.answers import Answer, Refusal, as_json, detail, error, unprocessable
from watcher.sandbox.call import Call
from watcher.sandbox.entities import EntityQuery, chosen, entities_of, entity_query, entity_row
from watcher.sandbox.faults import Fault
from watcher.sandbox.page_tokens import BadPageToken, T, seal, unseal
from watcher.sandbox.parameters import task_query
from watcher.sandbox.queries import Cursor, Page, Query
from watcher.sandbox.rows import damaged, odd, task_row
from watcher.sandbox.world import World


@dataclass(frozen=True, slots=True)
class _TaskPage:
    """What a pagination token of tasks stands for. Ids are kept as bytes, so that the token fits a URL."""

    scope: Scope
    query: Query
    ids: bytes | None
    cursor: Cursor


class Listings:
    """Answers ``GET /ocr_tasks``, ``GET /ocr_tasks/{id}`` and ``GET /entities``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seed = world.settings.seed
        self._entities = entities_of(world)

    def tasks(self, call: Call, as_of: Micros) -> Answer:
        """A page of tasks as they were at ``as_of``."""
        scope = call.scope()
        token = call.request.query.get("pagination_token")
        if token:
            query, cursor = self._continued(call, scope, token)
        else:
            query, cursor = task_query(call.request.query), None
        page = self._world.page(scope, query, as_of, cursor)
        rows = [task_row(task, as_of) for task in page.tasks]
        if query.ids is not None and call.hit(Fault.MISSING_ROWS):
            rows = [row for row in rows if call.draw("missing", row["id"]) < 0.5]
        call.rows = len(rows)
        return as_json(self._body(call, rows, self._tokens(scope, query, page)))

    def task(self, call: Call, as_of: Micros) -> Answer:
        """One task as it was at ``as_of``, or 404."""
        try:
            wanted = str(UUID(call.request.path.rpartition("/")[2]))
        except ValueError:
            fault = detail("path", "task_id", "value is not a valid uuid", "type_error.uuid")
            raise Refusal(unprocessable(fault)) from None
        found = self._world.find(call.scope(), TaskId(wanted), as_of)
        if found is None:
            return error(404, "The OCR task was not found.")
        call.rows = 1
        row = task_row(found, as_of)
        if call.hit(Fault.ODD_FIELDS):
            row = odd(row, call.draw("odd"))
        if call.hit(Fault.MALFORMED):
            row = damaged([row], call.draw("malformed"))[0]
        return as_json(row)

    def entities(self, call: Call) -> Answer:
        """A page of entities."""
        token = call.request.query.get("pagination_token")
        query = self._opened(call, token, EntityQuery) if token else entity_query(call.request.query)
        found = chosen(self._entities, query)
        end = query.offset + query.limit
        rows = [entity_row(entity) for entity in found[query.offset : end]]
        call.rows = len(rows)
        following = replace(query, offset=end) if end < len(found) else None
        before = replace(query, offset=max(0, query.offset - query.limit)) if query.offset else None
        return as_json(
            {
                "data": rows,
                "next_pagination_token": following and seal(self._seed, following),
                "prev_pagination_token": before and seal(self._seed, before),
            }
        )

    def _body(self, call: Call, rows: list[dict[str, Any]], tokens: dict[str, str | None]) -> dict[str, Any]:
        body: dict[str, Any] = {"data": rows, **tokens}
        if rows and call.hit(Fault.ODD_FIELDS):
            body["data"] = [odd(row, call.draw("odd")) for row in rows]
            body = {name: value for name, value in body.items() if value is not None} | {"total": None}
        if rows and call.hit(Fault.MALFORMED):
            body["data"] = damaged(body["data"], call.draw("malformed"))
        return body

    def _tokens(self, scope: Scope, query: Query, page: Page) -> dict[str, str | None]:
        ids = None if query.ids is None else b"".join(UUID(one).bytes for one in query.ids)
        bare = replace(query, ids=None)

        def token(cursor: Cursor | None) -> str | None:
            return None if cursor is None else seal(self._seed, _TaskPage(scope, bare, ids, cursor))

        return {"next_pagination_token": token(page.next), "prev_pagination_token": token(page.previous)}

    def _continued(self, call: Call, scope: Scope, token: str) -> tuple[Query, Cursor]:
        state = self._opened(call, token, _TaskPage)
        if state.scope != scope:
            raise Refusal(error(400, "The pagination token belongs to another entity."))
        query = state.query
        if state.ids is not None:
            parts = (state.ids[at : at + 16] for at in range(0, len(state.ids), 16))
            query = replace(query, ids=tuple(TaskId(str(UUID(bytes=part))) for part in parts))
        return query, state.cursor

    def _opened(self, call: Call, token: str, type_: type[T]) -> T:
        if call.hit(Fault.REJECTED_PAGE_TOKEN):
            raise Refusal(error(400, "The pagination token has expired."))
        try:
            return unseal(self._seed, token, type_)
        except BadPageToken:
            raise Refusal(error(400, "The pagination token is invalid.")) from None
