"""The API as the watcher uses it: listings of tasks and entities, and single tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

from watcher.model import Scope, Task, TaskId
from watcher.monite.errors import MoniteError, PageTokenRejected, Unauthorized
from watcher.monite.exchange import Exchange
from watcher.monite.query import EntityQuery, TaskQuery
from watcher.monite.server_clock import ServerClock
from watcher.monite.verdict import Call
from watcher.monite.wire import Entity, EntityPage, TaskPage, decode_entities, decode_task, decode_tasks

T = TypeVar("T")

ACTIVE: Final = "active"


class Auth(Protocol):
    """A source of access tokens."""

    async def token(self) -> str:
        """A token to send. Raises ``MoniteError`` when none is to be had."""
        ...

    def discard(self, rejected: str) -> bool:
        """Forget a token that the API refused; False when ``token`` cannot get another."""
        ...


class MoniteClient:
    """Reads from the API.

    Each method sends one request and raises any ``MoniteError``; asking again is the caller's decision. Only
    a token that has run out is renewed here, once, and the request then repeated.
    """

    def __init__(self, exchange: Exchange, auth: Auth) -> None:
        self._exchange = exchange
        self._auth = auth

    @property
    def server_clock(self) -> ServerClock:
        """The API's own time, as its answers tell it."""
        return self._exchange.server_clock

    @property
    def failing(self) -> bool:
        """Whether the API as a whole gives no usable answer, so that requests are held back."""
        return self._exchange.failing

    async def authenticate(self) -> None:
        """Make sure of a token, fetching one where credentials are used."""
        await self._auth.token()

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        """``GET /ocr_tasks``: one page, whole and valid."""
        call = Call(
            "tasks",
            "/ocr_tasks",
            params=query.params(),
            entity_id=scope.entity_id,
            page_token=query.pagination_token,
        )
        return await self._ask(call, lambda body: decode_tasks(body, query.pagination_token))

    async def get_task(self, scope: Scope, task_id: TaskId) -> Task | None:
        """``GET /ocr_tasks/{id}``; None if this scope has no such task."""
        call = Call("task", f"/ocr_tasks/{quote(task_id, safe='')}", entity_id=scope.entity_id)
        try:
            return await self._ask(call, lambda body: decode_task(body, task_id))
        except MoniteError as error:
            if error.status == 404:
                return None
            raise

    async def list_entities(self, query: EntityQuery) -> EntityPage:
        """``GET /entities``: one page, whole and valid."""
        call = Call("entities", "/entities", params=query.params(), page_token=query.pagination_token)
        return await self._ask(call, lambda body: decode_entities(body, query.pagination_token))

    async def active_entities(self) -> AsyncIterator[Entity]:
        """Every active entity, in the order of their creation; a request per hundred.

        What came before an error is not the whole list.
        """
        query = EntityQuery(status=ACTIVE, sort="created_at")
        while True:
            page = await self.list_entities(query)
            for entity in page.entities:
                if entity.status in (ACTIVE, None):
                    yield entity
            if page.next_token is None:
                return
            query = query.page(page.next_token)

    async def _ask(self, call: Call, decode: Callable[[bytes], T]) -> T:
        token = await self._auth.token()
        try:
            return await self._exchange.ask(replace(call, token=token), decode)
        except Unauthorized as error:
            if not self._auth.discard(token):
                raise _final(call, error) from None
        token = await self._auth.token()
        try:
            return await self._exchange.ask(replace(call, token=token), decode)
        except Unauthorized as error:
            raise _final(call, error) from None


def _final(call: Call, error: Unauthorized) -> MoniteError:
    """What a refusal means that no other token has mended or can mend.

    A 400 that tells of an expired token does not say which: if the access token was new, the page's is meant.
    """
    if error.status == 400 and call.page_token is not None:
        return PageTokenRejected(
            str(error), status=400, request_id=error.request_id, process_time=error.process_time
        )
    return error
