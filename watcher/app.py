"""The composition root: the only place that builds clients and reads settings.

Building registers its undo; stopping is the reverse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from watcher.clock import Clock, SystemClock
from watcher.derived import budget_of
from watcher.fleet.leadership import Quota
from watcher.fleet.membership import Membership
from watcher.fleet.registry import Registry, forget_the_dead
from watcher.fleet.slots import Shares
from watcher.metrics import Metrics
from watcher.monite.opened import open_api
from watcher.ops.access import Access
from watcher.ops.intake import HintIntake
from watcher.ops.observer import Observed, Observer
from watcher.ops.server import OpsServer
from watcher.polling.board import blind
from watcher.polling.hint_desk import SHARE, Spacing
from watcher.retired import Retired
from watcher.settings import Settings
from watcher.settings.values import is_loopback
from watcher.shard import Shard, Site
from watcher.state.budget import SharedBudget
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.format import guard
from watcher.state.hints import HintStream
from watcher.state.inspection import warn
from watcher.state.keys import Keys
from watcher.state.layout import shards_of
from watcher.state.spread import Spread
from watcher.supervision import Supervisor
from watcher.webhooks.service import Webhooks

GRACE: Final = 10.0
"""Seconds that deliveries under way have to end after a signal to stop."""

log = structlog.get_logger()


class App:
    """The daemon: everything it is made of, from its settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock: Clock = SystemClock()
        self._metrics = Metrics()
        self._supervisor = Supervisor(self._clock)
        self._parts: list[Shard] = []
        self._retired: Retired | None = None
        self._observer: Observer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end cleanly: leases given up, deliveries under way finished.

        A store or an API that is away is waited for.

        Raises:
            ConfigurationError: the listener's address, or the embedded store's directory or port, cannot be used.
            StoreError: the embedded store cannot be run here, the store is too old, a later version has written it, or
                its state is spread over another number of shards.
        """
        async with AsyncExitStack() as stack:
            namespace, shards = self._settings.redis.namespace, self._settings.redis.shards
            keys = shards_of(namespace, shards)
            redis = await self._open_store(stack, keys)
            budget = budget_of(self._settings, redis, self._clock)
            client = await stack.enter_async_context(
                open_api(self._settings.monite, budget, self._clock, self._metrics)
            )
            quota, shares = Quota(), Shares()
            looks = Spacing(
                self._settings.monite.requests_per_second * SHARE,
                self._clock,
                lambda: max(1, quota.limit) / shards,  # of all replicas, in proportion to what each polls
            )
            spread = Spread(redis, namespace, shards, self._clock)
            site = Site(
                self._settings,
                redis,
                client,
                self._clock,
                self._metrics,
                looks,
                quota,
                shares,
                spread,
                lambda: [*keys, *(self._retired.keys if self._retired else ())],
            )
            parts = self._parts = [site.shard(each) for each in keys]
            retired = self._retired = Retired(
                spread,
                lambda left: replace(site, settings=self._settings).shard(left, retired=True),
                self._clock,
            )
            membership = Membership(
                Registry(redis, keys[0]),
                [shard.leadership for shard in parts],
                quota,
                shares,
                # That all scopes fail shows late where they are many: while the API fails one request tries for all.
                lambda: client.failing or blind(shard.board for shard in parts if shard.leadership.held),
                self._clock,
                self._metrics,
            )
            stack.push_async_callback(membership.leave)
            self._keep(stack, "fleet", partial(_once_fitting, spread, membership.run))
            self._observer = await self._serve(stack, redis, parts, retired, budget, membership)
            works = [(retired.stop, self._keep(stack, "retired", retired.run))]
            for shard in parts:
                task = self._keep(stack, f"webhooks-{shard.keys.shard}", shard.deliver)
                works.append((shard.webhooks.stop, task))
            stack.push_async_callback(_stopped, works)
            for shard in parts:
                self._keep(stack, f"shard-{shard.keys.shard}", shard.lead)
            formats = [shard.format for shard in parts]
            await _first(
                stop.wait(), spread.guard(), _once_fitting(spread, partial(guard, formats, self._clock))
            )

    async def reload(self, settings: Settings) -> None:
        """Go on with the endpoints of other settings; nothing else of them takes effect before a restart.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used; all is as it was.
        """
        places: list[Webhooks | Retired] = [shard.webhooks for shard in self._parts]
        if self._retired is not None:
            places.append(self._retired)
        await asyncio.gather(*(place.reload(settings.webhooks, GRACE) for place in places))
        self._settings = self._settings.model_copy(update={"webhooks": settings.webhooks})
        names = [endpoint.name for endpoint in settings.webhooks]
        if self._observer is not None:
            self._observer.endpoints = names
        log.info("endpoints.reloaded", endpoints=names)
        if settings != self._settings:
            log.warning("settings.need_restart", why="more than the endpoints has changed")

    async def _open_store(self, stack: AsyncExitStack, keys: Sequence[Keys]) -> Redis:
        wanted = self._settings.redis
        if wanted.url is not None:
            redis = connect(wanted.url.get_secret_value(), readers=2 * len(keys))
            stack.push_async_callback(redis.aclose)
            at_risk = partial(warn, failover=wanted.survives_a_server, wait_replicas=wanted.wait_replicas)
            self._keep(stack, "durability", partial(at_risk, redis, self._clock))
            return redis
        server = EmbeddedServer(wanted.data_dir, wanted.port)
        await server.start()
        stack.push_async_callback(server.stop)
        self._keep(stack, "store", partial(_keep_running, server))
        redis = connect(server.url, readers=2 * len(keys))
        stack.push_async_callback(redis.aclose)
        # The directory is this daemon's alone, so a lease found here is that of one that was killed.
        await forget_the_dead(redis, keys)
        return redis

    async def _serve(
        self,
        stack: AsyncExitStack,
        redis: Redis,
        shards: list[Shard],
        retired: Retired,
        budget: SharedBudget,
        membership: Membership,
    ) -> Observer:
        observer = Observer(
            redis,
            [Observed(shard.keys, shard.leadership, shard.board) for shard in shards],
            [endpoint.name for endpoint in self._settings.webhooks],
            retired=lambda: retired.keys,
            refused=lambda: membership.trouble,
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

    def _keep(
        self, stack: AsyncExitStack, name: str, work: Callable[[], Awaitable[None]]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(self._supervisor.keep(name, work), name=name)
        stack.push_async_callback(_cancelled, task)
        return task


async def _once_fitting(spread: Spread, work: Callable[[], Awaitable[None]]) -> None:
    """Do it once the state is known to be spread over as many shards as this daemon was told."""
    await spread.until()
    await work()


async def _keep_running(server: EmbeddedServer) -> None:
    """Start the embedded store again whenever it ends by itself."""
    while True:
        code = await server.wait()
        log.error("store.embedded.died", code=code)
        await server.start()


async def _first(*works: Coroutine[object, object, object]) -> None:
    """Return, or raise what it raises, as soon as one of them ends."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            if not task.done():
                await _cancelled(task)


async def _stopped(works: Sequence[tuple[Callable[[float], Awaitable[None]], asyncio.Task[None]]]) -> None:
    """Stop what delivers, all of it at once, so that none sends on while another uses its grace."""

    async def one(stop: Callable[[float], Awaitable[None]], task: asyncio.Task[None]) -> None:
        await stop(GRACE)
        await _cancelled(task)  # it may not have begun, and would now

    await asyncio.gather(*(one(stop, task) for stop, task in works))


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
