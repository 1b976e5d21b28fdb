"""Reading listings: every page, tried again where that may help, every request counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes import EagerClock
from tests.unit.polling.api import Api, in_turn, invalid, life, rate_limited, unavailable
from watcher.metrics import Metrics
from watcher.model import EntityId, Scope
from watcher.monite.errors import (
    MoniteError,
    PageTokenRejected,
    RateLimited,
    Rejected,
    ScopeRejected,
    Unauthorized,
)
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage
from watcher.polling.reader import ATTEMPTS, BACKOFF, Reader

SCOPE = Scope(EntityId("e1"))


class World:
    def __init__(self, *, page_size: int = 2) -> None:
        self.clock = EagerClock()
        self.api = Api(self.clock, page_size)
        self.metrics = Metrics()
        self.reader = Reader(SCOPE, self.api, self.clock, self.metrics, jitter=lambda: 0.5)
        began = self.clock.time()
        self.api.add(*[life(f"t{number}", began - 60 + number) for number in range(5)], scope=SCOPE)
        self.api.add(life("other", began - 60))

    def counted(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "watcher_poll_requests_total", {"plan": "A", "outcome": outcome}
        )
        return value or 0.0


async def test_every_page_of_a_listing_is_read_in_order() -> None:
    world = World()
    pages = [page async for page in world.reader.pages(TaskQuery(sort="id"), "A")]
    assert [[task.id for task in page.tasks] for page in pages] == [["t0", "t1"], ["t2", "t3"], ["t4"]]
    assert world.reader.requests == 3
    assert world.counted("ok") == 3


class Hollow(Api):
    """Gives every first page without its rows."""

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        page = await super().list_tasks(scope, query)
        return page if query.pagination_token else TaskPage((), page.next_token)


async def test_an_empty_page_with_a_next_token_does_not_end_the_listing() -> None:
    world = World()
    hollow = Hollow(world.clock, 2, lives=world.api.lives)
    reader = Reader(SCOPE, hollow, world.clock, world.metrics, jitter=lambda: 0.5)
    pages = [page async for page in reader.pages(TaskQuery(sort="id"), "A")]
    assert [len(page.tasks) for page in pages] == [0, 2, 1]


async def test_the_scope_is_asked_for() -> None:
    world = World()
    await world.reader.page(TaskQuery(), "A")
    assert [asked.scope for asked in world.api.asked] == [SCOPE]


@pytest.mark.parametrize("failure", [unavailable, invalid])
async def test_what_may_pass_is_tried_again_with_growing_pauses(failure: Callable[[], MoniteError]) -> None:
    world = World()
    world.api.fault = in_turn(failure(), failure())
    page = await world.reader.page(TaskQuery(sort="id"), "A")
    assert len(page.tasks) == 2
    assert world.clock.slept == [BACKOFF * 0.5, BACKOFF * 2 * 0.5]
    assert world.reader.requests == 3
    assert (world.counted("ok"), world.counted(failure().reason)) == (1, 2)


async def test_after_so_many_attempts_it_is_given_up() -> None:
    world = World()
    world.api.fault = lambda _: unavailable()
    with pytest.raises(MoniteError, match="bad gateway"):
        await world.reader.page(TaskQuery(), "A")
    assert world.reader.requests == ATTEMPTS == 3
    assert world.counted("server_error") == 3


async def test_a_rate_limit_is_waited_out_in_the_budget_not_here() -> None:
    world = World()
    world.api.fault = in_turn(rate_limited())
    await world.reader.page(TaskQuery(), "A")
    assert world.clock.slept == []
    assert world.counted("rate_limited") == 1
    assert RateLimited.retryable


@pytest.mark.parametrize("kind", [Unauthorized, ScopeRejected, PageTokenRejected, Rejected])
async def test_what_asking_again_cannot_mend_is_asked_once(kind: type[MoniteError]) -> None:
    world = World()
    world.api.fault = lambda _: kind("no", status=403)
    with pytest.raises(kind):
        await world.reader.page(TaskQuery(), "A")
    assert world.reader.requests == 1
    assert world.clock.slept == []
    assert world.counted(kind.reason) == 1


async def test_pages_before_a_failing_one_stand() -> None:
    world = World()
    world.api.fault = in_turn(None, *[unavailable() for _ in range(ATTEMPTS)])
    pages = world.reader.pages(TaskQuery(sort="id"), "A")
    assert [task.id for task in (await anext(pages)).tasks] == ["t0", "t1"]
    with pytest.raises(MoniteError):
        await anext(pages)


async def test_the_time_is_the_apis() -> None:
    world = World()
    assert world.reader.now() is None
    await world.reader.page(TaskQuery(), "A")
    now = world.reader.now()
    assert now is not None
    assert now == 1_800_000_000_000_000
