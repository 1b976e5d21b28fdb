"""The polling of a shard: a loop for each scope, for as long as this process holds the lease."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from watcher.errors import StoreUnavailable
from watcher.model import Scope, Weight
from watcher.monite.errors import MoniteError
from watcher.polling.backfiller import Backfiller
from watcher.polling.board import Board
from watcher.polling.hint_desk import HintDesk
from watcher.polling.inspector import Inspector
from watcher.polling.means import Tools
from watcher.polling.reconciler import Reconciler
from watcher.polling.schedule import keep_learning
from watcher.polling.scope_poller import ScopePoller

REFRESH: Final = 300.0
"""Seconds between two rounds of discovering scopes."""
RETRY: Final = 5.0
"""Seconds before discovery is tried again after it failed."""
TOGETHER: Final = 100
"""Scopes that are started in one go; then whatever else is to be done, such as renewing the lease, has its turn."""
SHARING: Final = 2.0
"""Seconds between two comparisons with what other shards weigh in the sharing of the budget."""

log = structlog.get_logger()


class ScopeSource(Protocol):
    """Says what to watch."""

    async def scopes(self) -> frozenset[Scope]:
        """The scopes to watch. Raises ``MoniteError`` when they cannot be had now."""
        ...


class SharedWeights(Protocol):
    """What the scopes of all shards weigh."""

    async def exchange(self, own: Weight) -> Weight:
        """Tell this shard's weight; the sum of the others'. Raises ``StoreUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class _Running:
    poller: ScopePoller
    task: asyncio.Task[None]


class ShardPoller:
    """Polls all scopes of a shard; scopes may come and go.

    ``desk`` hands in the hints of others; ``weights`` are those of other shards, where there are any.
    """

    def __init__(
        self,
        scopes: ScopeSource,
        board: Board,
        tools: Tools,
        desk: HintDesk | None = None,
        weights: SharedWeights | None = None,
    ) -> None:
        self._scopes = scopes
        self._board = board
        self._tools = tools
        self._desk = desk
        self._weights = weights
        self._running: dict[Scope, _Running] = {}
        self._taking_hints = False

    async def run(self, nonce: str) -> None:
        """Poll until cancelled, or until one scope's poller raises: the lease or the store is gone."""
        try:
            async with asyncio.TaskGroup() as group:
                learning = keep_learning(self._tools.schedule, self._tools.store, nonce, self._tools.clock)
                group.create_task(learning, name="schedule")
                self._start_beside(group, nonce)
                while True:
                    pause = await self._refresh(group, nonce)
                    await self._tools.clock.sleep(pause)
        finally:
            for scope in self._running:
                self._tools.pacer.leave(scope)
            self._running.clear()
            self._taking_hints = False
            self._board.reports.clear()
            self._board.listed = False

    def _start_beside(self, group: asyncio.TaskGroup, nonce: str) -> None:
        """Start what a shard does beside its scopes' cycles: backfills, and the check on ourselves."""
        group.create_task(Backfiller(nonce, self._tools).run(), name="backfill")
        group.create_task(Reconciler(nonce, self._tools, self._board).run(), name="reconcile")
        if self._weights is not None:
            group.create_task(self._share(self._weights), name="share")

    async def _share(self, weights: SharedWeights) -> None:
        """Keep to the part of the budget that this shard's scopes weigh among all, until cancelled."""
        pacer = self._tools.pacer
        while True:
            with suppress(StoreUnavailable):  # what was known holds; polling says that the store is away
                pacer.elsewhere = await weights.exchange(pacer.weight)
            await self._tools.clock.sleep(SHARING)

    async def _refresh(self, group: asyncio.TaskGroup, nonce: str) -> float:
        """Start what is new, end what is gone; the seconds until the next look."""
        try:
            wanted = await self._scopes.scopes()
        except MoniteError as error:
            if self._board.trouble_discovering != error.reason:
                log.warning("scopes.unavailable", **error.fields)
            self._board.trouble_discovering = error.reason
            return RETRY
        self._board.trouble_discovering = None
        for scope in self._running.keys() - wanted:
            log.info("scope.ended", scope=scope.key)
            ended = self._running.pop(scope)
            ended.task.cancel()
            ended.poller.inspector.stop()
            self._tools.pacer.leave(scope)
            self._board.reports.pop(scope, None)
        for number, scope in enumerate(sorted(wanted - self._running.keys(), key=lambda each: each.key)):
            if number % TOGETHER == 0:
                await self._tools.clock.sleep(0)  # all of thousands take seconds
            poller = ScopePoller(scope, nonce, self._tools, self._board.report(scope))
            task = group.create_task(poller.run(), name=f"scope-{scope.key}")
            self._running[scope] = _Running(poller, task)
        self._board.listed = True
        if self._desk is not None and not self._taking_hints:
            # Not before the scopes are known: hints wait on their stream, but are not kept for a scope to come.
            self._taking_hints = True
            group.create_task(self._desk.run(group, self._inspector), name="hints")
        return REFRESH

    def _inspector(self, scope: Scope) -> Inspector | None:
        """Who looks at hinted tasks of a scope; None where it is not watched here, or the API refuses it."""
        running = self._running.get(scope)
        if running is None or self._board.report(scope).retired:
            return None
        return running.poller.inspector
