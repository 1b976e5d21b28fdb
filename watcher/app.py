"""The composition root: the only place that builds clients and reads settings.

Building registers its undo; stopping is the reverse.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from redis.asyncio import Redis

from watcher.alerts.alerts import Alerts
from watcher.alerts.notifier import AppriseNotifier
from watcher.alerts.pauses import PauseAlerts
from watcher.clock import Clock, SystemClock
from watcher.events.stream import order, trim
from watcher.metrics import Metrics
from watcher.model import from_seconds
from watcher.monite.budget import Window
from watcher.monite.client import MoniteClient
from watcher.monite.opened import open_api
from watcher.ops.access import Access
from watcher.ops.intake import HintIntake
from watcher.ops.observer import Observed, Observer
from watcher.ops.server import OpsServer
from watcher.polling.board import Board
from watcher.polling.diff import kinds_of
from watcher.polling.hint_desk import SHARE, HintDesk, Spacing
from watcher.polling.means import Tools
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.poller import ShardPoller
from watcher.polling.recorder import Publication
from watcher.polling.schedule import Schedule
from watcher.polling.scopes import DiscoveredScopes, ListedScopes
from watcher.settings import Settings
from watcher.settings.values import is_loopback
from watcher.state.budget import SharedBudget
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.hints import HintStream
from watcher.state.keys import Keys
from watcher.state.lease import Leadership, Lease, break_leases
from watcher.state.store import Store, store_errors
from watcher.state.weights import Weights
from watcher.supervision import Supervisor
from watcher.webhooks.service import Webhooks
from watcher.webhooks.stats import needed_from

GRACE: Final = 10.0
"""Seconds that deliveries under way have to end after a signal to stop."""
TRIMMING: Final = 60.0
"""Seconds between two rounds of trimming the stream."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Alerting:
    """What tells people: of OCR errors, and of endpoints that were paused."""

    events: Alerts
    pauses: PauseAlerts


@dataclass(frozen=True, slots=True)
class _Shard:
    """What works on one shard."""

    keys: Keys
    leadership: Leadership
    board: Board
    poller: ShardPoller
    webhooks: Webhooks
    alerts: _Alerting | None


