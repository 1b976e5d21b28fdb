"""A store as the daemon would have filled it: so many tasks of the last horizon, of which some are in flight."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from watcher.model import PROCESSING, SECOND, SUCCESS, Micros, Scope, TaskId
from watcher.polling.ladder import ages
from watcher.polling.lifetimes import Histogram
from watcher.polling.schedule import ANY
from watcher.sandbox import SimulatedTask
from watcher.settings import PollSettings
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Known, Start
from watcher.state.scope import ScopeState
from watcher.state.store import Change, Commit, Outcome, Store

HORIZON: Final = round(PollSettings().horizon * SECOND)
LEARNED: Final = 2000
"""Ended tasks whose lifetimes the store knows: far more than the histogram remembers."""

_AT_ONCE: Final = 1000
"""Tasks in one step: the server stands still for it."""


@dataclass(frozen=True, slots=True)
class Filling:
    """Writes scopes that were read up to ``now``, under the lease's nonce."""

    store: Store
    nonce: str
    now: Micros

    async def scope(self, scope: Scope, ended: int, flying: Sequence[SimulatedTask]) -> None:
        """Write a scope page by page: ended tasks, spread evenly over the horizon, and tasks in flight.

        Raises:
            RuntimeError: the store took something otherwise than it was meant.
        """
        await self.store.register(scope)
        instants = (Micros(self.now - HORIZON + HORIZON * number // ended) for number in range(ended))
        changes = chain(
            map(_ended, instants),
            (Change(each.id, each.created_at, None, _processing(each)) for each in flying),
        )
        flight = {each.id: each.created_at for each in flying}
        before, after = ScopeState(), self._progress()
        while page := list(islice(changes, _AT_ONCE)):
            moved = {each.task_id: each.created_at for each in page if each.task_id in flight}
            commit = Commit(scope, page, moved, (), before, after)
            outcome = await self.store.commit(commit, self.nonce)
            if outcome is not Outcome.APPLIED:
                raise RuntimeError(f"{scope.key}: the store would not take a page: {outcome}")
            before = after

    async def lifetimes(self, tasks: Sequence[SimulatedTask]) -> None:
        """Have the store know how long tasks take."""
        seconds = [(each.ended_at - each.created_at) / SECOND for each in tasks]
        repeated = (seconds * (LEARNED // len(seconds) + 1))[:LEARNED]
        await self.store.save_lifetimes({ANY: Histogram().add(repeated).encode()}, self.nonce)

    def _progress(self) -> ScopeState:
        """All of the horizon was read, again and again as the ladder wants it."""
        marks = {age // SECOND: Micros(self.now - age) for age in ages(0, HORIZON, 64)}
        start = Micros(self.now - 2 * HORIZON)
        return ScopeState(
            start=Start(start, start, start),
            coverage=Coverage.of([Interval(start, self.now)]),
            adopted=True,
            ladder=marks,
        )


def _ended(created_at: Micros) -> Change:
    known = Known(SUCCESS, 0, Micros(created_at + 13 * SECOND), frozenset((SUCCESS,)))
    return Change(TaskId(str(uuid.uuid4())), created_at, None, known)


def _processing(task: SimulatedTask) -> Known:
    return Known(PROCESSING, 0, task.created_at)
