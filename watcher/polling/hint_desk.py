"""Hands the hints on a stream to the inspectors of their scopes, for as long as the shard's lease is held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import Hint, Scope
from watcher.polling.inspector import Allowance, Inspector
from watcher.state.hints import Entry
from watcher.state.keys import shard_of

RETRY: Final = 5.0
"""Seconds before the stream is read again after it could not be: nothing but time is lost meanwhile."""

SHARE: Final = 0.25
"""Part of the request budget that looks at hinted tasks may take, so that a flood leaves the rest to polling."""

log = structlog.get_logger()


class Spacing:
    """Lets looks begin evenly spaced, at most ``per_second``, in the order in which they asked.

    ``part`` says which part of that, above 0, is this process's at the moment.
    """

    def __init__(self, per_second: float, clock: Clock, part: Callable[[], float] = lambda: 1.0) -> None:
        self._gap = 1 / per_second
        self._part = part
        self._clock = clock
        self._next = float("-inf")
        self._turn = asyncio.Lock()  # wakes its waiters in the order of their coming

    async def acquire(self) -> None:
        """Wait until there may be one more look."""
        async with self._turn:
            while (wait := self._next - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)
            self._next = self._clock.monotonic() + self._gap / self._part()


class Hints(Protocol):
    """The stream of hints, as ``watcher.state.hints`` has it."""

    async def reached(self) -> str:
        """The id of the last hint taken in. Raises ``StoreUnavailable``."""
        ...

    async def read(self, after: str) -> list[Entry]:
        """The next hints; none if none came for a while. Raises ``StoreUnavailable``."""
        ...

    async def taken(self, reached: str) -> None:
        """Note how far hints were taken in. Raises ``StoreUnavailable``."""
        ...


class HintDesk:
    """One shard's desk. Hints of other shards are left to those, without a word."""

    def __init__(
        self,
        hints: Hints,
        allowance: Allowance,
        *,
        clock: Clock,
        metrics: Metrics,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self._hints = hints
        self._allowance = allowance
        self._clock = clock
        self._metrics = metrics
        self._shard = shard
        self._shards = shards
        self._unreadable = False

    async def run(self, group: asyncio.TaskGroup, inspector_of: Callable[[Scope], Inspector | None]) -> None:
        """Take in hints until cancelled. A stream that cannot be read is no reason to stop polling."""
        reached: str | None = None
        while True:
            try:
                if reached is None:
                    reached = await self._hints.reached()
                entries = await self._hints.read(reached)
                if entries:
                    reached = entries[-1][0]
                    self._distribute([hint for _, hint in entries], group, inspector_of)
                    await self._hints.taken(reached)
                self._readable()
            except StoreUnavailable as error:
                if not self._unreadable:
                    log.warning("hints.unreadable", error=str(error))
                self._unreadable = True
                await self._clock.sleep(RETRY)

    def _readable(self) -> None:
        if self._unreadable:
            log.info("hints.readable")
        self._unreadable = False

    def _distribute(
        self,
        hints: Iterable[Hint | None],
        group: asyncio.TaskGroup,
        inspector_of: Callable[[Scope], Inspector | None],
    ) -> None:
        by_scope: dict[Scope, list[Hint]] = {}
        for hint in hints:
            if hint is None:
                # Every shard reads them, but one is enough to count what is no hint at all.
                if self._shard == 0:
                    self._metrics.hints.labels(source="stream", outcome="invalid").inc()
            elif shard_of(hint.scope, self._shards) == self._shard:
                by_scope.setdefault(hint.scope, []).append(hint)
        for scope, given in by_scope.items():
            inspector = inspector_of(scope)
            if inspector is None:
                for hint in given:
                    self._metrics.hints.labels(source=hint.source, outcome="unknown_scope").inc()
            elif inspector.take(given):
                inspector.start(group, self._allowance)
