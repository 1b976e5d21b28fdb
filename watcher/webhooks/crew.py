"""What delivers to a set of endpoints, from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from watcher.webhooks.dispatcher import Dispatcher
from watcher.webhooks.lane import Lane
from watcher.webhooks.sender import Sender


class Crew:
    """One dispatcher and each endpoint's lane, by its name. ``look`` is done once, beside them.

    Several may be at work: who has a delivery is decided in the store. ``begin`` comes once, and before all else.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        lanes: Mapping[str, Lane],
        senders: Sequence[Sender],
        look: Callable[[], Coroutine[object, object, None]],
    ) -> None:
        self.lanes = lanes
        self._dispatcher = dispatcher
        self._senders = senders
        self._look = look
        self._working: asyncio.Task[None] | None = None
        self._dispatching: asyncio.Task[None] | None = None

    def begin(self, group: asyncio.TaskGroup) -> None:
        """Work, as a task of this group."""
        self._working = group.create_task(self._work(), name="webhooks")

    async def dismiss(self) -> None:
        """Claim nothing more; when it returns, nothing more is accepted either. What is under way goes on."""
        for lane in self.lanes.values():
            lane.stop()
        self._dispatcher.stop()
        if self._dispatching is not None:
            self._dispatching.cancel()
            await asyncio.wait({self._dispatching})
        elif self._working is not None:
            self._working.cancel()  # it has not even begun

    async def end(self, grace_seconds: float) -> None:
        """Claim nothing more, and let what is under way end within the grace; the rest is given back."""
        await self.dismiss()
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=grace_seconds)
            self._working.cancel()
            await asyncio.wait({self._working})

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._dispatching = group.create_task(self._dispatcher.run(), name="webhooks dispatch")
                for name, lane in self.lanes.items():
                    group.create_task(lane.run(), name=f"webhooks lane {name}")
                group.create_task(self._look(), name="webhooks look")
        finally:
            for sender in self._senders:
                await sender.close()
