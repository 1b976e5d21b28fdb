"""The consumer group that turns the stream of events into deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from redis.asyncio import Redis

from watcher.events.group import ConsumerGroup, may_be_lost
from watcher.settings import Endpoint
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.replicas import Replicas
from watcher.webhooks.routing import Routed

GROUP: Final = "webhooks"

ROOM: Final = 1000
"""Deliveries due to an endpoint from which on it lags: what comes then takes no memory beside its event's."""

VERSION: Final = "#version"
"""Field of the hash of what lags that is another value whenever an endpoint begins or ends to lag."""

_PACKAGE: Final = "watcher.webhooks"

Entry = tuple[str, dict[bytes, bytes]]
"""A stream entry: its id and its fields, which are empty when it has been deleted since."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """How many entries became how many deliveries.

    ``behind``: the rest has to wait for what another reader of the group was given and has not accepted.
    """

    entries: int
    deliveries: int
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint as ``accept.lua`` is told of it, made once: the script is called for every event."""

    keys: tuple[str, str]
    order_keys: tuple[str, ...]
    words: tuple[str, int, str]

    @classmethod
    def of(cls, endpoint: Endpoint, keys: Keys) -> Self:
        """An endpoint's place in a shard."""
        name = endpoint.name
        first_delay = int(endpoint.retry_schedule[0] * 1000)
        order = "newest" if endpoint.coalesce else endpoint.order
        return cls(
            (keys.due(name), keys.waiting(name)),
            () if order == "none" else (keys.line(name), keys.ordered(name)),
            (name, first_delay, order),
        )


class EventGroup:
    """This process's part in the group, under the name ``consumer``.

    An entry is accepted once ``wait_replicas`` replicas of the store have it. An endpoint with ``room`` deliveries that
    are due lags: what else is accepted for it stays on the stream, and ``Backlog`` draws it from there.
    """

    def __init__(
        self, redis: Redis, keys: Keys, consumer: str, wait_replicas: int = 0, *, room: int = ROOM
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._consumer = consumer
        self._group = ConsumerGroup(redis, keys, GROUP)
        self._replicas = Replicas(redis, keys, wait_replicas)
        self._room = room
        self._lags: Mapping[str, tuple[int, int]] = {}
        self._version = b""
        self._accept = redis.register_script(script(_PACKAGE, "accept"))

    async def join(self) -> str | None:
        """Make sure that there is a group. Returns the id after which it begins if it had to be made.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return await self._group.join(first="oldest")

    async def read(self, *, count: int, block_ms: int) -> list[Entry]:
        """New entries, waiting for the first up to ``block_ms``.

        Raises:
            GroupLost: the server does not know the group any more; ``join`` makes it again.
        """
        return await self._read(">", count, block_ms)

    async def pending(self, *, count: int) -> list[Entry]:
        """Entries that were given to this consumer and not acknowledged: left over from before a restart.

        Raises:
            GroupLost: the server does not know the group any more; ``join`` makes it again.
        """
        return await self._read("0", count, None)

    async def _read(self, start: str, count: int, block_ms: int | None) -> list[Entry]:
        streams: Any = {self._keys.events: start}
        with may_be_lost():
            answer = await self._redis.xreadgroup(GROUP, self._consumer, streams, count=count, block=block_ms)
        return _entries(answer)

    async def take_over(self, *, idle_ms: int, count: int) -> list[Entry]:
        """Entries that some consumer was given so long ago and has not acknowledged; they are this one's now.

        Raises:
            GroupLost: the server does not know the group any more; ``join`` makes it again.
        """
        with may_be_lost():
            answer: Any = await self._redis.xautoclaim(
                self._keys.events, GROUP, self._consumer, min_idle_time=idle_ms, count=count
            )
        return [(entry_id.decode(), fields) for entry_id, fields in answer[1]]

    def places(self, endpoints: Sequence[Endpoint]) -> list[Place]:
        """Where the deliveries to these endpoints go."""
        return [Place.of(endpoint, self._keys) for endpoint in endpoints]

    async def accept(self, routed: Sequence[Routed], places: Sequence[Place], *, now: float) -> Accepted:
        """Acknowledge entries and make deliveries of them, in one atomic step. ``now`` is in unix seconds.

        Entries rise; what is for an endpoint that keeps the order is accepted after everything before it.
        """
        await self._replicas.caught_up()
        while True:
            accepted = await self._accept_beside_lags(routed, places, now)
            if accepted is not None:
                return accepted

    async def _accept_beside_lags(
        self, routed: Sequence[Routed], places: Sequence[Place], now: float
    ) -> Accepted | None:
        """Do so, leaving out what stays on the stream; None if it was not known who lags, and is by now."""
        for_whom = (
            [self._at_once(one, places) for one in routed]
            if self._lags
            else [one.endpoints for one in routed]
        )
        used = sorted({position for positions in for_whom for position in positions})
        number = {position: f",{index}" for index, position in enumerate(used, start=1)}
        # In one argument: each by itself would cost the client more than all the rest.
        entries = " ".join(
            f"{one.entry_id}:{''.join([number[position] for position in positions])}"
            f"{'=' if one.task else ''}{one.task}"
            for one, positions in zip(routed, for_whom, strict=True)
        )
        keys = [self._keys.events, self._keys.cursor(GROUP), self._keys.endpoints, self._keys.lagging]
        order_keys: list[str] = []
        arguments: list[str | int | bytes] = [GROUP, int(now * 1000), self._room, self._version, entries]
        for whose in [places[position] for position in used]:
            keys += whose.keys
            order_keys += whose.order_keys
            arguments += whose.words
        accepted, deliveries, behind, lagging = await self._accept(keys=keys + order_keys, args=arguments)
        if lagging:
            known = dict(zip(lagging[::2], lagging[1::2], strict=True))
            self._version = known[VERSION.encode()]
            self._lags = {name: place(after) for name, after in lags(known).items()}
        return None if lagging and not accepted else Accepted(accepted, deliveries, bool(behind))

    def _at_once(self, one: Routed, places: Sequence[Place]) -> tuple[int, ...]:
        """Those of its endpoints that do not lag, or not so far back."""
        here, everywhere = place(one.entry_id), self._lags
        return tuple(
            position
            for position in one.endpoints
            if (after := everywhere.get(places[position].words[0])) is None or here <= after
        )


def lags(lagging: Mapping[bytes, bytes]) -> dict[str, str]:
    """Of what the store keeps of endpoints that lag, up to which id each has its deliveries."""
    return {
        name.decode(): lag.decode().partition(" ")[0]
        for name, lag in lagging.items()
        if name != VERSION.encode()
    }


def place(entry_id: str) -> tuple[int, int]:
    """Where an entry is on the stream: what it is compared by."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)


def _entries(answer: Any) -> list[Entry]:
    """The entries of a read of one stream, in whichever shape the protocol version gives it."""
    if isinstance(answer, dict):  # RESP3
        chunks = [chunk for stream in answer.values() for chunk in stream]
        # The client's older shape wraps the entries in one more list.
        chunks = chunks[0] if chunks and isinstance(chunks[0], list) else chunks
    else:
        chunks = [entry for _, entries in answer for entry in entries]
    return [(entry_id.decode(), fields) for entry_id, fields in chunks]
