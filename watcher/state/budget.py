"""The request budget that all replicas and all shards share, kept in the store and counted on its clock.

A request asks to start, and the store lets it or says when to ask again (``scripts/budget.lua``). So a pause
holds for those that wait already, nobody's own clock matters, and all that wait stand in one line. What ends
while it waits takes nothing with it.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final

import structlog
from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors

PATIENCE: Final = 1.0
"""Seconds for which a request that does not come when it is its turn keeps the others waiting.

Whoever waits asks again at least so often.
"""
PROMPT: Final = 0.01
"""Seconds within which a request must start once it has asked to; after that it is counted anew."""
LATE: Final = 0.05
"""Seconds that a request may be sent after it was counted anew: a window is longer than a second by as much."""
SURE: Final = 0.02
"""Seconds after its counting by which a request is written nearly always; of a later one the store is told."""
TRIES: Final = 5
"""Times that a request which is held up again and again is counted anew, before it is sent nevertheless."""
LONGEST_PAUSE: Final = 86_400.0
"""Seconds: a pause outlives every process, so a gateway's mistake must not stop them all for a year."""
WORTH_SAYING: Final = 10.0
"""Seconds by which a pause must put the next start off to be told of in the log. Short ones are daily business."""
MICROS: Final = 1_000_000

log = structlog.get_logger()


@dataclass(slots=True)
class Start:
    """A request that was counted when it asked at ``asked_at`` (monotonic seconds); ``ask_again`` repeats it.

    ``count_now`` lets it count as started at this moment, whether the budget allows it or not.
    """

    asked_at: float
    ask_again: Callable[[], Awaitable[float]]
    count_now: Callable[[], Awaitable[None]]
    clock: Clock

    async def confirm(self) -> None:
        """It is about to be sent: if it was held up, count it now instead, waiting where that must be.

        Raises:
            StoreUnavailable: the store does not answer; it must not be sent.
        """
        prompt = PROMPT
        for _ in range(TRIES):
            if self.clock.monotonic() - self.asked_at <= prompt:
                return
            self.asked_at, prompt = await self.ask_again(), LATE

    async def sent(self) -> None:
        """It has been written: if it was held up after all, those of the next second keep their distance from now.

        Where the store does not answer nothing else starts either, so that is no reason to give up what was sent.
        """
        if self.clock.monotonic() - self.asked_at > SURE:
            with suppress(StoreUnavailable):
                await self.count_now()


class SharedBudget:
    """Lets at most ``limit`` requests start in any ``window_seconds``, whoever starts them, in one line.

    Every method raises ``StoreUnavailable`` when the store does not answer: without it no request starts.
    """

    def __init__(self, redis: Redis, keys: Keys, clock: Clock, *, limit: int, window_seconds: float) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._limit = limit
        self._window = math.ceil(window_seconds * MICROS)
        self._take = redis.register_script(script(__package__, "budget"))
        self._count_now = redis.register_script(script(__package__, "count"))
        self._pause = redis.register_script(script(__package__, "pause"))
        self._remaining = redis.register_script(script(__package__, "remaining"))
        self._process = secrets.token_hex(8)
        self._numbers = count()
        self._left: deque[str] = deque()
        self._not_before = -math.inf

    async def acquire(self) -> Start:
        """Wait until a request may start, and count it as started.

        One that is cancelled takes nothing: its place, or its start, goes to the next one of this process.
        """
        request = self._left.popleft() if self._left else f"{self._process}/{next(self._numbers)}"
        try:
            asked_at = await self._admitted(request)
        except BaseException:
            self._left.append(request)
            raise
        return Start(asked_at, partial(self._admitted, request), partial(self._count, request), self._clock)

    async def pause_until(self, instant: float) -> None:
        """Let nobody start anything before this instant (monotonic seconds of this process).

        The longest pause asked for holds. This process keeps it even if the store cannot be told of it.
        """
        now = self._clock.monotonic()
        wait = min(instant - now, LONGEST_PAUSE)
        if now + wait - max(now, self._not_before) >= WORTH_SAYING:
            log.warning("monite.paused", seconds=round(wait), why="the API wants no requests before")
        self._not_before = max(self._not_before, now + wait)
        if wait > 0:
            with store_errors():
                # The server counts in whole milliseconds, and begins within one.
                await self._pause(keys=[self._keys.budget_pause], args=[math.ceil(wait * 1000) + 1])

    async def remaining(self) -> int:
        """How many requests could start at this moment, over all processes."""
        with store_errors():
            left = int(
                await self._remaining(
                    keys=[self._keys.budget, self._keys.budget_pause], args=[self._limit, self._window]
                )
            )
        return 0 if self._clock.monotonic() < self._not_before else left

    async def paused_for(self) -> float:
        """For how many seconds from now nothing may start; 0 when something may."""
        with store_errors():
            told = await self._redis.pttl(self._keys.budget_pause) / 1000
        return max(0.0, told, self._not_before - self._clock.monotonic())

    async def _admitted(self, request: str) -> float:
        """Wait until it may start; the moment when it asked and was counted."""
        while True:
            asked_at = self._clock.monotonic()
            wait = self._not_before - asked_at
            if wait <= 0:
                wait = await self._ask(request)
            if wait <= 0:
                return asked_at
            await self._clock.sleep(wait)

    async def _ask(self, request: str) -> float:
        keys = [self._keys.budget, self._keys.budget_line, self._keys.budget_due, self._keys.budget_pause]
        args: list[str | int] = [self._limit, self._window, round(PATIENCE * MICROS), request]
        with store_errors():
            return float(await self._take(keys=keys, args=args)) / MICROS

    async def _count(self, request: str) -> None:
        with store_errors():
            await self._count_now(keys=[self._keys.budget], args=[self._window, request])
