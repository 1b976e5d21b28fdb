"""Writes down what came of claims, many in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from redis.exceptions import RedisError

from watcher.clock import Clock
from watcher.steps import Step, reached
from watcher.webhooks.courier import Attempted
from watcher.webhooks.delivery import Settlement
from watcher.webhooks.outage import Outage
from watcher.webhooks.queue import DeliveryQueue

_DRAIN_SECONDS: Final = 2.0
_MOST: Final = 500
"""Settlements in one step; Lua unpacks and the server stands still for it, so it is bounded."""
_GATHER_SECONDS: Final = 0.025
"""Longest wait for more of them where many come; what is not written when the process dies is sent again."""

_log = structlog.get_logger()


class Settler:
    """Gathers what came of claims, and writes it down in one step once there are ``enough()``, or after a moment.

    ``stopped`` is called when nothing more is to be sent to the endpoint for now, ``told`` when the endpoint's other
    lanes are to know of it, and ``going_on`` when what stood behind another delivery is due.
    """

    def __init__(
        self,
        endpoint: str,
        queue: DeliveryQueue,
        outage: Outage,
        conclude: Callable[[Attempted], Settlement],
        enough: Callable[[], int],
        clock: Clock,
        jitter: Callable[[], float],
        stopped: Callable[[], None],
        told: Callable[[], None],
        going_on: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._queue = queue
        self._outage = outage
        self._conclude = conclude
        self._enough = enough
        self._clock = clock
        self._jitter = jitter
        self._stopped = stopped
        self._told = told
        self._going_on = going_on
        self._fresh: list[Attempted | Settlement] = []
        self._open: list[Settlement] = []
        self._news = asyncio.Event()
        self._full = asyncio.Event()
        self._written = asyncio.Event()
        self._closed = False

    def add(self, one: Attempted | Settlement) -> None:
        """Have it concluded and written soon."""
        self._fresh.append(one)
        self._news.set()
        if len(self._fresh) >= self._enough():
            self._full.set()

    async def written(self) -> None:
        """Wait until everything that was added before has been written."""
        self._written.clear()
        self._news.set()
        self._full.set()
        await self._written.wait()

    def close(self) -> None:
        """Let ``run`` end as soon as everything is written."""
        self._closed = True
        self._news.set()
        self._full.set()

    async def run(self) -> None:
        """Write settlements until closed. What is not written when it is cancelled is kept for ``drain``."""
        while not self._closed:
            await self._news.wait()
            self._news.clear()
            while self._fresh or self._open:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GATHER_SECONDS):
                        await self._full.wait()
                self._full.clear()
                await self._outage.through(f"settle {self._endpoint}", self._write)
            self._written.set()

    async def drain(self) -> None:
        """Write what is left, if that is possible at once; else the claims end by themselves."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._fresh or self._open:
                    await self._write()
        except (RedisError, TimeoutError) as error:
            _log.warning(
                "webhooks.claims_left",
                endpoint=self._endpoint,
                count=len(self._open),
                error=type(error).__name__,
            )

    async def _write(self) -> None:
        fresh, self._fresh = self._fresh, []
        self._open += [one if isinstance(one, Settlement) else self._conclude(one) for one in fresh]
        batch = self._open[:_MOST]
        reached(Step.OUTCOMES_DECIDED)
        settled = await self._queue.settle(batch, now=self._clock.time(), jitter=self._jitter())
        reached(Step.OUTCOMES_SETTLED)
        if settled.stale:
            _log.debug("webhooks.settlements_stale", endpoint=self._endpoint, count=settled.stale)
        del self._open[: len(batch)]
        if settled.going_on:
            self._going_on()
        if settled.opened or settled.paused:
            self._stopped()
        if settled.held or settled.paused:
            self._told()
        if settled.opened:
            _log.warning("endpoint.held", endpoint=self._endpoint, seconds=round(settled.opened, 1))
        if settled.paused:
            _log.error("endpoint.paused", endpoint=self._endpoint, reason=settled.paused)
