import pytest

from watcher.model import EntityId, Micros, TaskId
from watcher.monite.query import EntityQuery, TaskQuery


def test_every_parameter_that_the_api_has() -> None:
    query = TaskQuery(
        order="desc",
        sort="id",
        limit=25,
        created_at_gt=Micros(1),
        created_at_gte=Micros(2),
        created_at_lt=Micros(3),
        created_at_lte=Micros(1_795_406_400_000_000),
        status="processing",
        document_type="credit_note",
        id_in=(TaskId("a"), TaskId("b")),
    )
    assert query.params() == [
        ("limit", "25"),
        ("order", "desc"),
        ("sort", "id"),
        ("created_at__gt", "1970-01-01T00:00:00.000001Z"),
        ("created_at__gte", "1970-01-01T00:00:00.000002Z"),
        ("created_at__lt", "1970-01-01T00:00:00.000003Z"),
        ("created_at__lte", "2026-11-23T04:00:00.000000Z"),
        ("status", "processing"),
        ("document_type", "credit_note"),
        ("id__in", "a"),
        ("id__in", "b"),
    ]


def test_what_is_not_asked_is_not_sent() -> None:
    assert TaskQuery().params() == [("limit", "100")]
    assert EntityQuery().params() == [("limit", "100")]


def test_the_epoch_is_an_instant_like_any_other() -> None:
    assert ("created_at__gte", "1970-01-01T00:00:00.000000Z") in TaskQuery(created_at_gte=Micros(0)).params()


def test_a_page_token_goes_alone() -> None:
    page = TaskQuery(status="error", id_in=(TaskId("a"),), sort="id").page("tok")
    assert page.params() == [("pagination_token", "tok")]
    assert page.status == "error"
    assert EntityQuery(status="active").page("tok").params() == [("pagination_token", "tok")]


def test_entity_parameters() -> None:
    query = EntityQuery(status="active", sort="created_at", id_in=(EntityId("e"),), limit=1)
    assert query.params() == [("limit", "1"), ("sort", "created_at"), ("status", "active"), ("id__in", "e")]


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_limit_that_the_api_refuses_is_refused_here(limit: int) -> None:
    with pytest.raises(ValueError, match=str(limit)):
        TaskQuery(limit=limit)
    with pytest.raises(ValueError, match=str(limit)):
        EntityQuery(limit=limit)
