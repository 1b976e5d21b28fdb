"""How a command is tried again, and for how long at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")

RETRIES: Final = 2
"""Times that a command is tried again, within a second."""
LONGEST: Final = 6.0
"""Seconds for a command, its connection and all its tries: less than a holder waits before it gives its lease up."""


class BoundedRetry(Retry):
    """Tries again for a bounded time.

    The client tries to connect within each try of a command, so at a server that stands still, which accepts
    connections and answers nothing, tries of tries would last a minute.
    """

    def __init__(self, retries: int = RETRIES, longest: float = LONGEST) -> None:
        super().__init__(FullJitterBackoff(cap=0.5, base=0.05), retries)
        self._longest = longest

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], *rest: Any, **options: Any) -> T:
        """Call ``do`` until it succeeds.

        Raises:
            redis.RedisError: of the last try; a timeout once the time is over.
        """
        try:
            async with asyncio.timeout(self._longest):
                return await super().call_with_retry(do, *rest, **options)
        except TimeoutError as error:
            raise RedisTimeoutError("no answer in time") from error
