"""Listings, page by page: repeats what may succeed later, and counts every request that it spends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.model import Micros, Scope
from watcher.monite.errors import InvalidPage, MoniteError, RateLimited
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage
from watcher.steps import Step, reached

ATTEMPTS: Final = 3
"""Tries at one page within a cycle; after that the window waits for the next cycle, as a gap."""
BACKOFF: Final = 0.2
"""Seconds before the second try, doubled for the third, with full jitter. A 429 waits in the budget."""


class TellsTime(Protocol):
    """What polling needs of the API's clock."""

    def now(self) -> Micros | None:
        """The API's time or a little less; None before its first answer."""
        ...


class TaskSource(Protocol):
    """What polling needs of the API."""

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        """One page. Raises ``MoniteError``."""
        ...

    @property
    def server_clock(self) -> TellsTime:
        """The API's time."""
        ...


class Reader:
    """Reads listings of one scope. ``jitter`` gives a number in [0, 1)."""

    def __init__(
        self, scope: Scope, source: TaskSource, clock: Clock, metrics: Metrics, jitter: Callable[[], float]
    ) -> None:
        self.scope = scope
        self._source = source
        self._clock = clock
        self._metrics = metrics
        self._jitter = jitter
        self.requests = 0

    def now(self) -> Micros | None:
        """The API's time or a little less; None before its first answer."""
        return self._source.server_clock.now()

    def time_told(self) -> Micros:
        """The API's time after it has answered.

        Raises:
            InvalidPage: no answer has told it; without it no window can be cut.
        """
        now = self.now()
        if now is None:
            raise InvalidPage("the API's answers have no Date: something before it must have taken them off")
        return now

    async def pages(self, query: TaskQuery, plan: str) -> AsyncIterator[TaskPage]:
        """Every page of a listing, in order. Stops on a missing next token and on nothing else.

        Raises:
            MoniteError: a page could not be had; what was read before it still stands.
        """
        while True:
            page = await self.page(query, plan)
            yield page
            if page.next_token is None:
                return
            query = query.page(page.next_token)

    async def page(self, query: TaskQuery, plan: str) -> TaskPage:
        """One page, tried a few times where that may help.

        Raises:
            MoniteError: the last failure.
        """
        attempt = 1
        while True:
            self.requests += 1
            try:
                page = await self._source.list_tasks(self.scope, query)
            except MoniteError as error:
                self._metrics.poll_requests.labels(plan=plan, outcome=error.reason).inc()
                if attempt == ATTEMPTS or not error.retryable:
                    raise
                if not isinstance(error, RateLimited):
                    await self._clock.sleep(BACKOFF * 2 ** (attempt - 1) * self._jitter())
            else:
                reached(Step.PAGE_READ)
                self._metrics.poll_requests.labels(plan=plan, outcome="ok").inc()
                return page
            attempt += 1
