"""Going on where the store is away for a while."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

from watcher.clock import Clock
from watcher.errors import StoreUnavailable

_FIRST: Final = 0.1
_LONGEST: Final = 2.0
"""Seconds between tries. Longer, and deliveries would stand still long after the store is back."""

T = TypeVar("T")

_log = structlog.get_logger()


class Outage:
    """Repeats steps at the store until they succeed; tells once that they fail, and once that it is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing: set[str] = set()
        self._since = 0.0

    async def through(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        """The result of a step, tried again with growing waits while the store is in trouble."""
        wait = _FIRST
        try:
            while True:
                try:
                    result = await step()
                except (RedisError, StoreUnavailable) as error:
                    self._failed(name, error)
                except Exception:
                    self._worked(name)  # it failed for another reason than the store
                    raise
                else:
                    self._worked(name)
                    return result
                await self._clock.sleep(wait)
                wait = min(2 * wait, _LONGEST)
        except CancelledError:
            self._failing.discard(name)  # nobody will find out that it works again
            raise

    def _failed(self, name: str, error: Exception) -> None:
        if not self._failing:
            self._since = self._clock.monotonic()
            # Not its text: the server may quote the arguments of a command that it refuses.
            _log.warning("webhooks.store_unavailable", step=name, error=type(error).__name__)
        self._failing.add(name)

    def _worked(self, name: str) -> None:
        if name in self._failing:
            self._failing.discard(name)
            if not self._failing:
                seconds = round(self._clock.monotonic() - self._since, 3)
                _log.info("webhooks.store_back", seconds=seconds)
