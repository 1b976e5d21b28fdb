"""Webhooks as a whole: one dispatcher, one lane for each endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

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
from watcher.webhooks.crew import Crew
from watcher.webhooks.dispatcher import TAKE_OVER_AFTER, Dispatcher
from watcher.webhooks.group import EventGroup
from watcher.webhooks.lane import Lane
from watcher.webhooks.outage import Outage
from watcher.webhooks.permission import Permission
from watcher.webhooks.queue import DeliveryQueue
from watcher.webhooks.routing import Router
from watcher.webhooks.sender import HttpSender, Sender
from watcher.webhooks.stats import known_endpoints, lane_stats
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
        self._readers = EventGroup(redis, keys, consumer, wait_replicas)
        self._take_over_after = take_over_after
        self._outage = Outage(clock)
        self._make_sender = sender
        self._slots = slots
        self._shards = shards
        self._senders = [sender(endpoint, clock) for endpoint in endpoints]
        self._changing = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._crews: list[Crew] = []
        self._permissions: dict[str, Permission] = {}
        self._stopped = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()

    async def run(self) -> None:
        """Deliver until ``stop``, or until cancelled; either way claims are given back. May be run again."""
        self._stopped.clear()
        self._over.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._begin(group)
                await self._stopped.wait()
        finally:
            self._group = None
            self._crews.clear()
            self._over.set()

    async def reload(self, endpoints: Sequence[Endpoint], grace_seconds: float) -> None:
        """Go on with other endpoints, at once: what is under way may end within the grace beside what is begun anew.

        What waits for an endpoint that is left out is kept.

        Raises:
            ConfigurationError: an endpoint's certificate file cannot be used; all is as it was.
        """
        senders = [self._make_sender(endpoint, self._clock) for endpoint in endpoints]
        async with self._changing:
            self._endpoints, self._senders = endpoints, senders
            if self._group is None:
                return
            before = self._crews[-1]
            await (
                before.dismiss()
            )  # else it would accept for its own endpoints what is meant for the new ones, too
            if self._group is not None:  # else it has died meanwhile
                self._begin(self._group)
                self._group.create_task(self._let_end(before, grace_seconds), name="webhooks end")

    async def stop(self, grace_seconds: float) -> None:
        """Claim no more, and let the attempts under way end within the grace; the rest is given back.

        When it returns, ``run`` has ended. If the store is away, it takes some seconds more than the grace.
        It does nothing while ``run`` is not running.
        """
        async with self._changing:
            await asyncio.gather(*(crew.end(grace_seconds) for crew in self._crews))
            self._group = None  # which takes no more
            self._stopped.set()
            await self._over.wait()

    async def _let_end(self, crew: Crew, grace_seconds: float) -> None:
        await crew.end(grace_seconds)
        self._crews.remove(crew)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        for endpoint in self._endpoints:
            url = URL(endpoint.url)
            if url.scheme == "http" and leads_outside(url.host or ""):
                _log.warning("endpoint.not_encrypted", endpoint=endpoint.name, mend="give an https URL")
        lanes = [
            self._lane(endpoint, sender)
            for endpoint, sender in zip(self._endpoints, self._senders, strict=True)
        ]
        dispatcher = Dispatcher(
            self._readers,
            self._endpoints,
            clock=self._clock,
            outage=self._outage,
            told=lambda position, number, size: lanes[position].accepted(number, size),
            take_over_after=self._take_over_after,
        )
        names = [endpoint.name for endpoint in self._endpoints]
        crew = Crew(dispatcher, dict(zip(names, lanes, strict=True)), self._senders, self._tell_of_strangers)
        self._crews.append(crew)
        crew.begin(group)

    def _lane(self, endpoint: Endpoint, sender: Sender) -> Lane:
        async def note(why: str) -> None:
            await self._outage.through(
                f"permission {endpoint.name}",
                lambda: note_refusal(self._redis, self._keys, endpoint.name, why),
            )

        async def silent() -> bool:
            place = self._keys.lane(endpoint.name)
            found: Any = await self._outage.through(
                f"pause of {endpoint.name}", lambda: self._redis.hmget(place, "paused", "hold")
            )
            paused, hold = found
            return paused is not None or int(hold or 0) > self._clock.time() * 1000

        earlier = self._permissions.get(endpoint.name)
        permission = Permission(
            endpoint,
            sender,
            clock=self._clock,
            jitter=self._jitter,
            note=note,
            silent=silent,
            earlier=earlier.learned if earlier else None,
        )
        self._permissions[endpoint.name] = permission
        return Lane(
            endpoint.name,
            DeliveryQueue(
                self._redis,
                self._keys,
                endpoint.name,
                rate=permission.rate,
                coalesce=endpoint.coalesce,
                wanted=Router((endpoint,)).word,
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
                if waiting := (await lane_stats(self._redis, self._keys, name)).depth:
                    _log.warning("webhooks.endpoint_not_configured", endpoint=name, waiting=waiting)

        await self._outage.through("endpoints", look)
