"""Holds requests back while the API as a whole is failing, by the rules of ``watcher.monite.breaker``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.monite.breaker import Breaker, Outcome
from watcher.monite.errors import MoniteError, RateLimited, Unavailable

_log = structlog.get_logger()


class Circuit:
    """One process's way to the API. ``jitter`` gives a number in [0, 1)."""

    def __init__(self, clock: Clock, metrics: Metrics, jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._gauge = metrics.breaker_open
        self._jitter = jitter
        self._breaker = Breaker()
        self._opened_at = 0.0
        self._turn = asyncio.Lock()  # wakes its waiters in the order of their coming
        self._settled = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether requests are held back: the API as a whole gives no usable answer."""
        return self._breaker.is_open

    @asynccontextmanager
    async def request(self, scope: str | None) -> AsyncIterator[None]:
        """Wait until a request may start; what the body raises tells what came of it.

        ``scope`` is the key of the scope that it concerns, None for what concerns all of them.
        """
        probe = await self._started()
        outcome: Outcome = "unknown"
        failure: Unavailable | None = None
        try:
            yield
            outcome = "answered"
        except Unavailable as error:
            outcome, failure = "failed", error
            raise
        except RateLimited:
            raise  # said by what stands before the API; the budget sees to it
        except MoniteError:
            outcome = "answered"
            raise
        finally:
            self._ended(outcome, scope, probe, failure)

    async def _started(self) -> bool:
        """Wait for the start; whether the request is the probe."""
        async with self._turn:
            while (wait := self._breaker.ready_at() - self._clock.monotonic()) > 0:
                if self._breaker.probing:
                    self._settled.clear()
                    await self._settled.wait()
                else:
                    await self._clock.sleep(wait)
            self._breaker = self._breaker.started()
            return self._breaker.probing

    def _ended(self, outcome: Outcome, scope: str | None, probe: bool, failure: Unavailable | None) -> None:
        before, now = self._breaker, self._clock.monotonic()
        self._breaker = after = before.ended(
            outcome, scope, probe=probe, now=now, jitter=self._jitter() if failure else 0.0
        )
        self._settled.set()
        if after.is_open and not before.is_open:
            self._opened_at = now
            fields = failure.fields if failure else {}
            _log.warning("breaker.opened", failures=after.failures, **fields)
        elif before.is_open and not after.is_open:
            seconds = round(now - self._opened_at, 3)
            _log.info("breaker.closed", seconds=seconds, probes=before.openings)
        self._gauge.set(after.is_open)
