"""Twenty endpoints that fail in every way at once: nothing is lost, and none holds another up."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from itertools import chain, repeat

from redis.asyncio import Redis

from tests.unit.webhooks.builders import KEYS, endpoint, event, publish
from tests.unit.webhooks.receiver import Answer, answer, drip, flood, hang, receiving, reset
from tests.unit.webhooks.world import World, arrived
from watcher.webhooks.stats import lane_stats

EVENTS = 30
SCHEDULE = (0.0, 5.0, 20.0, 30.0)
SOON = ("flapping", "resets at first", "is down at first", "is busy", "floods")
NEVER = ("hangs", "hangs too", "drips", "is gone", "redirects", "is no name", "is refused", "speaks no TLS")


def scripts(target: str) -> dict[str, list[Answer]]:
    """What each answers, in turn; then the last for ever."""
    return {
        **{f"healthy-{number}": [answer()] for number in range(7)},
        "flapping": list(chain(*repeat([answer(), answer(500)], 40), [answer()])),
        "resets at first": [*[reset] * 6, answer()],
        "is down at first": [*[answer(500)] * 25, answer()],
        "is busy": [answer(429, retry_after="30"), answer()],
        "floods": [flood],
        "hangs": [hang],
        "hangs too": [hang],
        "drips": [drip],
        "is gone": [answer(410)],
        "redirects": [answer(307, location=target)],
        "is no name": [answer()],
        "is refused": [answer()],
        "speaks no TLS": [answer()],
    }


async def test_nothing_is_lost_and_nobody_waits_for_another(redis: Redis) -> None:
    world = World(redis)
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(receiving())
        receivers = {
            name: await stack.enter_async_context(receiving(*script))
            for name, script in scripts(target.url).items()
        }
        places = {name: receiver.url for name, receiver in receivers.items()} | {
            "is no name": "http://no-such-host.invalid/",
            "is refused": "http://169.254.169.254/",
            "speaks no TLS": receivers["speaks no TLS"].url.replace("http:", "https:"),
        }
        names = {name: name.replace(" ", "-").lower() for name in receivers}
        endpoints = [
            endpoint(names[name], url, timeout=0.3, concurrency=2, retry_schedule=SCHEDULE)
            for name, url in places.items()
        ]
        assert len(endpoints) == 20
        async with world.running(*endpoints):
            ids = await publish(redis, *(event(number) for number in range(EVENTS)))
            healthy = [name for name in receivers if name.startswith("healthy")]
            # On a clock that stands still: no retry of anybody's comes before the healthy have everything.
            await asyncio.gather(*(receivers[name].received(EVENTS) for name in healthy))
            await asyncio.gather(*(world.settled(names[name]) for name in healthy))
            await receivers["is busy"].received(1)
            assert len(receivers["is gone"].requests) <= 2, "those under way, and none after them"
            busy = len(receivers["is busy"].requests)
            await world.clock.advance(29)
            assert len(receivers["is busy"].requests) == busy <= 2
            for name in SOON:
                await world.let_pass(1, world.settled(names[name]))
        for name in (*healthy, *SOON):
            got = arrived(receivers[name])
            dead = {letter["id"] for letter in await world.dead(names[name])}
            assert set(got) | dead == {event(number).id for number in range(EVENTS)}, name
        assert target.connections == 0
        assert len(receivers["is gone"].requests) <= 2
        assert (await lane_stats(redis, KEYS, "is-gone")).paused == "http_410"
        for name in NEVER:
            places_of = Counter(await world.waiting(names[name]))
            places_of.update(letter["entry_id"] for letter in await world.dead(names[name]))
            assert places_of == Counter(ids), f"{name}: each waits or is a dead letter"
        assert receivers["is no name"].connections == receivers["is refused"].connections == 0
