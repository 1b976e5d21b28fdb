"""The lease: at most one daemon polls a shard, and every write proves that it still does.

The fence is a nonce with random bits, not a counter: after a split brain two holders could have the same
number. It begins with the holder's host and process, for people.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors

TERM: Final = 15.0
"""Seconds that a lease lasts: how long a dead holder's work waits for another."""
RENEWAL: Final = TERM / 3
"""Seconds between renewals: two may fail before the lease is given up."""
PATIENCE: Final = TERM * 2 / 3
"""Seconds on the monotonic clock after which a holder that could not renew stops by itself."""
RETRY: Final = 1.0
"""Seconds between two attempts to take a lease that another holds."""

log = structlog.get_logger()


class LeaseLostError(Exception):
    """Another daemon holds the lease, or may: stop writing."""


def holder_of(nonce: str) -> str:
    """Who made a nonce: host and process, without what makes it unique."""
    return nonce.rpartition("/")[0] or nonce


class Lease:
    """One shard's lease. All methods raise ``StoreUnavailable`` when the store does not answer."""

    def __init__(self, redis: Redis, keys: Keys, clock: Clock) -> None:
        self._redis = redis
        self._key = keys.lease
        self._clock = clock
        self._renew = redis.register_script(script(__package__, "renew"))
        self._release = redis.register_script(script(__package__, "release"))
        self._sure_until = float("-inf")
        self.nonce = ""

    @property
    def held(self) -> bool:
        """Whether this process may still take itself for the holder."""
        return self._clock.monotonic() < self._sure_until

    async def acquire(self) -> bool:
        """Take the lease under a fresh nonce if nobody holds it."""
        asked_at = self._clock.monotonic()
        nonce = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(16)}"
        with store_errors():
            taken = await self._redis.set(self._key, nonce, nx=True, px=round(TERM * 1000))
        if taken:
            self.nonce = nonce
            self._sure_until = asked_at + PATIENCE
        return bool(taken)

    async def renew(self) -> bool:
        """Hold it for another term; False if it is no longer ours."""
        asked_at = self._clock.monotonic()
        with store_errors():
            held = await self._renew(keys=[self._key], args=[self.nonce, round(TERM * 1000)])
        if held:
            self._sure_until = asked_at + PATIENCE
        return bool(held)

    async def release(self) -> None:
        """Give it up, so that another takes over at once."""
        self._sure_until = float("-inf")
        with store_errors():
            await self._release(keys=[self._key], args=[self.nonce])


async def break_leases(redis: Redis, shards: Iterable[Keys]) -> None:
    """Free the leases of holders that are known to be dead, so that nobody waits for them to lapse.

    Should one live after all, its nonce no longer fits and it is fenced off. Raises ``StoreUnavailable``.
    """
    with store_errors():
        await redis.delete(*(keys.lease for keys in shards))


class Leadership:
    """Runs work while this process holds the shard's lease, again and again, until cancelled."""

    def __init__(self, lease: Lease, clock: Clock, metrics: Metrics, shard: int) -> None:
        self._lease = lease
        self._clock = clock
        self._gauge = metrics.lease_held.labels(shard=str(shard))
        self._shard = shard
        self._gauge.set(0)

    @property
    def held(self) -> bool:
        """Whether this process is at work on the shard."""
        return self._lease.held

    async def run(self, work: Callable[[str], Awaitable[None]]) -> None:
        """Wait for the lease, run ``work(nonce)`` while it lasts, and begin again.

        ``work`` may raise ``LeaseLostError`` or ``StoreUnavailable``; anything else ends this.
        """
        waiting = False
        while True:
            if await self._acquired(waiting):
                waiting = False
                await _undivided(self._hold(work))
            elif not waiting:
                waiting = True
                log.info("lease.waiting", shard=self._shard)
            await self._clock.sleep(RETRY)

    async def _acquired(self, waiting: bool) -> bool:
        try:
            return await self._lease.acquire()
        except StoreUnavailable as error:
            if not waiting:
                log.warning("store.unavailable", error=str(error))
            return False

    async def _hold(self, work: Callable[[str], Awaitable[None]]) -> None:
        log.info("lease.acquired", shard=self._shard)
        self._gauge.set(1)
        reason = "stopped"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_forever(), name=f"lease-{self._shard}")
                group.create_task(_run(work, self._lease.nonce), name=f"shard-{self._shard}")
        except* LeaseLostError:
            reason = "lost"
        except* StoreUnavailable as failures:
            reason = str(failures.exceptions[0])
        finally:
            self._gauge.set(0)
            log.info("lease.ended", shard=self._shard, reason=reason)
            await self._give_up()

    async def _renew_forever(self) -> None:
        while True:
            await self._clock.sleep(RENEWAL)
            try:
                held = await self._lease.renew()
            except StoreUnavailable:
                held = self._lease.held
            if not held:
                raise LeaseLostError

    async def _give_up(self) -> None:
        try:
            await self._lease.release()
        except StoreUnavailable:
            log.info("lease.left_to_lapse", shard=self._shard)


async def _run(work: Callable[[str], Awaitable[None]], nonce: str) -> None:
    await work(nonce)


async def _undivided(work: Coroutine[Any, Any, None]) -> None:
    """Run work in a task of its own.

    Before Python 3.13 a group of tasks that is cancelled while it ends for a failure tells of the failure alone:
    whoever was told to stop would go on.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
        await asyncio.wait({task})
    await task
