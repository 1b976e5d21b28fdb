from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.fakes import FakeClock
from watcher.errors import StoreUnavailable
from watcher.model import SECOND, Micros, Task, TaskId
from watcher.polling.memory import Memory
from watcher.polling.schedule import ANY, ENOUGH, REBUILD, Schedule, keep_learning


class Kept:
    """A store of what was learned that can be away."""

    def __init__(self) -> None:
        self.saved: dict[str, bytes] = {}
        self.away = False
        self.saves = 0

    async def load_lifetimes(self) -> dict[str, bytes]:
        return self.saved

    async def save_lifetimes(self, histograms: Mapping[str, bytes], nonce: str) -> None:
        self.saves += 1
        if self.away:
            raise StoreUnavailable("away")
        self.saved = dict(histograms)


def learned(*ended: tuple[str | None, float]) -> Schedule:
    schedule = Schedule(target=1.0, interval=5.0)
    schedule.learn(ended)
    schedule.rebuild()
    return schedule


def test_each_document_type_has_a_schedule_once_enough_of_it_have_ended() -> None:
    schedule = learned(*[("receipt", 3.0)] * 200, *[("invoice", 30.0)] * (ENOUGH // 2))

    assert schedule.survival_of("receipt").at(5.0)[0] < 0.2
    assert schedule.survival_of("invoice") is schedule.survival_of(None)
    assert schedule.survival_of("unheard of") is schedule.survival_of(None)


def test_the_flow_sets_the_price_when_there_is_one() -> None:
    schedule = Schedule(target=1.0, interval=5.0)

    assert schedule.price(0.0) == schedule.price(0.001)
    assert schedule.price(7.0) == 14.0


def test_where_a_page_shows_only_a_part_looks_must_save_less() -> None:
    schedule = Schedule(target=1.0, interval=5.0)
    prices = [schedule.price(rate) / (2.0 * rate) for rate in (7.0, 10.0, 20.0, 50.0, 200.0)]

    assert prices == sorted(prices, reverse=True)
    assert prices[0] == 1.0
    assert prices[2] < 0.8


def test_without_extra_looks_a_look_costs_what_an_interval_gathers() -> None:
    assert Schedule(target=9.0, interval=5.0).price(5.0) == 2 * 2.5 * 2.5 * 5.0


def test_what_was_learned_is_gone_on_with() -> None:
    before = learned(*[("receipt", 3.0)] * 200)
    after = Schedule(target=1.0, interval=5.0)
    after.restore({**before.encode(), "broken": b"?"})

    assert after.survival_of("receipt").at(5.0)[0] < 0.2
    assert ANY in after.encode()


async def test_learning_is_saved_once_a_minute_and_survives_a_store_that_is_away() -> None:
    clock, kept = FakeClock(), Kept()
    schedule = Schedule(target=1.0, interval=5.0)
    saved = asyncio.Event()
    task = asyncio.create_task(keep_learning(schedule, kept, "nonce", clock))
    try:
        schedule.learn([("invoice", 12.0)])
        kept.away = True
        while kept.saves < 1:
            await clock.advance(REBUILD)
        kept.away = False
        while not kept.saved:
            await clock.advance(REBUILD)
        saved.set()
    finally:
        task.cancel()

    assert kept.saved.keys() == {"invoice", ANY}


def test_memory_follows_the_store_and_what_was_seen() -> None:
    schedule = Schedule(target=1.0, interval=5.0)
    memory = Memory(schedule.survival_of)
    created = Micros(100 * SECOND)
    memory.agree({TaskId("a"): created, TaskId("b"): created})
    assert memory.sightings[TaskId("a")].seen_at == created

    now = Micros(110 * SECOND)
    memory.saw(
        [Task(TaskId("a"), "processing", created, created), Task(TaskId("b"), "error", created, now)], now
    )
    assert memory.sightings.keys() == {TaskId("a")}
    assert memory.sightings[TaskId("a")].seen_at == now

    memory.agree({TaskId("c"): created})
    assert memory.sightings.keys() == {TaskId("c")}
