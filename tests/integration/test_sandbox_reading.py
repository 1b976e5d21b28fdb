"""The sandbox over HTTP, as a client sees it that behaves."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.unit.sandbox.helpers import EPOCH, NOBODY, QUICK, Client, after, serving, world_of
from watcher.model import Scope, Task, TaskId, from_datetime
from watcher.sandbox import Query, WorldSettings
from watcher.sandbox.rows import stamp

OWNED = WorldSettings(rate=20.0, entities=2, visibility_scale=0.0)


async def all_pages(client: Client, params: list[tuple[str, str]], scope: Scope = NOBODY) -> list[list[str]]:
    headers = {"x-monite-entity-id": scope.entity_id}
    got = await client.get("/ocr_tasks", params, headers)
    pages = [got.ids]
    while token := got.json["next_pagination_token"]:
        got = await client.get("/ocr_tasks", {"pagination_token": token}, headers)
        pages.append(got.ids)
    return pages


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_each_scope_lists_its_own_tasks(which: int) -> None:
    world = world_of(OWNED)
    scope = world.scopes[which]
    async with serving(world) as client:
        pages = await all_pages(client, [("sort", "id"), ("limit", "50")], scope)
    truth = [task.id for task in world.truth(after(60)) if task.scope == scope]
    assert [one for page in pages for one in page] == sorted(truth)
    assert len(pages) > 3
    assert all(len(page) == 50 for page in pages[:-1])


async def test_a_row_is_the_task() -> None:
    world = world_of()
    async with serving(world) as client:
        rows = (await client.get("/ocr_tasks")).json["data"]
    shown = [
        Task(
            id=TaskId(row["id"]),
            status=row["status"],
            created_at=from_datetime(datetime.fromisoformat(row["created_at"])),
            updated_at=from_datetime(datetime.fromisoformat(row["updated_at"])),
            document_type=row["document_type"],
        )
        for row in rows
    ]
    expected = [
        Task(
            id=task.id,
            status=task.status_at(after(60)),
            created_at=task.created_at,
            updated_at=task.state_at(after(60))[1],
            document_type=task.document_type_at(after(60)),
        )
        for task in world.truth(after(60))[:100]
    ]
    assert shown == expected
    assert {row["status"] for row in rows if row["recognized_data"]} == {"success"}


async def test_filters_reach_the_world() -> None:
    world = world_of(twin_share=0.0)
    truth = world.truth(after(60))
    low, high = truth[100].created_at, truth[300].created_at
    async with serving(world) as client:
        got = await all_pages(
            client,
            [
                ("created_at__gte", stamp(low).replace("+00:00", "Z")),
                ("created_at__lt", stamp(high)),
                ("status", "success"),
                ("document_type", "invoice"),
                ("order", "desc"),
                ("limit", "10"),
            ],
        )
    expected = [
        task.id
        for task in truth
        if low <= task.created_at < high
        and task.status_at(after(60)) == "success"
        and task.document_type_at(after(60)) == "invoice"
    ]
    assert expected
    assert [one for page in got for one in page] == expected[::-1]


async def test_absent_ids_are_silently_missing() -> None:
    world = world_of()
    known = [task.id for task in world.truth(after(60))[:100]]
    absent = "00000000-0000-4000-8000-000000000000"
    async with serving(world) as client:
        got = await client.get("/ocr_tasks", [("id__in", one) for one in [absent, *known]])
        none = await client.get("/ocr_tasks", {"id__in": absent})
    assert sorted(got.ids) == sorted(known)
    assert none.json == {"data": [], "next_pagination_token": None, "prev_pagination_token": None}


async def test_a_token_overrides_every_other_parameter() -> None:
    async with serving(world_of()) as client:
        first = await client.get("/ocr_tasks", {"limit": "5", "sort": "id", "status": "success"})
        token = first.json["next_pagination_token"]
        plain = await client.get("/ocr_tasks", {"pagination_token": token})
        crowded = await client.get(
            "/ocr_tasks", {"pagination_token": token, "limit": "1000", "sort": "nonsense", "status": "error"}
        )
        back = await client.get("/ocr_tasks", {"pagination_token": plain.json["prev_pagination_token"]})
    assert len(plain.ids) == 5
    assert crowded.body == plain.body
    assert back.ids == first.ids
    assert back.json["prev_pagination_token"] is None


async def test_tokens_remember_the_ids_asked_for() -> None:
    world = world_of(twin_share=0.0)
    ids = [task.id for task in world.truth(after(60))[:120]]
    async with serving(world) as client:
        pages = await all_pages(client, [("id__in", one) for one in ids] + [("limit", "50")])
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [one for page in pages for one in page] == ids


async def test_a_token_is_good_for_its_listing_only() -> None:
    world = world_of(OWNED)
    async with serving(world) as client:
        token = (await client.get("/ocr_tasks", {"limit": "1"})).json["next_pagination_token"]
        other = await client.get(
            "/ocr_tasks", {"pagination_token": token}, {"x-monite-entity-id": world.scopes[1].entity_id}
        )
        entities = await client.get("/entities", {"pagination_token": token})
        nonsense = await client.get("/ocr_tasks", {"pagination_token": "nonsense"})
    for got in (other, entities, nonsense):
        assert got.status == 400
        assert "pagination token" in got.json["error"]["message"]


async def test_one_task() -> None:
    world = world_of(OWNED)
    mine = next(task for task in world.truth(after(10)) if task.scope == NOBODY)
    async with serving(world) as client:
        got = await client.get(f"/ocr_tasks/{mine.id}")
        theirs = await client.get(
            f"/ocr_tasks/{mine.id}", headers={"x-monite-entity-id": world.scopes[1].entity_id}
        )
        absent = await client.get("/ocr_tasks/00000000-0000-4000-8000-000000000000")
        bad = await client.get("/ocr_tasks/17")
    assert got.json["id"] == mine.id
    assert (theirs.status, absent.status, bad.status) == (404, 404, 422)
    assert absent.json["error"]["message"]
    assert bad.json["detail"][0]["loc"] == ["path", "task_id"]


async def test_entities_are_listed_in_pages_without_their_header() -> None:
    world = world_of(QUICK, entities=3)
    async with serving(world) as client:
        first = await client.get("/entities", {"limit": "2", "status": "active"})
        second = await client.get("/entities", {"pagination_token": first.json["next_pagination_token"]})
        back = await client.get("/entities", {"pagination_token": second.json["prev_pagination_token"]})
    assert first.ids + second.ids == [scope.entity_id for scope in world.scopes[1:]]
    assert second.json["next_pagination_token"] is None
    assert back.body == first.body
    assert all(row["status"] == "active" and row["type"] for row in first.json["data"])


@pytest.mark.parametrize(
    "path", ["/ocr_tasks", "/entities", "/ocr_tasks/00000000-0000-4000-8000-000000000000"]
)
async def test_the_version_header_is_required(path: str) -> None:
    async with serving(world_of()) as client:
        got = await client.get(path, headers={"x-monite-version": None})
    assert got.status == 400
    assert got.json["error"]["type"] == "missing_api_version"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer invalid", "Basic abc"])
async def test_a_bearer_token_is_required(header: str | None) -> None:
    async with serving(world_of()) as client:
        got = await client.get("/ocr_tasks", headers={"Authorization": header})
    assert got.status == 401
    assert got.json["error"]["message"]


async def test_bad_requests_are_told_so() -> None:
    async with serving(world_of()) as client:
        entity = await client.get("/ocr_tasks", headers={"x-monite-entity-id": "me"})
        limit = await client.get("/ocr_tasks", {"limit": "0"})
        order = await client.get("/ocr_tasks", {"order": "up"})
        nowhere = await client.get("/payables", headers={"x-monite-version": None})
        method = await client.send("DELETE", "/ocr_tasks")
    assert (entity.status, limit.status, order.status, nowhere.status) == (422, 416, 422, 404)
    assert entity.json["detail"][0]["loc"] == ["header", "x-monite-entity-id"]
    assert nowhere.json["message"]
    assert method.status == 404


async def test_headers_of_every_answer() -> None:
    async with serving(world_of(), seconds=60.7) as client:
        good = await client.get("/ocr_tasks", {"limit": "1"})
        bad = await client.get("/ocr_tasks", {"limit": "0"})
    for got in (good, bad):
        assert parsedate_to_datetime(got.headers["Date"]) == datetime.fromtimestamp(EPOCH + 60, UTC)
        assert float(got.headers["x-process-time"]) >= 0
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["RateLimit-Limit"] == got.headers["X-RateLimit-Limit-Second"] == "30"
        assert got.headers["RateLimit-Reset"] == "1"
    assert len(good.headers["x-request-id"]) == 32
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]
    assert good.headers["RateLimit-Remaining"] == good.headers["X-RateLimit-Remaining-Second"] == "29"
    assert bad.headers["RateLimit-Remaining"] == "28"


async def test_the_limit_is_for_each_client_and_each_second() -> None:
    async with serving(world_of(), requests_per_second=3) as client:
        statuses = [(await client.get("/ocr_tasks")).status for _ in range(3)]
        refused = await client.get("/ocr_tasks")
        other = await client.get("/ocr_tasks", headers={"Authorization": "Bearer another"})
        client.clock.move(1.0)
        later = await client.get("/ocr_tasks")
    assert statuses == [200, 200, 200]
    assert (refused.status, other.status, later.status) == (429, 200, 200)
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert refused.json == {"message": "API rate limit exceeded"}
    assert client.sandbox.requests_served.by_status == {200: 5, 429: 1}


async def test_without_a_limit_there_are_no_limits_headers() -> None:
    async with serving(world_of(), requests_per_second=0) as client:
        got = [await client.get("/ocr_tasks", {"limit": "1"}) for _ in range(50)]
    assert {one.status for one in got} == {200}
    assert "RateLimit-Limit" not in got[0].headers


async def test_the_world_goes_on_while_it_is_served() -> None:
    world = world_of(rate=0.0)
    task = world.create(NOBODY, after(60))
    async with serving(world) as client:
        young = await client.get(f"/ocr_tasks/{task.id}")
        client.clock.move(200)
        old = await client.get(f"/ocr_tasks/{task.id}")
    assert (young.json["status"], old.json["status"]) == ("processing", task.outcome)


async def test_what_was_asked_is_counted_by_kind_and_second() -> None:
    told: list[str] = []
    world = world_of(QUICK, entities=1)
    task = world.page(NOBODY, Query(), after(60)).tasks[0]
    async with serving(world, observe=lambda served: told.append(served.kind)) as client:
        await client.get("/ocr_tasks", {"limit": "7"})
        await client.get("/ocr_tasks", {"id__in": task.id})
        client.clock.move(1)
        await client.get(f"/ocr_tasks/{task.id}")
        await client.get("/entities")
        await client.get("/nothing")
        served = client.sandbox.requests_served
    assert told == ["list", "list_ids", "get", "entities", "other"]
    assert served.by_kind == {"list": 1, "list_ids": 1, "get": 1, "entities": 1, "other": 1}
    assert list(served.per_second.values()) == [2, 3]
    assert served.rows == 7 + 1 + 1 + 2
    assert served.total == 5
