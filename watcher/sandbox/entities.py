"""The entities of the simulated partner, and their listing."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from multidict import MultiMapping

from watcher.model import SECOND, EntityId, Micros
from watcher.sandbox.draws import uuid_for
from watcher.sandbox.parameters import Parameters
from watcher.sandbox.queries import PAGE
from watcher.sandbox.rows import stamp
from watcher.sandbox.tasks import entity_scope
from watcher.sandbox.world import World

_DAY: Final = 86_400 * SECOND


@dataclass(frozen=True, slots=True)
class Entity:
    """A business or a person on whose behalf the partner acts."""

    id: EntityId
    name: str
    type: str
    status: str
    created_at: Micros
    updated_at: Micros


@dataclass(frozen=True, slots=True)
class EntityQuery:
    """The parameters of ``GET /entities``; ``offset`` counts the rows before the page."""

    sort: str = "created_at"
    descending: bool = False
    limit: int = PAGE
    created_from: Micros | None = None
    created_before: Micros | None = None
    status: str | None = None
    type: str | None = None
    ids: tuple[str, ...] | None = None
    not_ids: tuple[str, ...] = ()
    offset: int = 0


def entities_of(world: World) -> list[Entity]:
    """The entities in which tasks arrive, all active, and after them an inactive one without any tasks."""
    seed, count = world.settings.seed, world.settings.entities
    made = []
    for number in range(count + (1 if count else 0)):
        active = number < count
        id_ = (
            entity_scope(seed, number).entity_id if active else EntityId(uuid_for(seed, "entity", "inactive"))
        )
        assert id_ is not None  # noqa: S101 - an entity's scope always has its id
        created_at = Micros(world.start - (count + 1 - number) * _DAY)
        made.append(
            Entity(
                id=id_,
                name=f"Simulated entity {number + 1}",
                type="individual" if number % 3 == 2 else "organization",
                status="active" if active else "inactive",
                created_at=created_at,
                updated_at=Micros(world.start - (number + 1) * SECOND),
            )
        )
    return made


def entity_query(values: MultiMapping[str]) -> EntityQuery:
    """The query of ``GET /entities``. Raises `Refusal` with 416 or 422."""
    read = Parameters(values)
    first, before = read.created_range()
    query = EntityQuery(
        sort=read.choice("sort", ("created_at", "updated_at")) or "created_at",
        descending=read.choice("order", ("asc", "desc")) == "desc",
        created_from=first,
        created_before=before,
        status=read.choice("status", ("active", "inactive", "deleted")),
        type=read.choice("type", ("individual", "organization")),
        ids=read.uuids("id__in"),
        not_ids=read.uuids("id__not_in") or (),
        limit=read.limit(),
    )
    read.check()
    return query


def chosen(entities: list[Entity], query: EntityQuery) -> list[Entity]:
    """All the entities that the query asks for, on every page, in its order."""
    return sorted(
        (
            entity
            for entity in entities
            if (query.status is None or entity.status == query.status)
            and (query.type is None or entity.type == query.type)
            and (query.ids is None or entity.id in query.ids)
            and entity.id not in query.not_ids
            and (query.created_from is None or entity.created_at >= query.created_from)
            and (query.created_before is None or entity.created_at < query.created_before)
        ),
        key=attrgetter(query.sort),
        reverse=query.descending,
    )


def entity_row(entity: Entity) -> dict[str, Any]:
    """The entity as the API shows it."""
    row: dict[str, Any] = {
        "id": entity.id,
        "created_at": stamp(entity.created_at),
        "updated_at": stamp(entity.updated_at),
        "type": entity.type,
        "status": entity.status,
        "email": None,
        "address": {"country": "DE", "city": "Berlin", "postal_code": "10115", "line1": "Example street 1"},
    }
    if entity.type == "individual":
        row["individual"] = {"first_name": "Simulated", "last_name": entity.name}
    else:
        row["organization"] = {"legal_name": entity.name}
    return row
