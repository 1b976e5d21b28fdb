"""A simulated task: everything that happens to it in its life, decided when it is created."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log1p
from typing import Final

from watcher.model import ERROR, PROCESSING, SECOND, SUCCESS, EntityId, Micros, Scope, TaskId
from watcher.sandbox.draws import draws, stroke, uuid_for
from watcher.sandbox.faults import Faults

CANCELED: Final = "canceled"
"""A status that the API has not documented for OCR tasks."""

_DOCUMENT_TYPES: Final = ((0.7, "invoice"), (0.9, "receipt"), (1.0, "credit_note"))
_EARLY_ERRORS: Final = 0.6
_TAIL: Final = 0.02
_LONGEST_TAIL_SECONDS: Final = 105.0


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What the simulated world is like. Shares are from 0 to 1.

    ``rate`` is the mean number of tasks that arrive in a second, over all entities and those that belong to
    none. Processing takes 10 to 15 s, 2 % of it up to two minutes, and 60 % of the errors come within 3 s;
    ``lifetime_scale`` multiplies all of it. ``twin_share`` of the tasks are created at the very instant of
    the one before. For ``untyped_share`` nobody said the document's type, so it is null until the document
    was recognised. 97 % of the rows are visible within 20 ms of their creation, 2.9 % within 2 s and 0.1 %
    within 60 s; ``visibility_scale`` multiplies that. ``backlog_seconds`` of arrivals lie before the start.

    Raises ValueError on values that make no world.
    """

    seed: int = 1
    rate: float = 1.0
    lifetime_scale: float = 1.0
    visibility_scale: float = 1.0
    error_share: float = 0.05
    entities: int = 3
    entity_share: float = 0.5
    twin_share: float = 0.02
    untyped_share: float = 0.03
    backlog_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate", "visibility_scale", "backlog_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.lifetime_scale < float("inf"):
            raise ValueError(f"lifetime_scale must be more than 0, not {self.lifetime_scale}")
        for name in ("error_share", "entity_share", "untyped_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        if not 0 <= self.twin_share < 1:
            raise ValueError(f"twin_share must be at least 0 and less than 1, not {self.twin_share}")
        if self.entities < 0:
            raise ValueError(f"entities must be 0 or more, not {self.entities}")


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """A task as it is at every moment.

    ``document_type`` is what it is recognised as; ``declared`` says whether its creator had said so.
    ``canceled_at``, ``revised_at`` and ``deleted_at`` are None for all but the tasks that a fault has struck.
    """

    id: TaskId
    scope: Scope
    document_type: str
    declared: bool
    created_at: Micros
    visible_at: Micros
    ended_at: Micros
    outcome: str
    canceled_at: Micros | None = None
    revised_at: Micros | None = None
    deleted_at: Micros | None = None

    def state_at(self, now: Micros) -> tuple[str, Micros]:
        """The status at this instant, and since when it has been so (``updated_at``)."""
        if self.revised_at is not None and self.revised_at <= now:
            return (ERROR if self.outcome == SUCCESS else SUCCESS), self.revised_at
        if self.ended_at <= now:
            return self.outcome, self.ended_at
        if self.canceled_at is not None and self.canceled_at <= now:
            return CANCELED, self.canceled_at
        return PROCESSING, self.created_at

    def status_at(self, now: Micros) -> str:
        """The status at this instant."""
        return self.state_at(now)[0]

    def document_type_at(self, now: Micros) -> str | None:
        """The document's type as far as it is known at this instant."""
        return self.document_type if self.declared or self.status_at(now) == SUCCESS else None

    def readable_at(self, now: Micros) -> bool:
        """Whether the API shows the row at this instant."""
        return self.visible_at <= now and (self.deleted_at is None or now < self.deleted_at)

    def ended_by(self, now: Micros) -> bool:
        """Whether the task had ended by this instant, seen or not."""
        return self.ended_at <= now and (self.deleted_at is None or self.ended_at < self.deleted_at)

    @property
    def observable_at(self) -> Micros | None:
        """When its end could first be read; None if the row is deleted before."""
        first = max(self.ended_at, self.visible_at)
        return first if self.deleted_at is None or first < self.deleted_at else None

    @property
    def settled_at(self) -> Micros:
        """When its status changes for the last time."""
        return self.ended_at if self.revised_at is None else self.revised_at


def gap_to(settings: WorldSettings, number: int) -> int:
    """Microseconds from the previous arrival to this one: exponential, or none for a twin."""
    wait, twin, *_ = draws(settings.seed, "gap", number)
    if twin < settings.twin_share:
        return 0
    return round(-log1p(-wait) / (settings.rate * (1 - settings.twin_share)) * SECOND)


@lru_cache(maxsize=4096)
def entity_scope(seed: int, number: int) -> Scope:
    """The scope of the entity with this number, counted from 0."""
    return Scope(EntityId(uuid_for(seed, "entity", number)))


def arrival(settings: WorldSettings, faults: Faults, number: int, created_at: Micros) -> SimulatedTask:
    """The task that arrives as number so and so; its fate depends on the seed and the number alone."""
    whose, which, kind, declared, how, length, *_ = draws(settings.seed, "arrival", number)
    owned = settings.entities > 0 and whose < settings.entity_share
    scope = entity_scope(settings.seed, int(which * settings.entities)) if owned else Scope()
    document_type = next(name for bound, name in _DOCUMENT_TYPES if kind < bound)
    visible_at = Micros(created_at + _visibility(settings, faults, number, how, length))
    return _live(
        settings,
        faults,
        name=f"arrival-{number}",
        scope=scope,
        document_type=document_type,
        declared=declared >= settings.untyped_share,
        created_at=created_at,
        visible_at=visible_at,
        outcome=None,
    )


def created(
    settings: WorldSettings,
    faults: Faults,
    number: int,
    *,
    scope: Scope,
    document_type: str | None,
    outcome: str | None,
    created_at: Micros,
) -> SimulatedTask:
    """The task that somebody creates as number so and so; visible at once, as its creator has its id."""
    return _live(
        settings,
        faults,
        name=f"created-{number}",
        scope=scope,
        document_type=document_type or "invoice",
        declared=document_type is not None,
        created_at=created_at,
        visible_at=created_at,
        outcome=outcome,
    )


def _live(
    settings: WorldSettings,
    faults: Faults,
    *,
    name: str,
    scope: Scope,
    document_type: str,
    declared: bool,
    created_at: Micros,
    visible_at: Micros,
    outcome: str | None,
) -> SimulatedTask:
    seed = settings.seed
    failed, early, tail, length, whole, *_ = draws(seed, "life", name)
    outcome = outcome or (ERROR if failed < settings.error_share else SUCCESS)
    seconds = _lifetime_seconds(outcome == ERROR and early < _EARLY_ERRORS, tail < _TAIL, length)
    ended_at = max(created_at + round(seconds * settings.lifetime_scale * SECOND), created_at + 1)
    if whole < _TAIL:  # stamps of a whole second are written without a fraction; clients must read those too
        ended_at = max(ended_at - ended_at % SECOND, created_at + 1)
    life = ended_at - created_at
    canceled = stroke(seed, "canceled", name, faults.canceled)
    revised = stroke(seed, "revised", name, faults.revised)
    deleted = stroke(seed, "deleted", name, faults.deleted)
    unfinished = stroke(seed, "deleted-unfinished", name, faults.deleted_unfinished)
    deleted_at = None
    if unfinished is not None:
        deleted_at = Micros(created_at + round((0.1 + 0.8 * unfinished) * life))
    elif deleted is not None:
        deleted_at = Micros(max(ended_at, visible_at) + round((60 + 120 * deleted) * SECOND))
    return SimulatedTask(
        id=TaskId(uuid_for(seed, "task", name)),
        scope=scope,
        document_type=document_type,
        declared=declared,
        created_at=created_at,
        visible_at=visible_at,
        ended_at=Micros(ended_at),
        outcome=outcome,
        canceled_at=None if canceled is None else Micros(created_at + round((0.3 + 0.6 * canceled) * life)),
        revised_at=None if revised is None else Micros(ended_at + round((2 + 18 * revised) * SECOND)),
        deleted_at=deleted_at,
    )


def _lifetime_seconds(early: bool, tail: bool, length: float) -> float:
    if early:
        return 0.3 + 2.7 * length
    if tail:
        return 15 + min(_LONGEST_TAIL_SECONDS, -20 * log1p(-length))
    return 10 + 5 * length


def _visibility(settings: WorldSettings, faults: Faults, number: int, how: float, length: float) -> int:
    """Microseconds from a task's creation to the moment from which it is listed."""
    late = stroke(settings.seed, "late", number, faults.late)
    usual = length * (0.02 if how < 0.97 else 2.0 if how < 0.999 else 60.0)
    seconds = usual if late is None else 1 + 9 * late
    return round(seconds * settings.visibility_scale * SECOND)
