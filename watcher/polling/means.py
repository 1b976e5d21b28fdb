"""What works on scopes is given: the API, the store, how to poll and publish, and the world around."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.model import Micros, Scope, from_seconds
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.reader import Reader, TaskSource
from watcher.polling.recorder import Ended, Publication, Recorder
from watcher.polling.schedule import Schedule
from watcher.state.store import Store

TURNS: Final = 200
"""Cycles of a process that may be under way at once.

Many more than requests, so that a scope which has much to read keeps nobody waiting. Without a bound thousands of
scopes that start together would all ask the store first, and the renewal of the lease would stand behind them until
it is too late.
"""


@dataclass(frozen=True, slots=True)
class Means:
    """What reading and recording take. ``jitter`` gives a number in [0, 1)."""

    source: TaskSource
    store: Store
    policy: PollPolicy
    publication: Publication
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]

    def reader(self, scope: Scope) -> Reader:
        """A reader of a scope's listings."""
        return Reader(scope, self.source, self.clock, self.metrics, self.jitter)

    def recorder(self, scope: Scope, nonce: str, ended: Ended | None = None) -> Recorder:
        """A recorder of what is read of a scope, under a lease; ``ended`` is told which tasks have ended."""
        return Recorder(
            scope,
            nonce,
            store=self.store,
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
            ended=ended,
        )

    def now(self) -> Micros:
        """The API's time; before its first answer, this machine's."""
        now = self.source.server_clock.now()
        return from_seconds(self.clock.time()) if now is None else now


@dataclass(frozen=True, slots=True)
class Tools(Means):
    """What polling takes besides. A cycle takes one of ``turns``, which wake their waiters in the order of coming."""

    schedule: Schedule
    pacer: Pacer
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))
