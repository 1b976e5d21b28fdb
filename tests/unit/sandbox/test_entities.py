from __future__ import annotations

import pytest
from multidict import MultiDict

from tests.unit.sandbox.helpers import QUICK, world_of
from watcher.sandbox.answers import Refusal
from watcher.sandbox.entities import chosen, entities_of, entity_query, entity_row
from watcher.sandbox.rows import stamp

WORLD = world_of(QUICK, entities=3)
ENTITIES = entities_of(WORLD)


def numbers(*pairs: tuple[str, str]) -> list[int]:
    """Which entities a query finds, counted from 0 in order of creation."""
    return [ENTITIES.index(entity) for entity in chosen(ENTITIES, entity_query(MultiDict(pairs)))]


def test_the_entities_whose_tasks_arrive_are_active() -> None:
    assert [entity.status for entity in ENTITIES] == ["active", "active", "active", "inactive"]
    assert {entity.id for entity in ENTITIES[:3]} == {scope.entity_id for scope in WORLD.scopes[1:]}
    assert len({entity.id for entity in ENTITIES}) == 4
    assert entities_of(world_of(QUICK, entities=0)) == []


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([], [0, 1, 2, 3]),
        ([("order", "desc")], [3, 2, 1, 0]),
        ([("sort", "updated_at")], [3, 2, 1, 0]),
        ([("status", "active")], [0, 1, 2]),
        ([("status", "inactive")], [3]),
        ([("status", "deleted")], []),
        ([("type", "individual")], [2]),
        ([("id__in", ENTITIES[1].id), ("id__in", ENTITIES[3].id)], [1, 3]),
        ([("id__not_in", ENTITIES[1].id)], [0, 2, 3]),
        ([("created_at__gte", stamp(ENTITIES[2].created_at))], [2, 3]),
        ([("created_at__lt", stamp(ENTITIES[2].created_at))], [0, 1]),
    ],
)
def test_filters(pairs: list[tuple[str, str]], found: list[int]) -> None:
    assert numbers(*pairs) == found


@pytest.mark.parametrize(("name", "value"), [("sort", "id"), ("status", "gone"), ("type", "club")])
def test_bad_values_are_refused(name: str, value: str) -> None:
    with pytest.raises(Refusal) as caught:
        numbers((name, value))
    assert caught.value.answer.status == 422


def test_a_row_says_what_the_entity_is() -> None:
    company, person = entity_row(ENTITIES[0]), entity_row(ENTITIES[2])
    assert (company["type"], company["status"]) == ("organization", "active")
    assert company["organization"]["legal_name"]
    assert person["individual"]["first_name"]
