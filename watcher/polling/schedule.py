"""The learned schedule of a shard: how long tasks live, and what a look is worth. Shared by its scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import structlog

from watcher.clock import Clock
from watcher.errors import StoreError
from watcher.polling.flight import PAGE
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import FEW, both, price_of_few, price_of_flow

REBUILD: Final = 60.0
"""Seconds between two rebuildings of the schedule from what was learned since."""
ANY: Final = "-"
"""Stands for tasks of whatever document type."""
ENOUGH: Final = 30
"""Ended tasks of a document type after which it has a schedule of its own."""
ALONE: Final = 60.0
"""Seconds without a look at a task, at most, where the interval's own look does not show it."""

log = structlog.get_logger()


class LifetimeStore(Protocol):
    """Where what was learned is kept."""

    async def load_lifetimes(self) -> dict[str, bytes]:
        """Histograms by document type, as they were saved."""
        ...

    async def save_lifetimes(self, histograms: Mapping[str, bytes], nonce: str) -> None:
        """Keep histograms, if the lease is still held under ``nonce``."""
        ...


class Schedule:
    """Learns lifetimes from ended tasks; ``target`` and ``interval`` are in seconds.

    The first schedule is what the API's documentation says.
    """

    def __init__(self, *, target: float, interval: float) -> None:
        self._target = target
        self._interval = interval
        self._histograms: dict[str, Histogram] = {}
        self._fresh: dict[str, list[float]] = {}
        self._survivals = {ANY: Survival.of(Histogram())}
        self._paged: float | None = None
        self._set_prices()

    def survival_of(self, document_type: str | None) -> Survival:
        """How long tasks of a type live; of any type while too few of it have ended."""
        return self._survivals.get(document_type or ANY, self._survivals[ANY])

    def price(self, arrival_rate: float) -> float:
        """The task-seconds that a request must be expected to save, for tasks that arrive so often a second."""
        few, flow = self._price, price_of_flow(self._aim, arrival_rate)
        in_flight = arrival_rate * self._survivals[ANY].mean
        if in_flight > PAGE:
            if self._paged is None:
                self._paged = PAGE * self._price_at(self._aim, ALONE)
            flow = both(flow, self._paged, beyond=1 - PAGE / in_flight)
        return max(few, flow)

    @property
    def _aim(self) -> float:
        return min(self._target, self._interval / 2)

    def learn(self, ended: Iterable[tuple[str | None, float]]) -> None:
        """Note tasks that have ended, each with its document type and its lifetime in seconds."""
        for document_type, lifetime in ended:
            for name in {document_type or ANY, ANY}:
                self._fresh.setdefault(name, []).append(lifetime)

    def rebuild(self) -> None:
        """Work in what was learned. Takes some tens of milliseconds, once in ``REBUILD`` seconds."""
        fresh, self._fresh = self._fresh, {}
        for name, lifetimes in fresh.items():
            self._histograms[name] = self._histograms.get(name, Histogram()).add(lifetimes)
            if name == ANY or self._histograms[name].weight >= ENOUGH:
                self._survivals[name] = Survival.of(self._histograms[name])
        if fresh:
            self._set_prices()

    def _set_prices(self) -> None:
        self._price, self._paged = self._price_at(FEW * self._aim, self._interval), None

    def _price_at(self, target: float, interval: float) -> float:
        return price_of_few(target, survival=self._survivals[ANY], interval=interval)

    def encode(self) -> dict[str, bytes]:
        """What was learned, by document type."""
        return {name: histogram.encode() for name, histogram in self._histograms.items()}

    def restore(self, saved: Mapping[str, bytes]) -> None:
        """Go on from what was saved. What cannot be read is learned anew."""
        for name, record in saved.items():
            histogram = Histogram.decode(record)
            if histogram is not None:
                self._histograms[name] = histogram
                if name == ANY or histogram.weight >= ENOUGH:
                    self._survivals[name] = Survival.of(histogram)
        self._set_prices()


async def keep_learning(schedule: Schedule, store: LifetimeStore, nonce: str, clock: Clock) -> None:
    """Load what was learned before, then rebuild and save once a minute, until cancelled."""
    schedule.restore(await store.load_lifetimes())
    while True:
        await clock.sleep(REBUILD)
        await asyncio.to_thread(schedule.rebuild)
        try:
            await store.save_lifetimes(schedule.encode(), nonce)
        except StoreError as error:
            log.warning("schedule.not_saved", error=str(error))
