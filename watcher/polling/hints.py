"""Hints: which tasks to look at next, and whether hints are so complete that polling may relax. Pure.

A hint says that a task is worth a look now. It is never the truth: every row still comes from the API, windows
are still read, and a hint that is lost costs only time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Literal

from watcher.model import Hint, HintSource, Micros, TaskId

WINDOW: Final = 200
"""Ended tasks by which recall is judged."""
ENOUGH: Final = 20
"""Ended tasks without which nothing is said of recall: a few may be chance."""
GRACE: Final = 5.0
"""Seconds that a hint may come after the end was seen and still count.

Polling that is not relaxed often sees an end before the hint has made its way; the hint would have come in time.
"""
REMEMBERED: Final = 10_000
"""Hinted tasks of a scope that are remembered until they end; beyond that the oldest are forgotten."""
RECENT: Final = 1_000
"""Ended tasks of a scope for which a hint asks nothing more: Monite's own webhook comes after the end."""
RELAXED: Final = 60.0
"""Seconds between two readings of the fresh window while every task is hinted (plan D)."""

QUEUE: Final = 1_000
"""Hinted tasks of a scope that may wait for their look; ten requests. Beyond that hints are dropped."""
WAITS: Final = (1.0, 4.0, 15.0)
"""Seconds before a task that was not found is looked for again: its row may not be visible yet."""

EPOCH: Final = Micros(0)

Outcome = Literal[
    "found",
    "absent",
    "failed",
    "known",
    "repeated",
    "dropped",
    "unknown_scope",
    "invalid",
    "refused",
]
"""What became of a hint; the closed set of metric labels.

``found``: its row was read and recorded. ``absent``: not there after the last look. ``failed``: the API refused
or could not answer. ``known``: seen to end meanwhile or before. ``repeated``: already waiting for its look.
``dropped``: too many were waiting. ``unknown_scope``: nobody watches it here. ``invalid``: no hint at all.
``refused``: a request over HTTP that was not taken; it counts once, however many hints it held.
"""


@dataclass(frozen=True, slots=True)
class HintRecall:
    """How many of the tasks that ended lately had been hinted. Instants are monotonic seconds.

    ``since``: tasks created before it say nothing of whoever gives hints now. ``verdicts`` are those of the last
    tasks judged, the newest last. ``hinted`` have not ended, ``unhinted`` have, and may be hinted until the
    instant beside them; ``ended`` are the last to end. The mappings to None are sets that keep their order.
    """

    since: Micros = EPOCH
    verdicts: tuple[bool, ...] = ()
    hinted: Mapping[TaskId, None] = field(default_factory=dict)
    unhinted: Mapping[TaskId, float] = field(default_factory=dict)
    ended: Mapping[TaskId, None] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        """How many of the tasks judged had been hinted."""
        return sum(self.verdicts)

    @property
    def relaxed(self) -> bool:
        """Whether polling may leave the discovery of new tasks to hints.

        So it is while all tasks judged had been hinted, and there were enough of them to say so; it ends with the
        first one missed.
        """
        return len(self.verdicts) >= ENOUGH and all(self.verdicts)

    def with_hints(self, task_ids: Iterable[TaskId], now: float) -> HintRecall:
        """After tasks were hinted."""
        settled = self.settled(now)
        given = dict.fromkeys(task_ids)
        late = settled.unhinted.keys() & given.keys()
        fresh = {task_id: None for task_id in given if task_id not in settled.ended}
        return replace(
            settled,
            verdicts=_last(settled.verdicts, [True] * len(late)),
            unhinted={each: until for each, until in settled.unhinted.items() if each not in late},
            hinted=_newest({**settled.hinted, **fresh}, REMEMBERED),
        )

    def with_ends(self, created: Mapping[TaskId, Micros], now: float) -> HintRecall:
        """After tasks, given with their created_at, were seen to have ended."""
        settled = self.settled(now)
        fresh = [task_id for task_id in created if task_id not in settled.ended]
        judged = [task_id for task_id in fresh if created[task_id] >= self.since]
        hits = [True for task_id in judged if task_id in settled.hinted]
        missing = {task_id: now + GRACE for task_id in judged if task_id not in settled.hinted}
        return replace(
            settled,
            verdicts=_last(settled.verdicts, hits),
            unhinted={**settled.unhinted, **missing},
            hinted={task_id: None for task_id in settled.hinted if task_id not in created},
            ended=_newest({**settled.ended, **dict.fromkeys(fresh)}, RECENT),
        )

    def settled(self, now: float) -> HintRecall:
        """After those whose hint can no longer come in time were found missed."""
        missed = [task_id for task_id, until in self.unhinted.items() if until <= now]
        if not missed:
            return self
        return replace(
            self,
            verdicts=_last(self.verdicts, [False] * len(missed)),
            unhinted={each: until for each, until in self.unhinted.items() if until > now},
        )


def interval_factor(*, relaxed: bool, interval: float) -> float:
    """By how much the time between two readings of the fresh window grows; ``interval`` is in seconds."""
    return max(1.0, RELAXED / interval) if relaxed else 1.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who hinted a task, when it is to be looked at, and how often it has been, in vain."""

    source: HintSource
    due_at: float
    looks: int = 0


class HintQueue:
    """Hinted tasks of one scope that wait for their look. Instants are monotonic seconds."""

    def __init__(self) -> None:
        self._waiting: dict[TaskId, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, hint: Hint, now: float) -> Outcome | None:
        """Take a hint in, to be looked at now; else what became of it."""
        if hint.task_id in self._waiting:
            return "repeated"
        if len(self._waiting) >= QUEUE:
            return "dropped"
        self._waiting[hint.task_id] = Waiting(hint.source, now)
        return None

    def ready(self, now: float) -> int:
        """How many tasks are to be looked at now."""
        return sum(each.due_at <= now for each in self._waiting.values())

    def take(self, now: float, size: int) -> dict[TaskId, Waiting]:
        """Take out up to so many tasks that are to be looked at now, those that have waited longest first."""
        ready = (task_id for task_id, each in self._waiting.items() if each.due_at <= now)
        return {task_id: self._waiting.pop(task_id) for task_id in tuple(islice(ready, size))}

    def postpone(self, missed: Mapping[TaskId, Waiting], now: float) -> list[HintSource]:
        """Put back, for later, tasks that a look has not found; who had hinted those that are given up."""
        for task_id, each in missed.items():
            if each.looks < len(WAITS):
                # Behind the others, so that what is never found holds nobody up.
                self._waiting[task_id] = Waiting(each.source, now + WAITS[each.looks], each.looks + 1)
        return [each.source for each in missed.values() if each.looks == len(WAITS)]

    def remove(self, task_ids: Iterable[TaskId]) -> list[HintSource]:
        """Forget tasks that need no look any more; who had hinted those that waited for one."""
        found = [self._waiting.pop(task_id, None) for task_id in task_ids]
        return [each.source for each in found if each is not None]


def _last(verdicts: tuple[bool, ...], more: list[bool]) -> tuple[bool, ...]:
    return (*verdicts, *more)[-WINDOW:]


def _newest(known: dict[TaskId, None], size: int) -> dict[TaskId, None]:
    return dict(islice(known.items(), max(0, len(known) - size), None))
