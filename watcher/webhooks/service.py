"""Webhooks as a whole: one dispatcher, one lane for each endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis
from yarl import URL

from watcher.clock import Clock
from watcher.fleet.slots import Slots
from watcher.metrics import Metrics
from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.webhooks.address import leads_outside
from watcher.webhooks.control import note_refusal
from watcher.webhooks.courier import Courier
from watcher.webhooks.dispatcher import TAKE_OVER_AFTER, Dispatcher
from watcher.webhooks.group import EventGroup
from watcher.webhooks.lane import Lane
from watcher.webhooks.outage import Outage
from watcher.webhooks.permission import Permission
from watcher.webhooks.queue import DeliveryQueue
from watcher.webhooks.sender import HttpSender, Sender
from watcher.webhooks.stats import known_endpoints
from watcher.webhooks.word import Word

_log = structlog.get_logger()


class Webhooks:
    """Delivers the events of one shard to every endpoint. Any number of replicas may run.

    It is of use without endpoints, too: it keeps the place in the stream from which an endpoint that is
    configured later begins. ``consumer`` is this process's name, different from every other replica's.
    ``jitter`` gives a fraction from 0 to 1, anew each time. ``slots`` gives what bounds the attempts at an endpoint
    that are under way at once: its own ``concurrency`` where this is the only shard and replica. ``wait_replicas``
    of the store must have an event before it is delivered. ``shards`` gives the keys of all shards that are delivered
    from: what an endpoint says of itself holds for all.

    Raises:
        ConfigurationError: from the constructor, where an endpoint's certificate file cannot be used.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        endpoints: Sequence[Endpoint],
        *,
        clock: Clock,
        metrics: Metrics,
        jitter: Callable[[], float],
        consumer: str,
        sender: Callable[[Endpoint, Clock], Sender] = HttpSender,
        slots: Callable[[Endpoint], Slots] = lambda endpoint: Slots(endpoint.concurrency),
        take_over_after: float = TAKE_OVER_AFTER,
        wait_replicas: int = 0,
        shards: Callable[[], Sequence[Keys]] = tuple,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._endpoints = endpoints
        self._clock = clock
        self._metrics = metrics
        self._jitter = jitter
        self._group = EventGroup(redis, keys, consumer, wait_replicas)
        self._take_over_after = take_over_after
        self._outage = Outage(clock)
        self._make_sender = sender
        self._slots = slots
        self._shards = shards
        self._senders = [sender(endpoint, clock) for endpoint in endpoints]
        self._next: tuple[Sequence[Endpoint], list[Sender]] | None = None
        self._lanes: list[Lane] = []
        self._dispatcher: Dispatcher | None = None
        self._running: asyncio.Task[None] | None = None
        self._dispatching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Deliver until ``stop``, or until cancelled; either way claims are given back. May be run again."""
        while True:
            await self._run_to_its_end()
            if self._next is None:
                return
            (self._endpoints, self._senders), self._next = self._next, None

    async def _run_to_its_end(self) -> None:
        self._running = asyncio.create_task(self._run(), name="webhooks")
        try:
            await self._running
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                raise
            # Else it was `stop` or `reload` that ended it.
        finally:
            self._running = self._dispatching = None

    async def reload(self, endpoints: Sequence[Endpoint], grace_seconds: float) -> None:
        """Go on with other endpoints. What is under way may end within the grace, the rest is begun anew.

        What waits for an endpoint that is left out is kept.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used; all is as it was.
        """
        senders = [self._make_sender(endpoint, self._clock) for endpoint in endpoints]
        self._next = endpoints, senders
        if self._running is None:
            (self._endpoints, self._senders), self._next = self._next, None
        else:
            await self._end(grace_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Claim no more, and let the attempts under way end within the grace; the rest is given back.

        When it returns, ``run`` has ended. If the store is away, it takes some seconds more than the grace.
        It does nothing while ``run`` is not running.
        """
        self._next = None
        await self._end(grace_seconds)

    async def _end(self, grace_seconds: float) -> None:
        running = self._running
        if running is None:
            return
        for lane in self._lanes:
            lane.stop()
        if self._dispatcher is None or self._dispatching is None:
            running.cancel()  # it has not even begun
        else:
            self._dispatcher.stop()
            self._dispatching.cancel()
        await asyncio.wait({running}, timeout=grace_seconds)
        running.cancel()
        await asyncio.wait({running})

    async def _run(self) -> None:
        for endpoint in self._endpoints:
            url = URL(endpoint.url)
            if url.scheme == "http" and leads_outside(url.host or ""):
                _log.warning("endpoint.not_encrypted", endpoint=endpoint.name, mend="give an https URL")
        self._lanes = [
            self._lane(endpoint, sender)
            for endpoint, sender in zip(self._endpoints, self._senders, strict=True)
        ]
        self._dispatcher = dispatcher = Dispatcher(
            self._group,
            self._endpoints,
            clock=self._clock,
            outage=self._outage,
            wake=lambda position: self._lanes[position].wake(),
            take_over_after=self._take_over_after,
        )
        try:
            async with asyncio.TaskGroup() as group:
                self._dispatching = group.create_task(dispatcher.run(), name="webhooks dispatch")
                for lane, endpoint in zip(self._lanes, self._endpoints, strict=True):
                    group.create_task(lane.run(), name=f"webhooks lane {endpoint.name}")
                group.create_task(self._tell_of_strangers(), name="webhooks strangers")
        finally:
            for sender in self._senders:
                await sender.close()

    def _lane(self, endpoint: Endpoint, sender: Sender) -> Lane:
        async def note(why: str) -> None:
            await self._outage.through(
                f"permission {endpoint.name}",
                lambda: note_refusal(self._redis, self._keys, endpoint.name, why),
            )

        permission = Permission(endpoint, sender, clock=self._clock, jitter=self._jitter, note=note)
        return Lane(
            endpoint.name,
            DeliveryQueue(
                self._redis, self._keys, endpoint.name, rate=permission.rate, coalesce=endpoint.coalesce
            ),
            Courier(endpoint, sender, clock=self._clock, jitter=self._jitter, metrics=self._metrics),
            permission=permission,
            concurrency=endpoint.concurrency,
            slots=self._slots(endpoint),
            clock=self._clock,
            outage=self._outage,
            jitter=self._jitter,
            word=Word(self._redis, self._keys, endpoint.name, self._shards, self._outage),
        )

    async def _tell_of_strangers(self) -> None:
        """Deliveries for an endpoint that is configured no longer keep their events on the stream: say so."""

        async def look() -> None:
            configured = {endpoint.name for endpoint in self._endpoints}
            for name in sorted(await known_endpoints(self._redis, self._keys) - configured):
                if waiting := await self._redis.zcard(self._keys.waiting(name)):
                    _log.warning("webhooks.endpoint_not_configured", endpoint=name, waiting=waiting)

        await self._outage.through("endpoints", look)
