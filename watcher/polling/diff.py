"""What a row means, given what is remembered of its task. Pure: the heart of the watcher.

Level-triggered: states may be skipped, the last one may not. An event comes only from a row that was read.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from watcher.model import (
    DOCUMENTED,
    EVENT_PREFIX,
    PROCESSING,
    STALLED,
    TERMINAL,
    VANISHED,
    Micros,
    Task,
    TaskId,
    Transition,
    kind_of,
)
from watcher.state.records import Known, Start


class Reason(StrEnum):
    """Why a row was taken as it was."""

    FIRST_SEEN = "first_seen"
    ADOPTED = "adopted"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    STALE = "stale"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the decision depends on beside the row.

    ``kinds`` are the event types to publish, without their prefix. ``stalled_after`` is in microseconds.
    """

    start: Start
    kinds: frozenset[str]
    stalled_after: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one row: what to remember from now on, whether to keep watching, what to tell."""

    known: Known
    in_flight: bool
    transitions: tuple[Transition, ...]
    reason: Reason


def kinds_of(types: AbstractSet[str]) -> frozenset[str]:
    """Event types without their prefix: ``ocr_task.success`` is the kind ``success``."""
    return frozenset(each.removeprefix(EVENT_PREFIX) for each in types)


def decide(task: Task, known: Known | None, rules: Rules, now: Micros) -> Decision:
    """What a row says that is new.

    A status that the API has not documented is always told, and watched until it has been quiet for
    ``stalled_after``: it may be an end of its own.
    """
    if known is None:
        return _first_seen(task, rules, now)
    if _stale(task, known):
        return Decision(known, _in_flight(known.status, known.updated_at, rules, now), (), Reason.STALE)
    if task.status == known.status:
        kept = Known(task.status, known.revision, task.updated_at, known.published)
        return _concluded(task, kept, known.status, (), Reason.UNCHANGED, rules, now)
    left_an_end = known.status in TERMINAL
    revision = known.revision + left_an_end
    published = frozenset() if left_an_end else known.published
    changed = Known(task.status, revision, task.updated_at, published)
    kinds = _kinds(task.status, rules)
    return _concluded(task, changed, known.status, kinds, Reason.CHANGED, rules, now)


def vanish(task_id: TaskId, created_at: Micros, known: Known | None, rules: Rules) -> Decision:
    """What repeated absence of an in-flight task says: it is told once and no longer watched."""
    last = known or Known(PROCESSING, 0, created_at)
    task = Task(task_id, last.status, created_at, last.updated_at)
    if VANISHED not in rules.kinds or VANISHED in last.published:
        return Decision(last, in_flight=False, transitions=(), reason=Reason.VANISHED)
    return Decision(
        Known(last.status, last.revision, last.updated_at, last.published | {VANISHED}),
        in_flight=False,
        transitions=(Transition(task, VANISHED, last.status, last.revision),),
        reason=Reason.VANISHED,
    )


def _first_seen(task: Task, rules: Rules, now: Micros) -> Decision:
    new = task.created_at >= rules.start.publish_since
    told = new or (task.status != PROCESSING and task.updated_at >= rules.start.started_at)
    kinds = _kinds(task.status, rules) if told else ()
    reason = Reason.FIRST_SEEN if told else Reason.ADOPTED
    return _concluded(task, Known(task.status, 0, task.updated_at), None, kinds, reason, rules, now)


def _concluded(
    task: Task,
    known: Known,
    previous_status: str | None,
    kinds: tuple[str, ...],
    reason: Reason,
    rules: Rules,
    now: Micros,
) -> Decision:
    """Add what time alone brings, and leave out what this revision has already told."""
    if _stalled(task, rules, now):
        kinds = (*kinds, STALLED)
    fresh = tuple(kind for kind in kinds if kind not in known.published)
    transitions = tuple(
        Transition(task, kind, task.status if kind == STALLED else previous_status, known.revision)
        for kind in fresh
    )
    told = Known(known.status, known.revision, known.updated_at, known.published.union(fresh))
    return Decision(told, _in_flight(task.status, task.updated_at, rules, now), transitions, reason)


def _stale(task: Task, known: Known) -> bool:
    """Whether the row is older than what is known, as a lagging replica of the API may answer.

    With equal stamps an end outranks what is not one: the API may not move ``updated_at`` with every status.
    """
    if task.updated_at != known.updated_at:
        return task.updated_at < known.updated_at
    return known.status in TERMINAL and task.status not in TERMINAL


def _stalled(task: Task, rules: Rules, now: Micros) -> bool:
    return (
        task.status == PROCESSING and STALLED in rules.kinds and now - task.created_at >= rules.stalled_after
    )


def _in_flight(status: str, updated_at: Micros, rules: Rules, now: Micros) -> bool:
    if status in DOCUMENTED:
        return status not in TERMINAL
    return now - updated_at < rules.stalled_after


def _kinds(status: str, rules: Rules) -> tuple[str, ...]:
    return (kind_of(status),) if status in rules.kinds or status not in DOCUMENTED else ()
