"""Rows to decisions to one atomic step: what was read becomes state and events, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watcher.clock import Clock
from watcher.events.envelope import to_event, to_fields
from watcher.metrics import Metrics
from watcher.model import SECOND, TERMINAL, Micros, Scope, Task, TaskId, from_seconds
from watcher.polling.diff import Decision, Reason, Rules, decide, vanish
from watcher.state.lease import LeaseLostError
from watcher.state.records import Known
from watcher.state.scope import ScopeState
from watcher.state.store import Change, Commit, Outcome, Store
from watcher.steps import Step, reached

ATTEMPTS: Final = 5
"""Tries at one page when another read of the same cycle touches the same tasks."""


class ConflictError(Exception):
    """The scope's progress was moved by somebody else, such as ``watcher reset``: load it again."""


@dataclass(frozen=True, slots=True)
class Publication:
    """How this daemon's events look, and which document types it keeps to (empty: all)."""

    namespace: str
    source: str
    recognized_data: bool
    document_types: frozenset[str] = frozenset()

    def excludes(self, task: Task) -> bool:
        """Whether the task is of a document type that is not watched. One without a type is watched."""
        return bool(self.document_types) and task.document_type not in (None, *self.document_types)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was new, and the number of events appended.

    ``first_seen`` has the created_at of each task never seen before; ``ended`` the document type, and the
    lifetime in seconds, of each that has ended since it was last seen.
    """

    first_seen: tuple[Micros, ...] = ()
    ended: tuple[tuple[str | None, float], ...] = ()
    events: int = 0

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(
            self.first_seen + other.first_seen, self.ended + other.ended, self.events + other.events
        )


Judge = Callable[[Task, Known | None], Decision | None]
"""What a row means beside what is known of its task; None: it is to be left alone."""

Moved = Callable[[int], tuple[bytes, bytes]]
"""A backfill's progress as it was and, with so many events, as it is to be."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """One task's decision beside what was known of it."""

    task_id: TaskId
    created_at: Micros
    before: Known | None
    decision: Decision


Ended = Callable[[Mapping[TaskId, Micros]], None]
"""Is told of tasks, with their created_at, that were seen to end for the first time."""


class Recorder:
    """Writes what was read of one scope, under one lease, and tells ``ended`` which tasks have ended.

    Every method raises ``LeaseLostError`` when the lease is another's, ``ConflictError`` when the scope's
    progress was moved meanwhile, and the store's own errors.
    """

    def __init__(
        self,
        scope: Scope,
        nonce: str,
        *,
        store: Store,
        publication: Publication,
        clock: Clock,
        metrics: Metrics,
        ended: Ended | None = None,
    ) -> None:
        self._scope = scope
        self._nonce = nonce
        self._store = store
        self._publication = publication
        self._clock = clock
        self._metrics = metrics
        self._ended = ended

    async def record(
        self, tasks: Iterable[Task], rules: Rules, now: Micros, before: ScopeState, after: ScopeState
    ) -> Recorded:
        """Write a page and, in the same step, the scope's progress from ``before`` to ``after``."""

        def decide_row(task: Task, known: Known | None) -> Decision:
            return decide(task, known, rules, now)

        return await self.record_as(tasks, decide_row, before, after)

    async def record_as(
        self,
        tasks: Iterable[Task],
        decide_row: Judge,
        before: ScopeState,
        after: ScopeState,
        backfill: Moved | None = None,
    ) -> Recorded:
        """Write rows by a decision of the caller's; a backfill's progress moves in the same step.

        Backfilled tasks ended long ago, which says nothing of how soon the watcher sees an end.
        """
        newest: dict[TaskId, Task] = {}
        for task in tasks:
            if task.id not in newest or newest[task.id].updated_at <= task.updated_at:
                newest[task.id] = task
        excluded = {task.id for task in newest.values() if self._publication.excludes(task)}
        watched = {task.id: task for task in newest.values() if task.id not in excluded}

        def decide_id(task_id: TaskId, known: Known | None) -> Decision | None:
            return decide_row(watched[task_id], known)

        created = {task.id: task.created_at for task in watched.values()}
        types = {task.id: task.document_type for task in watched.values()}
        return await self._write(
            created,
            decide_id,
            before,
            after,
            types,
            drop=excluded & before.in_flight.keys(),
            backfill=backfill,
        )

    async def record_vanished(
        self, missing: Mapping[TaskId, Micros], rules: Rules, state: ScopeState
    ) -> Recorded:
        """Write that tasks, given with their created_at, have been absent again and again."""

        def decide_absence(task_id: TaskId, known: Known | None) -> Decision:
            return vanish(task_id, missing[task_id], known, rules)

        return await self._write(missing, decide_absence, state, state, {})

    async def _write(
        self,
        created: Mapping[TaskId, Micros],
        decision_of: Callable[[TaskId, Known | None], Decision | None],
        before: ScopeState,
        after: ScopeState,
        types: Mapping[TaskId, str | None],
        drop: Iterable[TaskId] = (),
        backfill: Moved | None = None,
    ) -> Recorded:
        for _ in range(ATTEMPTS):
            known = await self._store.known(self._scope, created)
            decided = [
                _Decided(task_id, created_at, known.get(task_id), decision)
                for task_id, created_at in created.items()
                if (decision := decision_of(task_id, known.get(task_id))) is not None
            ]
            entries = self._entries(decided)
            flight = {**_flight(decided, before), **dict.fromkeys(drop)}
            changes = [
                Change(each.task_id, each.created_at, each.before, each.decision.known)
                for each in decided
                if each.decision.known != each.before
            ]
            progress = None if backfill is None else backfill(len(entries))
            commit = Commit(self._scope, changes, flight, entries, before, after, progress)
            reached(Step.TASKS_COMPARED)
            match await self._store.commit(commit, self._nonce):
                case Outcome.APPLIED:
                    reached(Step.PAGE_COMMITTED)
                    self._measure(decided, soon=backfill is None)
                    self._tell_ended(decided)
                    return _summary(decided, types, len(entries))
                case Outcome.FENCED:
                    raise LeaseLostError
                case Outcome.CONFLICT:
                    continue
        raise ConflictError

    def _entries(self, decided: Sequence[_Decided]) -> list[dict[str, str | bytes]]:
        detected_at = from_seconds(self._clock.time())
        return [
            to_fields(
                to_event(
                    transition,
                    scope=self._scope,
                    namespace=self._publication.namespace,
                    source=self._publication.source,
                    detected_at=detected_at,
                    recognized_data=self._publication.recognized_data,
                )
            )
            for each in decided
            for transition in each.decision.transitions
        ]

    def _tell_ended(self, decided: Sequence[_Decided]) -> None:
        ended = {
            each.task_id: each.created_at
            for each in decided
            if each.decision.known.status in TERMINAL
            and (each.before is None or each.before.status not in TERMINAL)
        }
        if ended and self._ended is not None:
            self._ended(ended)

    def _measure(self, decided: Sequence[_Decided], *, soon: bool) -> None:
        now = from_seconds(self._clock.time())
        for each in decided:
            for transition in each.decision.transitions:
                self._metrics.events_published.labels(type=transition.type).inc()
                if soon and transition.kind in TERMINAL:
                    delay = (now - transition.task.updated_at) / SECOND
                    self._metrics.detection_delay.observe(max(0.0, delay))


def _flight(decided: Sequence[_Decided], before: ScopeState) -> dict[TaskId, Micros | None]:
    """What enters the in-flight index and what leaves it.

    A change that ends a task takes it out whether or not ``before`` names it: an earlier read of the same
    cycle may have put it in.
    """
    moves: dict[TaskId, Micros | None] = {}
    for each in decided:
        tracked = each.task_id in before.in_flight
        if each.decision.in_flight and not tracked:
            moves[each.task_id] = each.created_at
        elif not each.decision.in_flight and (tracked or each.decision.reason is Reason.CHANGED):
            moves[each.task_id] = None
    return moves


def _summary(decided: Sequence[_Decided], types: Mapping[TaskId, str | None], events: int) -> Recorded:
    return Recorded(
        first_seen=tuple(each.created_at for each in decided if each.before is None),
        ended=tuple(
            (types.get(each.task_id), (each.decision.known.updated_at - each.created_at) / SECOND)
            for each in decided
            if each.decision.known.status in TERMINAL
            and each.decision.reason in (Reason.FIRST_SEEN, Reason.CHANGED)
        ),
        events=events,
    )
