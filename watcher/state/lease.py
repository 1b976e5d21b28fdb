"""The lease: at most one daemon polls a shard, and every write proves that it still does.

The fence is a nonce with random bits, not a counter: after a split brain two holders could have the same
number. It begins with the holder's host and process, for people.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable
from typing import Final

from redis.asyncio import Redis

from watcher.clock import Clock
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors

TERM: Final = 15.0
"""Seconds that a lease lasts: how long a dead holder's work waits for another."""
RENEWAL: Final = TERM / 3
"""Seconds between renewals: two may fail before the lease is given up."""
PATIENCE: Final = TERM * 2 / 3
"""Seconds on the monotonic clock after which a holder that could not renew stops by itself."""


_NO_KEY: Final = -2
"""What ``PTTL`` says of a key that is not there."""


class LeaseLostError(Exception):
    """Another daemon holds the lease, or may: stop writing."""


def new_nonce() -> str:
    """What nobody else says: host and process, for people, and random bits."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(16)}"


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

    @property
    def left(self) -> float:
        """Seconds for which this process may still take itself for the holder."""
        return max(0.0, self._sure_until - self._clock.monotonic())

    async def acquire(self) -> bool:
        """Take the lease under a fresh nonce if nobody holds it."""
        asked_at = self._clock.monotonic()
        nonce = new_nonce()
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

    async def taken_for(self) -> float:
        """Seconds for which somebody has it, unless they renew it; 0 if nobody has."""
        with store_errors():
            left = int(await self._redis.pttl(self._key))
        return 0.0 if left == _NO_KEY else TERM if left < 0 else left / 1000

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
