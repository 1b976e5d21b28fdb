"""Twenty endpoints that fail in every way at once: nothing is lost, and none holds another up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.authority import Authority, server_side
from tests.unit.webhooks.builders import KEYS, NOW, endpoint, event, publish
from tests.unit.webhooks.receiver import Answer, Receiver, answer, dripping, flood, hang, receiving, reset
from tests.unit.webhooks.world import World, until
from watcher.settings import RETRY_SCHEDULE
from watcher.webhooks.stats import lane_stats

EVENTS = 30
SCHEDULE = (0.0, 5.0, 20.0, 30.0)
HOUR = 3600.0
RETRY_AFTER = 30
TAKES = answer()
HEALTHY = [f"healthy-{number}" for number in range(7)]
SOON = ("flapping", "resets-at-first", "is-busy", "floods")
NEVER = ("hangs", "hangs-too", "drips", "is-gone", "redirects", "is-no-name", "is-refused", "is-another")


def timed(now: Callable[[], float], times: list[float], then: Answer) -> Answer:
    """The same answer, which notes when it was asked for."""

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(now())
        await then(reader, writer)

    return write


class DownForAnHour:
    """Answers 500, so many times, until an hour has passed on the clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.failures: list[float] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._now() < NOW + HOUR:
            self.failures.append(self._now())
            await answer(500)(reader, writer)
        else:
            await TAKES(reader, writer)


def scripts(target: str) -> dict[str, list[Answer]]:
    """What each answers, in turn; then the last for ever."""
    return {
        **{name: [TAKES] for name in HEALTHY},
        "flapping": list(chain(*repeat([TAKES, answer(500)], 40), [TAKES])),
        "resets-at-first": [*[reset] * 6, TAKES],
        "floods": [flood],
        "hangs": [hang],
        "hangs-too": [hang],
        "drips": [dripping(b"HTTP/1.1 500 Broken")],
        "is-gone": [answer(410)],
        "redirects": [answer(307, location=target)],
        "is-no-name": [TAKES],
        "is-refused": [TAKES],
    }


def taken(receiver: Receiver, *takes: Answer) -> Counter[str]:
    """How often each event got one of these answers."""
    pairs = zip(receiver.requests, receiver.answers, strict=True)
    return Counter(request.headers["webhook-id"] for request, said in pairs if said in takes)


@pytest.mark.slow
async def test_nothing_is_lost_and_nobody_waits_for_another(redis: Redis, tmp_path: Path) -> None:
    world = World(redis)
    authority = Authority(tmp_path / "authority")
    down, busy_at = DownForAnHour(world.clock.time), list[float]()
    too_soon = timed(world.clock.time, busy_at, answer(429, retry_after=str(RETRY_AFTER)))
    not_too_soon = timed(world.clock.time, busy_at, TAKES)
    special: dict[str, list[Answer]] = {"is-busy": [too_soon, not_too_soon], "is-down": [down]}
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(receiving())
        receivers = {
            name: await stack.enter_async_context(receiving(*script))
            for name, script in {**scripts(target.url), **special}.items()
        }
        elsewhere = server_side(authority.issue("wrong", "DNS:elsewhere.example"))
        receivers["is-another"] = await stack.enter_async_context(receiving(tls=elsewhere))
        odd: dict[str, dict[str, Any]] = {
            "is-no-name": {"url": "http://no-such-host.invalid/"},
            "is-refused": {"url": "http://169.254.169.254/"},
            "is-another": {"ca_file": authority.file},
            "is-down": {"retry_schedule": RETRY_SCHEDULE},
        }
        usual = {"timeout": 0.3, "concurrency": 2, "retry_schedule": SCHEDULE}
        endpoints = [
            endpoint(name, **{"url": receiver.url, **usual, **odd.get(name, {})})
            for name, receiver in receivers.items()
        ]
        assert len(endpoints) == 20

        async def is_held() -> bool:
            return (await lane_stats(redis, KEYS, "is-busy")).held_until > 0

        async with world.running(*endpoints):
            ids = await publish(redis, *(event(number) for number in range(EVENTS)))
            # On a clock that stands still: no retry of anybody's comes before the healthy have everything.
            await asyncio.gather(*(receivers[name].received(EVENTS) for name in HEALTHY))
            await asyncio.gather(*(world.settled(name) for name in HEALTHY))
            await receivers["is-gone"].received(1)
            await until(is_held)  # so that what it said is known before time passes
            await world.clock.advance(RETRY_AFTER - 1)
            assert set(busy_at) == {NOW}
            assert len(busy_at) <= 2, "those under way, and none after them"
            for name in SOON:
                await world.let_pass(1, world.settled(name))
            gone = len(receivers["is-gone"].requests)
            assert gone <= 2, "those under way, and none after them"
            await world.leap("is-down", 30, world.settled("is-down"))
            assert world.clock.time() >= NOW + HOUR
        everything = {event(number).id for number in range(EVENTS)}
        for name in HEALTHY:
            assert taken(receivers[name], TAKES) == dict.fromkeys(everything, 1), name
        after = [moment for moment in busy_at if moment > NOW]
        assert NOW + RETRY_AFTER <= min(after) < NOW + RETRY_AFTER + 1, "to the second"
        for name in SOON:
            dead = {letter["id"] for letter in await world.dead(name)}
            got = taken(receivers[name], TAKES, flood, not_too_soon).keys()
            assert got | dead == everything, name
            assert not got & dead, name
        assert len(down.failures) >= 4 * EVENTS, "each was tried by its schedule"
        assert NOW + HOUR / 2 < max(down.failures) < NOW + HOUR
        late = receivers["is-down"].requests[len(down.failures) :]
        assert Counter(request.headers["webhook-id"] for request in late) == dict.fromkeys(everything, 1)
        assert await world.dead("is-down") == []
        assert len(receivers["is-gone"].requests) == gone
        assert (await lane_stats(redis, KEYS, "is-gone")).paused == "http_410"
        assert target.connections == 0
        for name in NEVER:
            places_of = Counter(await world.waiting(name))
            places_of.update(letter["entry_id"] for letter in await world.dead(name))
            assert places_of == Counter(ids), f"{name}: each waits or is a dead letter"
        assert receivers["is-no-name"].connections == receivers["is-refused"].connections == 0
        assert receivers["is-another"].requests == []
        assert {letter["reason"] for letter in await world.dead("is-another")} == {"tls"}
