"""How many attempts at an endpoint this replica may have under way, over all its shards."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from watcher.fleet.sharing import Fleet


class Slots:
    """A semaphore whose size may change while it is used, and that may be closed. Whoever came first goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._closed = 0
        self._turns = 0
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def size(self) -> int:
        """How many may be used at once."""
        return self._size

    @property
    def used(self) -> int:
        """How many are used; more than there may be for a while after the size was lowered."""
        return self._used

    def resize(self, size: int) -> None:
        """Let so many be used at once from now on; what is under way goes on."""
        self._size = size
        self._admit()

    @property
    def turns(self) -> int:
        """How often they were closed or opened again: what was prepared for a slot at another number is out of date."""
        return self._turns

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let nobody in meanwhile; what is under way goes on."""
        self._closed += 1
        self._turns += 1
        try:
            yield
        finally:
            self._closed -= 1
            self._turns += 1
            self._admit()

    async def __aenter__(self) -> None:
        if not self._closed and self._used < self._size:  # then nobody waits
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()  # it was let in just as it went away
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        self._used -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and not self._closed and self._used < self._size:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._used += 1
                turn.set_result(None)


class Shares:
    """This replica's slots for every endpoint: its share of what the endpoint's ``concurrency`` allows to all.

    There are none before the fleet is known.
    """

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._wanted: dict[str, int] = {}
        self._slots: dict[str, Slots] = {}

    @property
    def used(self) -> int:
        """Attempts under way at all endpoints."""
        return sum(slots.used for slots in self._slots.values())

    def of(self, endpoint: str, concurrency: int) -> Slots:
        """The slots for an endpoint, the same for all shards; its concurrency may have changed."""
        self._wanted[endpoint] = concurrency
        slots = self._slots.setdefault(endpoint, Slots(0))
        slots.resize(self._share(concurrency))
        return slots

    def adopt(self, fleet: Fleet) -> None:
        """Share with these replicas from now on."""
        self._fleet = fleet
        for endpoint, slots in self._slots.items():
            slots.resize(self._share(self._wanted[endpoint]))

    def _share(self, concurrency: int) -> int:
        return 0 if self._fleet is None else self._fleet.share(concurrency)
