"""Who polls a shard: the holder of its lease, of which each replica takes as many as fall to it."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.state.lease import RENEWAL, Lease, LeaseLostError

RETRY: Final = 1.0
"""Seconds between two looks at a lease that another holds; less where it lapses sooner."""
LEFT: Final = 3
"""Looks in a row that find a lease free before a replica takes it that has its part already: whoever it falls to
does not come."""

log = structlog.get_logger()


async def _nothing() -> None:
    """Of a process that knows of no others."""


@dataclass(slots=True)
class Quota:
    """How many leases this replica is to hold, and how many it holds or is taking.

    ``known`` is set once there is a limit, and ``refresh`` asks who lives and sets it anew. ``exceeded_at`` is when
    it last took one beyond it because nobody else did (monotonic seconds). Leases are tried in ``turn``: while one
    is being tried nobody can say whether there is room for another.
    """

    limit: int = 0
    taken: int = 0
    exceeded_at: float = -math.inf
    refresh: Callable[[], Awaitable[None]] = _nothing
    known: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


def unbounded() -> Quota:
    """For leases that are not shared: whoever comes first takes them."""
    quota = Quota(limit=sys.maxsize)
    quota.known.set()
    return quota


class _GivenUpError(Exception):
    """Another replica is to have the lease."""


class Leadership:
    """Runs work while this process holds the shard's lease, again and again, until cancelled.

    ``quota`` is shared by the leaderships of all shards of this process. ``name`` is what metrics and the
    log call the shard: its number unless told otherwise.
    """

    def __init__(
        self, lease: Lease, quota: Quota, clock: Clock, metrics: Metrics, shard: int, name: str = ""
    ) -> None:
        self._lease = lease
        self._quota = quota
        self._clock = clock
        self._gauge = metrics.lease_held.labels(shard=name or str(shard))
        self._shard = shard
        self._name = name or shard
        self._left = 0
        self._unwanted = asyncio.Event()
        self._gauge.set(0)
        self.trouble: str | None = None
        """Why the store did not let this process hold the lease, or look for it, when it last tried.

        None once it lets it again; what another holds is not tried.
        """

    @property
    def held(self) -> bool:
        """Whether this process is at work on the shard."""
        return self._lease.held

    @property
    def nonce(self) -> str:
        """What a lease says that is this process's, also one that it could not give up and that has yet to lapse."""
        return self._lease.nonce

    @property
    def shard(self) -> int:
        """The shard's number."""
        return self._shard

    def give_up(self) -> None:
        """End the work and give the lease up, for another replica to take."""
        self._unwanted.set()

    async def run(self, work: Callable[[str], Awaitable[None]]) -> None:
        """Wait for the lease, run ``work(nonce)`` while it lasts, and begin again.

        ``work`` may raise ``LeaseLostError`` or ``StoreUnavailable``; anything else ends this.
        """
        waiting = False
        await self._quota.known.wait()
        while True:
            pause: float | None = RETRY
            try:
                pause = await self._look()
            except StoreUnavailable as error:
                self.trouble = str(error)
                if not waiting:
                    log.warning("store.unavailable", error=str(error))
            if pause is None:
                waiting = False
                try:
                    await _undivided(self._hold(work))
                finally:
                    self._quota.taken -= 1
            elif not waiting:
                waiting = True
                log.info("lease.waiting", shard=self._name)
            await self._clock.sleep(RETRY if pause is None else pause)

    async def _look(self) -> float | None:
        """Take the lease if it falls to this replica, or whoever it falls to does not come.

        The seconds until the next look; None when it was taken, and counts as such.
        """
        taken_for = await self._lease.taken_for()
        if taken_for > 0:
            self._left = 0
            return min(RETRY, taken_for)
        async with self._quota.turn:
            taken = await self._take()
        self.trouble = None
        return None if taken else RETRY

    async def _take(self) -> bool:
        """Take the lease, which was free a moment ago, if this replica is to; whether it did, and counts it."""
        quota = self._quota
        if quota.taken >= quota.limit:
            await quota.refresh()  # whoever had it may be gone
        if quota.taken >= quota.limit:
            self._left += 1
            if self._left < LEFT:
                return False
            quota.exceeded_at = self._clock.monotonic()
        self._left = 0
        taken = await self._lease.acquire()
        quota.taken += taken
        return taken

    async def _hold(self, work: Callable[[str], Awaitable[None]]) -> None:
        log.info("lease.acquired", shard=self._name)
        self._unwanted.clear()
        self._gauge.set(1)
        reason = "stopped"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_forever(), name=f"lease-{self._shard}")
                group.create_task(self._end_when_unwanted(), name=f"unwanted-{self._shard}")
                group.create_task(_run(work, self._lease.nonce), name=f"shard-{self._shard}")
        except* LeaseLostError:
            reason = "lost"
        except* _GivenUpError:
            reason = "shared"
        except* StoreUnavailable as failures:
            reason = self.trouble = _first(failures)
        finally:
            self._gauge.set(0)
            log.info("lease.ended", shard=self._name, reason=reason)
            await self._release()

    async def _renew_forever(self) -> None:
        while True:
            await self._clock.sleep(RENEWAL)
            try:
                async with asyncio.timeout(self._lease.left):
                    held = await self._lease.renew()
            except (StoreUnavailable, TimeoutError):
                held = self._lease.held
            if not held:
                raise LeaseLostError

    async def _end_when_unwanted(self) -> None:
        await self._unwanted.wait()
        raise _GivenUpError

    async def _release(self) -> None:
        try:
            await self._lease.release()
        except StoreUnavailable:
            log.info("lease.left_to_lapse", shard=self._name)


def _first(failures: BaseExceptionGroup[BaseException]) -> str:
    """What failed first, in however many groups of tasks it did."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first)


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
