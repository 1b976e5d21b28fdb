"""What works on one shard: who polls it, what leaves it, and what only the holder of its lease does.

One that is retired has all of that but the polling, until nothing is left in it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from redis.asyncio import Redis

from watcher.alerts.alerts import Alerts
from watcher.alerts.notifier import AppriseNotifier
from watcher.alerts.pauses import PauseAlerts
from watcher.clock import Clock
from watcher.derived import policy_of, publication_of
from watcher.events.stream import order, trim
from watcher.fleet.leadership import Leadership, Quota, unbounded
from watcher.fleet.slots import Shares
from watcher.metrics import Metrics
from watcher.model import from_seconds
from watcher.monite.client import MoniteClient
from watcher.polling.board import Board
from watcher.polling.hint_desk import HintDesk
from watcher.polling.inspector import Allowance
from watcher.polling.means import TURNS, Tools
from watcher.polling.pacer import Pacer
from watcher.polling.poller import ScopeSource, ShardPoller
from watcher.polling.schedule import Schedule
from watcher.polling.scopes import DiscoveredScopes, ListedScopes
from watcher.settings import Settings
from watcher.state.format import NOTICE, Format
from watcher.state.hints import HintStream
from watcher.state.keys import Keys
from watcher.state.lease import Lease, new_nonce
from watcher.state.spread import Spread
from watcher.state.store import Store, store_errors
from watcher.state.versions import Standing
from watcher.state.weights import Weights
from watcher.webhooks.service import Webhooks
from watcher.webhooks.stats import needed_from, nothing_left

TRIMMING: Final = 60.0
"""Seconds between two rounds of trimming the stream."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Alerting:
    """What tells people: of OCR errors, and of endpoints that were paused."""

    events: Alerts
    pauses: PauseAlerts


@dataclass(frozen=True, slots=True)
class Shard:
    """The parts of one shard. ``retention`` is the seconds for which events are kept at least.

    One that is retired has no ``poller``.
    """

    keys: Keys
    redis: Redis
    clock: Clock
    retention: float
    spread: Spread
    leadership: Leadership
    format: Format
    board: Board
    poller: ShardPoller | None
    webhooks: Webhooks
    alerts: Alerting | None

    async def lead(self) -> None:
        """Do what only the holder of the lease does, whenever this process is it, until cancelled."""
        await self.spread.until()
        await self.format.until(Standing.CURRENT, Standing.OLDER)
        await self.leadership.run(self._lead)

    async def deliver(self) -> None:
        """Deliver until stopped, once the store holds what this version knows."""
        await self.spread.until()
        await self.format.until(Standing.CURRENT)
        await self.webhooks.run()

    async def _lead(self, nonce: str) -> None:
        await self.spread.confirm()
        await self.format.bring_on(nonce)
        async with asyncio.TaskGroup() as group:
            if self.alerts is not None:
                await self.alerts.events.prepare()
                group.create_task(self.alerts.events.run(), name=f"alerts-{self.keys.shard}")
                group.create_task(self.alerts.pauses.run(), name=f"pauses-{self.keys.shard}")
            if self.poller is not None:
                group.create_task(self.poller.run(nonce), name=f"poller-{self.keys.shard}")
            group.create_task(self._trim(), name=f"trim-{self.keys.shard}")

    async def _trim(self) -> None:
        while True:
            await self.clock.sleep(TRIMMING)
            before = from_seconds(self.clock.time() - self.retention)
            with store_errors():
                needed = [await needed_from(self.redis, self.keys)]
                if self.alerts is not None:
                    needed.append(await self.alerts.events.needed_from())
            known = [each for each in needed if each is not None]
            await trim(self.redis, self.keys, before, min(known, key=order, default=None))
            if self.poller is None:
                await self._forget_when_empty()

    async def _forget_when_empty(self) -> None:
        layout = await self.spread.until()  # before the look, so that nothing that changes it goes unseen
        with store_errors():
            done = await nothing_left(self.redis, self.keys)
        if done and await self.spread.forget(layout, self.keys):
            log.info("shard.forgotten", tag=self.keys.tag)


@dataclass(frozen=True, slots=True)
class Site:
    """What all shards of a process stand on.

    ``looks`` says how many looks at hinted tasks there may be, ``quota`` how many shards are to be polled here,
    ``shares`` how many attempts at each endpoint may be under way, and ``turns`` how many cycles. ``delivering`` gives
    the keys of all shards that are delivered from, those that are retired too.
    """

    settings: Settings
    redis: Redis
    client: MoniteClient
    clock: Clock
    metrics: Metrics
    looks: Allowance
    quota: Quota
    shares: Shares
    spread: Spread
    delivering: Callable[[], Sequence[Keys]] = tuple
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))

    def shard(self, keys: Keys, *, retired: bool = False) -> Shard:
        """The parts of a shard, made.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used.
        """
        board = Board()
        lease = Lease(self.redis, keys, self.clock)
        quota, name = (unbounded(), keys.tag) if retired else (self.quota, "")
        leadership = Leadership(lease, quota, self.clock, self.metrics, keys.shard, name)
        return Shard(
            keys=keys,
            redis=self.redis,
            clock=self.clock,
            retention=self.settings.events.retention,
            spread=self.spread,
            leadership=leadership,
            format=Format(self.redis, keys, self.clock, notice=NOTICE if self.settings.redis.url else 0.0),
            board=board,
            poller=None if retired else self._poller(keys, board),
            webhooks=self._webhooks(keys),
            alerts=self._alerts(keys),
        )

    def _poller(self, keys: Keys, board: Board) -> ShardPoller:
        settings = self.settings
        tools = Tools(
            source=self.client,
            store=Store(self.redis, keys),
            policy=policy_of(settings),
            publication=publication_of(settings),
            clock=self.clock,
            metrics=self.metrics,
            jitter=random.random,
            schedule=Schedule(target=settings.poll.target_delay, interval=settings.poll.interval),
            pacer=Pacer(settings.monite.requests_per_second, settings.poll.interval),
            turns=self.turns,
        )
        desk = HintDesk(
            HintStream(self.redis, keys),
            self.looks,
            clock=self.clock,
            metrics=self.metrics,
            shard=keys.shard,
            shards=keys.shards,
        )
        weights = Weights(self.redis, keys) if keys.shards > 1 else None
        return ShardPoller(self._scopes(keys), board, tools, desk, weights)

    def _scopes(self, keys: Keys) -> ScopeSource:
        entities = self.settings.monite.entities
        if entities == "all":
            return DiscoveredScopes(self.client, keys.shard, keys.shards)
        return ListedScopes(entities, keys.shard, keys.shards)

    def _webhooks(self, keys: Keys) -> Webhooks:
        return Webhooks(
            self.redis,
            keys,
            self.settings.webhooks,
            clock=self.clock,
            metrics=self.metrics,
            jitter=random.random,
            slots=lambda endpoint: self.shares.of(endpoint.name, endpoint.concurrency),
            wait_replicas=self.settings.redis.wait_replicas,
            consumer=new_nonce(),
            shards=self.delivering,
        )

    def _alerts(self, keys: Keys) -> Alerting | None:
        urls = self.settings.alerts.urls
        if not urls:
            return None
        notifiers = [AppriseNotifier(url.get_secret_value()) for url in urls]
        return Alerting(
            Alerts(self.redis, keys, notifiers, self.clock, self.metrics),
            PauseAlerts(self.redis, keys, notifiers, self.clock, self.metrics, self.delivering),
        )
