"""The API in memory: tasks that live, end and appear late on the test's clock; pages; faults on demand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.fakes import FakeClock
from watcher.model import SECOND, Micros, Scope, Task, TaskId, from_seconds
from watcher.monite.budget import Budget
from watcher.monite.errors import InvalidPage, MoniteError, PageTokenRejected, RateLimited, Unavailable
from watcher.monite.query import TaskQuery
from watcher.monite.server_clock import ServerClock
from watcher.monite.wire import TaskPage
from watcher.state.coverage import Interval


@dataclass(frozen=True, slots=True)
class Life:
    """A task from its creation on. ``changes`` are its statuses and since when it has had each.

    It is listed from ``visible_at`` on, but for its ``absences``: from when to when.
    """

    id: TaskId
    created_at: Micros
    changes: tuple[tuple[Micros, str], ...]
    visible_at: Micros
    absences: tuple[tuple[Micros, Micros], ...] = ()
    document_type: str | None = "invoice"

    def row(self, now: Micros) -> Task | None:
        """What a listing shows of it at this moment."""
        if now < self.visible_at or any(gone <= now < back for gone, back in self.absences):
            return None
        updated_at, status = [change for change in self.changes if change[0] <= now][-1]
        recognized = b'{"total_amount": 1.10}' if status == "success" else None
        return Task(self.id, status, self.created_at, updated_at, self.document_type, recognized)


def life(
    name: str,
    created: float,
    *ends: tuple[float, str],
    late: float = 0.0,
    absent: Iterable[tuple[float, float]] = (),
    document_type: str | None = "invoice",
) -> Life:
    """A task by seconds of the test's clock; ``ends`` are later statuses, ``late`` counts from its creation."""
    created_at = from_seconds(created)
    return Life(
        TaskId(name),
        created_at,
        ((created_at, "processing"), *((from_seconds(at), status) for at, status in ends)),
        Micros(created_at + round(late * SECOND)),
        tuple((from_seconds(gone), from_seconds(back)) for gone, back in absent),
        document_type,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived; ``query`` of a later page is that of its listing."""

    scope: Scope
    query: TaskQuery
    later_page: bool
    at: Micros

    @property
    def window(self) -> Interval | None:
        """The range of created_at that it asked for."""
        low, high = self.query.created_at_gte, self.query.created_at_lt
        return None if low is None or high is None else Interval(low, high)


Fault = Callable[[Asked], MoniteError | None]
"""Says whether a request fails, and how. May raise anything else to end the test's daemon there."""


@dataclass
class Api:
    """What the watcher's poller takes for the API. Each request takes ``latency`` seconds of the clock."""

    clock: FakeClock
    page_size: int = 100
    latency: float = 0.01
    lives: dict[Scope, list[Life]] = field(default_factory=dict)
    fault: Fault | None = None
    meanwhile: Callable[[Asked], Awaitable[None]] | None = None
    """What happens while an answer is on its way."""
    budget: Budget | None = None
    """Which all processes share; it outlives them."""
    started: list[float] = field(default_factory=list)
    """When each request was sent, in monotonic seconds."""
    asked: list[Asked] = field(default_factory=list)
    read: dict[Scope, list[Interval]] = field(default_factory=dict)
    """Parts of windows that have been given out whole."""

    def __post_init__(self) -> None:
        self._server_clock = ServerClock(self.clock)
        self._tokens: dict[str, tuple[TaskQuery, tuple[object, ...]]] = {}

    def add(self, *lives: Life, scope: Scope = Scope()) -> None:  # noqa: B008 - frozen
        self.lives.setdefault(scope, []).extend(lives)

    def now(self) -> Micros:
        return from_seconds(self.clock.time())

    def restart_client(self) -> None:
        """What a new process knows of the API's clock: nothing."""
        self._server_clock = ServerClock(self.clock)

    @property
    def server_clock(self) -> ServerClock:
        return self._server_clock

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        if self.budget is not None:
            await self.budget.acquire()
        self.started.append(self.clock.monotonic())
        self.clock.move(self.latency)
        now = self.now()
        token = query.pagination_token
        listing, after = (query, None) if token is None else self._tokens.get(token, (query, None))
        asked = Asked(scope, listing, token is not None, now)
        self.asked.append(asked)
        error = self.fault(asked) if self.fault else None
        if error is not None:
            raise error
        if token is not None and after is None:
            raise PageTokenRejected("no such token", status=400)
        self._server_clock.note(Micros(now // SECOND * SECOND), self.clock.monotonic())
        rows = [row for each in self.lives.get(scope, ()) if (row := each.row(now)) and _fits(row, listing)]
        order = _order(listing)
        rest = sorted((row for row in rows if after is None or order(row) > after), key=order)
        size = min(listing.limit, self.page_size)
        page, more = rest[:size], len(rest) > size
        given_out = _given_out(asked, page, more=more)
        if given_out is not None:
            self.read.setdefault(scope, []).append(given_out)
        if self.meanwhile is not None:
            await self.meanwhile(asked)
        return TaskPage(tuple(page), self._token(listing, order(page[-1])) if more else None)

    def _token(self, listing: TaskQuery, last: tuple[object, ...]) -> str:
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = (listing, last)
        return token


def _given_out(asked: Asked, page: Sequence[Task], *, more: bool) -> Interval | None:
    """What a page makes known whole: the window, or, of one in order of creation, what is older than its last row."""
    window = asked.window
    if not more or window is None:
        return window
    first = asked.query.sort == "created_at" and not asked.later_page
    return Interval(window.low, page[-1].created_at) if first and window.low < page[-1].created_at else None


def _order(query: TaskQuery) -> Callable[[Task], tuple[object, ...]]:
    if query.sort == "id":
        return lambda row: (row.id,)
    return lambda row: (row.created_at, row.id)


def _fits(row: Task, query: TaskQuery) -> bool:
    return (
        (query.created_at_gte is None or row.created_at >= query.created_at_gte)
        and (query.created_at_lt is None or row.created_at < query.created_at_lt)
        and (query.status is None or row.status == query.status)
        and (not query.id_in or row.id in query.id_in)
    )


def unavailable() -> MoniteError:
    return Unavailable("bad gateway", reason="server_error", status=502)


def invalid() -> MoniteError:
    return InvalidPage("the API's answer does not validate")


def rate_limited() -> MoniteError:
    return RateLimited("slow down", retry_after=3.0, status=429)


def in_turn(*errors: MoniteError | None) -> Fault:
    """Fail the next requests with these, and none after them."""
    left = iter(errors)
    return lambda _: next(left, None)


def where(fits: Callable[[Asked], bool], errors: Iterable[MoniteError]) -> Fault:
    """Fail the requests that fit with these, one after another, and no others."""
    left = iter(errors)
    return lambda asked: next(left, None) if fits(asked) else None