class App:
    """The daemon: everything it is made of, from its settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock: Clock = SystemClock()
        self._metrics = Metrics()
        self._supervisor = Supervisor(self._clock)
        self._parts: list[_Shard] = []
        self._observer: Observer | None = None
        self._hint_spacing = Spacing(settings.monite.requests_per_second * SHARE, self._clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end cleanly: leases given up, deliveries under way finished.

        A store or an API that is away is waited for.

        Raises:
            ConfigurationError: the listener's address cannot be used.
            StoreError: the embedded store cannot be run here.
        """
        async with AsyncExitStack() as stack:
            shards = self._settings.redis.shards
            keys = [Keys(self._settings.redis.namespace, number, shards) for number in range(shards)]
            redis = await self._open_store(stack, keys)
            budget = budget_of(self._settings, redis, self._clock)
            client = await stack.enter_async_context(
                open_api(self._settings.monite, budget, self._clock, self._metrics)
            )
            parts = self._parts = [self._shard(each, redis, client) for each in keys]
            self._observer = await self._serve(stack, redis, parts, budget)
            for shard in parts:
                self._keep(stack, f"webhooks-{shard.keys.shard}", shard.webhooks.run)
                stack.push_async_callback(shard.webhooks.stop, GRACE)
            for shard in parts:
                lead = partial(self._lead, shard, redis)
                self._keep(stack, f"shard-{shard.keys.shard}", partial(shard.leadership.run, lead))
            await stop.wait()

    async def reload(self, settings: Settings) -> None:
        """Go on with the endpoints of other settings; nothing else of them takes effect before a restart.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used; all is as it was.
        """
        for shard in self._parts:
            await shard.webhooks.reload(settings.webhooks, GRACE)
        self._settings = self._settings.model_copy(update={"webhooks": settings.webhooks})
        names = [endpoint.name for endpoint in settings.webhooks]
        if self._observer is not None:
            self._observer.endpoints = names
        log.info("endpoints.reloaded", endpoints=names)
        if settings != self._settings:
            log.warning("settings.need_restart", why="more than the endpoints has changed")

    async def _open_store(self, stack: AsyncExitStack, keys: list[Keys]) -> Redis:
        wanted = self._settings.redis
        if wanted.url is not None:
            redis = connect(wanted.url.get_secret_value())
            stack.push_async_callback(redis.aclose)
            return redis
        server = EmbeddedServer(wanted.data_dir, wanted.port)
        await server.start()
        stack.push_async_callback(server.stop)
        self._keep(stack, "store", partial(_keep_running, server))
        redis = connect(server.url)
        stack.push_async_callback(redis.aclose)
        # The directory is this daemon's alone, so a lease found here is that of one that was killed.
        await break_leases(redis, keys)
        return redis

    async def _serve(
        self, stack: AsyncExitStack, redis: Redis, shards: list[_Shard], budget: SharedBudget
    ) -> Observer:
        observer = Observer(
            redis,
            [Observed(shard.keys, shard.leadership, shard.board) for shard in shards],
            [endpoint.name for endpoint in self._settings.webhooks],
            budget=budget,
            supervisor=self._supervisor,
            metrics=self._metrics,
            clock=self._clock,
            interval=self._settings.poll.interval,
        )
        http = self._settings.http
        intake = HintIntake(
            HintStream(redis, shards[0].keys),
            Access(loopback=is_loopback(http.host), token=http.token),
            self._settings.hooks.monite_secret,
            clock=self._clock,
            metrics=self._metrics,
        )
        server = OpsServer(self._metrics.registry, observer.not_ready, observer.refresh, intake.routes)
        await server.start(http.host, http.port)
        stack.push_async_callback(server.stop)
        return observer

    def _shard(self, keys: Keys, redis: Redis, client: MoniteClient) -> _Shard:
        settings = self._settings
        number, shards = keys.shard, keys.shards
        tools = Tools(
            source=client,
            store=Store(redis, keys),
            policy=policy_of(settings),
            publication=publication_of(settings),
            clock=self._clock,
            metrics=self._metrics,
            jitter=random.random,
            schedule=Schedule(target=settings.poll.target_delay, interval=settings.poll.interval),
            pacer=Pacer(settings.monite.requests_per_second, settings.poll.interval),
        )
        entities = settings.monite.entities
        scopes = (
            DiscoveredScopes(client, number, shards)
            if entities == "all"
            else ListedScopes(entities, number, shards)
        )
        board = Board()
        return _Shard(
            keys=keys,
            leadership=Leadership(Lease(redis, keys, self._clock), self._clock, self._metrics, number),
            board=board,
            poller=ShardPoller(
                scopes,
                board,
                tools,
                self._desk(keys, redis),
                Weights(redis, keys) if shards > 1 else None,
            ),
            webhooks=Webhooks(
                redis,
                keys,
                settings.webhooks,
                clock=self._clock,
                metrics=self._metrics,
                jitter=random.random,
                consumer=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            ),
            alerts=self._alerts(redis, keys),
        )

    def _desk(self, keys: Keys, redis: Redis) -> HintDesk:
        return HintDesk(
            HintStream(redis, keys),
            self._hint_spacing,
            clock=self._clock,
            metrics=self._metrics,
            shard=keys.shard,
            shards=keys.shards,
        )

    def _alerts(self, redis: Redis, keys: Keys) -> _Alerting | None:
        urls = self._settings.alerts.urls
        if not urls:
            return None
        notifiers = [AppriseNotifier(url.get_secret_value()) for url in urls]
        return _Alerting(
            Alerts(redis, keys, notifiers, self._clock, self._metrics),
            PauseAlerts(redis, keys, notifiers, self._clock, self._metrics),
        )

    async def _lead(self, shard: _Shard, redis: Redis, nonce: str) -> None:
        """What only the holder of the shard's lease does."""
        async with asyncio.TaskGroup() as group:
            if shard.alerts is not None:
                await shard.alerts.events.prepare()
                group.create_task(shard.alerts.events.run(), name=f"alerts-{shard.keys.shard}")
                group.create_task(shard.alerts.pauses.run(), name=f"pauses-{shard.keys.shard}")
            group.create_task(shard.poller.run(nonce), name=f"poller-{shard.keys.shard}")
            group.create_task(self._trim(shard, redis), name=f"trim-{shard.keys.shard}")

    async def _trim(self, shard: _Shard, redis: Redis) -> None:
        while True:
            await self._clock.sleep(TRIMMING)
            before = from_seconds(self._clock.time() - self._settings.events.retention)
            with store_errors():
                needed = [await needed_from(redis, shard.keys)]
                if shard.alerts is not None:
                    needed.append(await shard.alerts.events.needed_from())
            known = [each for each in needed if each is not None]
            await trim(redis, shard.keys, before, min(known, key=order, default=None))

    def _keep(self, stack: AsyncExitStack, name: str, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._supervisor.keep(name, work), name=name)
        stack.push_async_callback(_cancelled, task)


def policy_of(settings: Settings) -> PollPolicy:
    """How to poll."""
    return PollPolicy(
        start=settings.poll.start,
        kinds=kinds_of(frozenset(settings.events.types)),
        interval=settings.poll.interval,
        horizon=settings.poll.horizon,
        stalled_after=settings.poll.stalled_after,
        target_delay=settings.poll.target_delay,
    )


def publication_of(settings: Settings) -> Publication:
    """How events look."""
    return Publication(
        namespace=settings.redis.namespace,
        source=f"{settings.monite.base_url}/ocr_tasks",
        recognized_data=settings.events.recognized_data,
        document_types=frozenset(settings.monite.document_types),
    )


def budget_of(settings: Settings, redis: Redis, clock: Clock) -> SharedBudget:
    """The request budget that everything with these settings shares; its keys are the same for all shards."""
    window = Window.of_rate(settings.monite.requests_per_second)
    keys = Keys(settings.redis.namespace, 0, settings.redis.shards)
    return SharedBudget(redis, keys, clock, limit=window.limit, window_seconds=window.length)


async def _keep_running(server: EmbeddedServer) -> None:
    """Start the embedded store again whenever it ends by itself."""
    while True:
        code = await server.wait()
        log.error("store.embedded.died", code=code)
        await server.start()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
