"""The check on ourselves, on a real store: silent while all is well, and what it finds is mended."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.fakes import EagerClock
from tests.unit.polling.api import Api, life, unavailable
from watcher.events.envelope import from_fields
from watcher.metrics import Metrics
from watcher.model import SECOND, Event, Micros, Scope, from_seconds
from watcher.polling.board import Board
from watcher.polling.diff import Rules
from watcher.polling.means import Means
from watcher.polling.policy import PollPolicy
from watcher.polling.reconcile import PAGES, PERIOD
from watcher.polling.reconciler import Checked, Reconciler
from watcher.polling.recorder import Publication, Recorder
from watcher.state.coverage import Coverage, Interval
from watcher.state.keys import Keys, bucket_of
from watcher.state.records import Start
from watcher.state.scope import ScopeState
from watcher.state.store import Store

T0 = 1_800_000_000.0
NOW = T0 + 7200
KEYS = Keys("t")
KINDS = frozenset({"success", "error"})
SCOPE = Scope()
TASKS = 40
HORIZON = 4800
"""Seconds; records are remembered for half as long again: all but the first ten minutes are compared."""


class World:
    """A scope watched for two hours, everything in it recorded as it should be."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = EagerClock(NOW)
        self.api = Api(self.clock)
        self.store = Store(redis, KEYS)
        self.metrics = Metrics()
        self.board = Board()
        self.publication = Publication("t", "https://api.example/v1/ocr_tasks", recognized_data=False)

    def reconciler(self, chance: Callable[[], float] | None = None) -> Reconciler:
        means = Means(
            source=self.api,
            store=self.store,
            policy=PollPolicy("all", KINDS, horizon=HORIZON),
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
            jitter=chance or random.Random(1).random,  # noqa: S311 - which window is no secret
        )
        return Reconciler("holder", means, self.board)

    async def begin(self) -> None:
        await self.redis.set(KEYS.lease, "holder")
        self.api.add(*[life(f"{n:02}", T0 + n * 180, (T0 + n * 180 + 10, "success")) for n in range(TASKS)])
        rows = [row for each in self.api.lives[SCOPE] if (row := each.row(self.api.now()))]
        start = Start(0, 0, from_seconds(T0))
        covered = Coverage((Interval(from_seconds(T0), from_seconds(NOW)),))
        mark = {64: Micros(from_seconds(NOW) - 64 * SECOND), HORIZON: Micros(from_seconds(NOW - HORIZON))}
        state = ScopeState(start, covered, adopted=True, ladder=mark)
        recorder = Recorder(
            SCOPE,
            "holder",
            store=self.store,
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
        )
        await recorder.record(rows, Rules(start, KINDS, 300 * SECOND), self.api.now(), ScopeState(), state)
        assert len(await self.told()) == TASKS

    async def lose(self, number: int) -> None:
        """What must never happen: the record of a task is gone, and its event with it."""
        created_at = from_seconds(T0 + number * 180)
        assert await self.redis.hdel(KEYS.tasks(SCOPE, bucket_of(created_at)), f"{number:02}")
        await self.redis.xdel(
            KEYS.events, *[key for key, event in await self.entries() if event.subject == f"{number:02}"]
        )

    async def entries(self) -> list[tuple[bytes, Event]]:
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.redis.xrange(KEYS.events))
        return [(key, from_fields(fields)) for key, fields in entries]

    async def told(self) -> list[str]:
        return [event.subject for _, event in await self.entries()]

    def count(self, name: str) -> float:
        return self.sample(f"{name}_total")

    def sample(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"watcher_{name}") or 0.0


@pytest.fixture
async def world(redis: Redis) -> World:
    world = World(redis)
    await world.begin()
    return world


async def test_while_all_is_well_nothing_is_found_or_written(world: World) -> None:
    reconciler = world.reconciler()
    with capture_logs() as logs:
        checks = [await reconciler.check(SCOPE) for _ in range(60)]
    assert logs == []
    assert all(check.mismatches == () for check in checks)
    rows = sum(check.rows for check in checks)
    assert rows > TASKS
    assert world.count("reconciled_rows") == rows
    assert world.count("reconcile_mismatches") == 0
    assert len(await world.told()) == TASKS


