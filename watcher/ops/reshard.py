"""Changes the number of shards: moves the state under everybody's leases, without losing or repeating an event.

What is to be stands in the layout before anything is moved and while it is, so no daemon starts, and a change that
was broken off is ended by doing it again. Events and deliveries stay where they are: see ``watcher.state.layout``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreError, StoreUnavailable
from watcher.events.stream import order
from watcher.fleet.registry import read_replicas
from watcher.polling.lifetimes import Histogram
from watcher.state.format import readable
from watcher.state.keys import Keys
from watcher.state.layout import Layout, refusal
from watcher.state.lease import RENEWAL, TERM, Lease, LeaseLostError, holder_of
from watcher.state.moving import Mover, misplaced
from watcher.state.replicas import Replicas
from watcher.state.spread import change_layout, read_layout
from watcher.state.store import Store, store_errors
from watcher.webhooks.stats import all_stats, known_endpoints

PAUSE: Final = ("paused", "paused_at", "told")
"""The fields of a lane that say that it is paused."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a tag that is retired still has: events kept, deliveries that wait, dead letters."""

    tag: str
    events: int
    waiting: int
    dead: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What a change would do. ``layout`` has it as begun; ``moving`` of the ``scopes`` change their place."""

    layout: Layout
    scopes: int
    moving: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change has come: scopes moved, of how many, and the keys that were copied for them."""

    moved: int
    of: int
    keys: int


async def survey(redis: Redis, namespace: str, shards: int) -> Survey | None:
    """What a change to so many shards would do; None if there are so many.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: nothing is stored yet, another change is under way, or another version has written the store.
    """
    layout = await read_layout(redis, namespace)
    if layout is None:
        raise StoreError(
            f"nothing is stored in namespace {namespace} yet: set WATCHER_REDIS__SHARDS={shards} and start the daemon"
        )
    if layout.upcoming not in (None, shards):
        raise StoreError(refusal(layout, shards))
    if layout.shards == shards and layout.upcoming is None:
        return None
    begun = layout.begun(shards)
    await readable(redis, [*begun.active, *begun.retired])
    moving, scopes = await misplaced(redis, begun)
    left = [await _left(redis, keys) for keys in begun.done().retired]
    return Survey(begun, scopes, len(moving), tuple(left))


async def reshard(
    redis: Redis, clock: Clock, found: Survey, tell: Callable[[Progress], None], wait_replicas: int = 0
) -> Progress:
    """Do what was surveyed, or the rest of it. ``tell`` hears of each scope that was moved.

    What is removed stands elsewhere by then, on ``wait_replicas`` replicas of the store, too.

    Raises:
        StoreUnavailable: the store does not answer; do it again.
        StoreError: a daemon lives, a lease is held, a backfill is under way, or somebody else was quicker.
    """
    layout = found.layout
    if replicas := await read_replicas(redis, layout.active[0]):
        names = ", ".join(each.name for each in replicas)
        raise StoreError(
            f"the daemon still runs: {names}; stop it first (one that was killed counts for {TERM:.0f} s more)"
        )
    async with _leases(redis, layout.all, clock) as leases:
        work = asyncio.ensure_future(_work(redis, layout, leases, tell, wait_replicas))
        renewing = asyncio.ensure_future(_renew(leases, clock))
        try:
            await asyncio.wait((work, renewing), return_when=asyncio.FIRST_COMPLETED)
            return (work if work.done() else renewing).result()
        except LeaseLostError as error:
            raise StoreError("somebody else has taken a lease meanwhile: do it again") from error
        finally:
            for task in (work, renewing):
                task.cancel()
            await asyncio.wait((work, renewing))


async def _work(
    redis: Redis,
    layout: Layout,
    leases: Sequence[tuple[Keys, Lease]],
    tell: Callable[[Progress], None],
    wait_replicas: int,
) -> Progress:
    nonces = {keys.tag: lease.nonce for keys, lease in leases}
    mover = Mover(redis, nonces, wait_replicas)
    await _begin(redis, layout)
    with store_errors():
        await Replicas(redis, Keys(layout.namespace), wait_replicas).caught_up()
    await _prepare(redis, layout, mover, nonces)
    moving, _ = await misplaced(redis, layout)
    copied = 0
    for number, move in enumerate(moving, start=1):
        copied += await mover.move(move)
        tell(Progress(number, len(moving), copied))
    if not await change_layout(redis, layout, layout.done()):
        raise LeaseLostError
    for keys in layout.leaving:
        await mover.remove(keys, [keys.hinted, keys.lifetimes, keys.backfill, keys.weight])
    return Progress(len(moving), len(moving), copied)


