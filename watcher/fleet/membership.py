"""This replica's place among the others: says that it lives, and takes its part of the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from watcher import __version__
from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.fleet.leadership import Quota
from watcher.fleet.registry import Doing, Registry
from watcher.fleet.sharing import BEAT, Fleet
from watcher.fleet.sight import Sight
from watcher.fleet.slots import Shares
from watcher.metrics import Metrics

RETRY: Final = 1.0
"""Seconds until it is said again where the store did not hear it."""
CALM: Final = 60.0
"""Seconds for which leases that nobody else took are kept, before they are offered again."""

log = structlog.get_logger()


class Post(Protocol):
    """A shard that this replica polls while it is ``held``."""

    @property
    def shard(self) -> int:
        """The shard's number."""
        ...

    @property
    def held(self) -> bool:
        """Whether this replica polls it."""
        ...

    def give_up(self) -> None:
        """Leave it to another."""
        ...


class Membership:
    """Keeps ``quota`` and ``shares`` as the replicas that live make them.

    ``blind`` says whether nothing that is polled here could be read lately.
    """

    def __init__(
        self,
        registry: Registry,
        posts: Sequence[Post],
        quota: Quota,
        shares: Shares,
        blind: Callable[[], bool],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._posts = posts
        self._quota = quota
        self._shares = shares
        self._blind = blind
        self._sight = Sight()
        self._clock = clock
        self._gauge = metrics.replicas
        quota.refresh = self.refresh
        self._known: frozenset[str] = frozenset()
        self.trouble: str | None = None
        """Why the store did not hear that this replica lives when it was told last; None when it did."""

    async def run(self) -> None:
        """Say that this replica lives, again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                if self.trouble is None:
                    log.warning("fleet.unknown", error=str(error))
                self.trouble = str(error)
                await self._clock.sleep(RETRY)
                continue
            self.trouble = None
            await self._clock.sleep(BEAT)

    async def refresh(self) -> None:
        """Say that this replica lives, and hear who else does. Raises ``StoreUnavailable``."""
        self._adopt(await self._registry.beat(self._doing()))

    async def leave(self) -> None:
        """Let the others have this replica's part at once."""
        try:
            await self._registry.leave()
        except StoreUnavailable:
            log.info("fleet.left_to_lapse")

    def _doing(self) -> Doing:
        held = tuple(each.shard for each in self._posts if each.held)
        able = self._sight.able(polling=bool(held), blind=self._blind(), now=self._clock.monotonic())
        return Doing(__version__, held, self._shares.used, able)

    def _adopt(self, fleet: Fleet) -> None:
        known = frozenset(member.replica for member in fleet.members)
        if known != self._known:
            self._known = known
            log.info("fleet.changed", replicas=len(known))
        self._gauge.set(len(known))
        self._shares.adopt(fleet)
        self._quota.limit = fleet.quota(len(self._posts))
        self._quota.known.set()
        held = [each for each in self._posts if each.held]
        surplus = len(held) - self._quota.limit
        if surplus <= 0:
            self._quota.exceeded_at = -math.inf
        elif self._clock.monotonic() - self._quota.exceeded_at >= CALM:
            for each in held[-surplus:]:
                each.give_up()
