"""Workers that are started again when they die: a fault of ours must not stop what still works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from watcher.clock import Clock

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 30.0
STEADY: Final = 60.0
"""Seconds that a worker must last before its earlier deaths are forgotten."""

log = structlog.get_logger()


class Supervisor:
    """Runs named workers. ``dead`` names those that died and have not yet been started again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.dead: set[str] = set()

    async def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` until it returns; when it raises, say so, wait, and run it again."""
        wait = FIRST_WAIT
        while True:
            began = self._clock.monotonic()
            self.dead.discard(name)
            try:
                await work()
            except Exception:
                log.exception("worker.died", worker=name)
            else:
                return
            self.dead.add(name)
            wait = FIRST_WAIT if self._clock.monotonic() - began > STEADY else wait
            await self._clock.sleep(wait)
            wait = min(LONGEST_WAIT, wait * 2)