async def _begin(redis: Redis, layout: Layout) -> None:
    """Note what is to be, unless it is noted already."""
    held = await read_layout(redis, layout.namespace)
    if held == layout:
        return
    for keys in layout.active:
        job = await Store(redis, keys).backfill()
        if job is not None and not job.done:
            raise StoreError(
                f"a backfill is under way in shard {keys.shard}: let a daemon end it, or call it off with "
                "`watcher backfill --stop`"
            )
    if held is None or held.begun(layout.target[0].shards) != layout:
        raise LeaseLostError
    if not await change_layout(redis, held, layout):
        raise LeaseLostError


async def _prepare(redis: Redis, layout: Layout, mover: Mover, nonces: dict[str, str]) -> None:
    """Give the shards that are to be what the ones that are know in common."""
    retired = {keys.tag for keys in layout.retired}
    stale = [keys for keys in layout.entering if keys.tag not in retired]
    with store_errors():
        for keys in stale:
            lanes = [keys.lane(name) for name in await known_endpoints(redis, keys)]
            await mover.remove(keys, [keys.format, *lanes])
        for name, pause in (await _pauses(redis, layout.active)).items():
            for keys in layout.entering:
                await redis.sadd(keys.endpoints, name)
                await redis.hset(keys.lane(name), mapping=pause)
        # The least that any has taken in: a hint that is looked at twice costs nothing but a request.
        hinted: list[Any] = [await redis.get(keys.hinted) for keys in layout.active]
        if known := [each.decode() for each in hinted if each is not None]:
            for keys in layout.target:
                await redis.set(keys.hinted, min(known, key=order))
    learned = await _learned(redis, layout.active)
    for keys in layout.entering:
        await mover.remove(keys, [keys.lifetimes, keys.backfill])
        await Store(redis, keys).save_lifetimes(learned, nonces[keys.tag])


async def _pauses(redis: Redis, shards: Sequence[Keys]) -> dict[str, dict[Any, Any]]:
    """The endpoints that are paused in some shard, and what says so."""
    found: dict[str, dict[Any, Any]] = {}
    for keys in shards:
        for name in await known_endpoints(redis, keys):
            values: Any = await redis.hmget(keys.lane(name), PAUSE)
            if values[0]:
                found[name] = {field: value for field, value in zip(PAUSE, values, strict=True) if value}
    return found


async def _learned(redis: Redis, shards: Sequence[Keys]) -> dict[str, bytes]:
    """What was learned of each document type by the shard that has seen most of it."""
    best: dict[str, Histogram] = {}
    for keys in shards:
        for name, record in (await Store(redis, keys).load_lifetimes()).items():
            histogram = Histogram.decode(record)
            if histogram is not None and histogram.weight > best.get(name, Histogram()).weight:
                best[name] = histogram
    return {name: histogram.encode() for name, histogram in best.items()}


async def _left(redis: Redis, keys: Keys) -> Left:
    with store_errors():
        stats = (await all_stats(redis, [keys], [])).values()
        events = int(await redis.xlen(keys.events))
    return Left(keys.tag, events, sum(each.depth for each in stats), sum(each.dead_letters for each in stats))


@asynccontextmanager
async def _leases(
    redis: Redis, places: Sequence[Keys], clock: Clock
) -> AsyncIterator[list[tuple[Keys, Lease]]]:
    """Take all of these leases, and give them up in the end.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreError: somebody holds one of them.
    """
    taken: list[tuple[Keys, Lease]] = []
    try:
        for keys in places:
            lease = Lease(redis, keys, clock)
            if not await lease.acquire():
                with store_errors():
                    nonce: Any = await redis.get(keys.lease)
                holder = holder_of(nonce.decode()) if nonce else "somebody"
                raise StoreError(
                    f"{holder} holds {keys.lease}: stop it first; the lease of one that was killed lapses "
                    f"within {TERM:.0f} s"
                )
            taken.append((keys, lease))
        yield taken
    finally:
        for _, lease in taken:
            try:
                await lease.release()
            except StoreUnavailable:
                break  # they lapse


async def _renew(leases: Sequence[tuple[Keys, Lease]], clock: Clock) -> Progress:
    """Hold them, until cancelled. Raises ``LeaseLostError``."""
    while True:
        await clock.sleep(RENEWAL)
        for _, lease in leases:
            try:
                held = await lease.renew()
            except StoreUnavailable:
                held = lease.held
            if not held:
                raise LeaseLostError