async def test_what_was_lost_is_found_told_and_said_to_be_our_error(world: World) -> None:
    await world.lose(7)
    reconciler = world.reconciler()
    with capture_logs() as logs:
        checks = [await reconciler.check(SCOPE) for _ in range(200)]
    found = [each.task.id for check in checks for each in check.mismatches]
    assert found == ["07"], "once found, it is mended"
    assert [(line["event"], line["log_level"], line["task_id"]) for line in logs] == [
        ("reconcile.mismatch", "error", "07")
    ]
    assert world.count("reconcile_mismatches") == 1
    assert sorted(await world.told()) == [f"{n:02}" for n in range(TASKS)]


async def test_what_the_ladder_may_still_find_is_a_late_row_and_no_error(world: World) -> None:
    """A row that appeared more than a minute late, after the window's last reading."""
    world.api.add(life("late", T0 + 6000, (T0 + 6010, "success")))
    reconciler = world.reconciler()
    with capture_logs() as logs:
        checks = [await reconciler.check(SCOPE) for _ in range(200)]
    assert sum(check.late for check in checks) == 1
    assert all(check.mismatches == () for check in checks)
    assert [line["event"] for line in logs] == []
    assert world.count("reconcile_mismatches") == 0
    assert (await world.told()).count("late") == 1
    assert world.sample("visibility_lateness_seconds_sum") == pytest.approx(NOW - T0 - 6000, abs=60)


async def test_what_ended_while_it_was_read_is_left_to_polling(world: World) -> None:
    world.api.add(life("new", T0 + 1000, (NOW - 30, "success")))
    checks = [await world.reconciler().check(SCOPE) for _ in range(3)]
    reconciler = world.reconciler(lambda: 0.0)
    checks += [await reconciler.check(SCOPE)]
    assert all(check.mismatches == () for check in checks)
    assert "new" not in await world.told()


async def test_a_document_type_that_is_not_watched_is_no_mismatch(world: World) -> None:
    world.api.add(life("x", T0 + 601, (T0 + 602, "success"), document_type="receipt"))
    world.publication = Publication("t", "s", recognized_data=False, document_types=frozenset({"invoice"}))
    check = await world.reconciler(iter([0.0, 0.5]).__next__).check(SCOPE)
    window = Interval(from_seconds(T0 + 600), from_seconds(T0 + 660))
    assert [asked.window for asked in world.api.asked] == [window]
    assert check == Checked(0)


async def test_a_dense_window_costs_two_pages(world: World) -> None:
    world.api.page_size = 3
    reconciler = world.reconciler(iter([0.0, 0.999]).__next__)
    assert (await reconciler.check(SCOPE)).rows == 3 * PAGES
    assert len(world.api.asked) == PAGES


async def test_an_api_that_fails_is_no_mismatch(world: World) -> None:
    world.api.fault = lambda _: unavailable()
    assert await world.reconciler().check(SCOPE) == Checked()
    assert world.count("reconcile_mismatches") == 0


class Enough(Exception):  # noqa: N818 - ends the loop
    """The loop has gone round often enough."""


async def test_it_checks_once_an_hour_and_only_what_is_polled_without_trouble(world: World) -> None:
    left = iter(range(10))

    def chance() -> float:
        if next(left, None) is None:
            raise Enough
        return 0.5

    report = world.board.report(SCOPE)
    with pytest.raises(Enough):
        await world.reconciler(chance).run()
    assert world.api.asked == [], "there has been no complete scan"
    report.completed_at = 1.0
    left = iter(range(4))
    world.clock.slept.clear()
    with pytest.raises(Enough):
        await world.reconciler(chance).run()
    assert world.clock.slept[0] == PERIOD
    assert len(world.api.asked) == 1


async def test_a_record_that_cannot_be_read_is_said_and_ends_nothing(world: World) -> None:
    created_at = from_seconds(T0 + 7 * 180)
    await world.redis.hset(KEYS.tasks(SCOPE, bucket_of(created_at)), "07", "nonsense")
    world.board.report(SCOPE).completed_at = 1.0
    # For each check: when, which scope, which window, how wide.
    start = (7 * 180 - 600) / (NOW - T0 - 64 - 600)
    left = iter([0.0, 0.0, start - 0.001, 0.5] * 2)

    def chance() -> float:
        found = next(left, None)
        if found is None:
            raise Enough
        return found

    with capture_logs() as logs, pytest.raises(Enough):
        await world.reconciler(chance).run()
    assert [line["event"] for line in logs] == ["reconcile.unreadable"] * 2
