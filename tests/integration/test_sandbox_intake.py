"""What a developer hands in to the sandbox: documents and credentials."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.unit.sandbox.helpers import NOBODY, Client, Got, after, serving, world_of
from watcher.model import EntityId, Scope
from watcher.sandbox.intake import LARGEST_FILE

ENTITY = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
GRANT = {"grant_type": "client_credentials", "client_id": "me", "client_secret": "secret"}


async def post(client: Client, body: Any, headers: Mapping[str, str | None] | None = None) -> Got:
    return await client.send("POST", "/ocr_tasks", headers, json=body)


async def upload(
    client: Client, content: bytes | BytesIO, name: str = "bill.pdf", field: str = "file", **query: str
) -> Got:
    form = aiohttp.FormData()
    form.add_field(field, content, filename=name, content_type="application/pdf")
    return await client.send("POST", "/ocr_tasks/upload_from_file", params=query, data=form)


async def test_a_document_by_its_url_becomes_a_task() -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        got = await post(client, {"file_url": "https://files.example/bill.pdf", "document_type": "receipt"})
        again = await client.get(f"/ocr_tasks/{got.json['id']}")
        listed = await client.get("/ocr_tasks")
        client.clock.move(300)
        ended = await client.get(f"/ocr_tasks/{got.json['id']}")
    assert got.status == 202
    assert (got.json["status"], got.json["document_type"]) == ("processing", "receipt")
    assert again.json == got.json
    assert listed.ids == [got.json["id"]]
    assert ended.json["status"] in ("success", "error")
    assert [task.id for task in world.truth(after(60))] == listed.ids


async def test_a_task_belongs_to_the_entity_in_the_header() -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        header = {"x-monite-entity-id": ENTITY.upper()}
        got = await post(client, {"file_url": "https://files.example/bill.pdf"}, header)
        theirs = await client.get("/ocr_tasks", headers={"x-monite-entity-id": ENTITY})
        nobodys = await client.get("/ocr_tasks")
    assert got.json["document_type"] is None
    assert (theirs.ids, nobodys.ids) == ([got.json["id"]], [])
    assert world.truth(after(60))[0].scope == Scope(EntityId(ENTITY))


async def test_a_file_becomes_a_task() -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        got = await upload(client, b"%PDF-1.7", document_type="invoice")
        other = await upload(client, b"scan", name="scan.JPG")
    assert (got.status, got.json["document_type"]) == (202, "invoice")
    assert (other.status, other.json["document_type"]) == (202, None)
    assert [task.scope for task in world.truth(after(60))] == [NOBODY, NOBODY]


@pytest.mark.parametrize("way", ["url", "file"])
async def test_a_file_named_error_is_not_recognised(way: str) -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        for _ in range(5):
            if way == "url":
                await post(client, {"file_url": "https://files.example/docs/error-page.png"})
            else:
                await upload(client, b"x", name="Error.pdf")
    assert [task.outcome for task in world.truth(after(60))] == ["error"] * 5


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"file_url": "ftp://files.example/a.pdf"}, 422),
        ({"file_url": "bill.pdf"}, 422),
        ({"file_url": 17}, 422),
        ({"file_url": "https://[half/a.pdf"}, 422),
        ({"file_url": "https://files.example/a.pdf", "document_type": "letter"}, 422),
        ({"file_url": "https://files.example/a.pdf", "document_type": ["invoice"]}, 422),
        ([], 422),
        ("text", 422),
        ({"file_url": "https://files.example/a.docx"}, 415),
        ({"file_url": "https://nowhere.invalid/a.pdf"}, 424),
    ],
)
async def test_bad_bodies_make_no_task(body: Any, status: int) -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        got = await post(client, body)
    assert got.status == status
    assert ("detail" in got.json) == (status == 422)
    assert world.truth(after(60)) == []


async def test_a_body_that_is_not_json() -> None:
    async with serving(world_of()) as client:
        json = {"Content-Type": "application/json"}
        broken = await client.send("POST", "/ocr_tasks", json, data=b'{"file_url": "htt')
        binary = await client.send("POST", "/ocr_tasks", json, data=b"\xff\xfe")
        plain = await client.send("POST", "/ocr_tasks", {"Content-Type": "text/plain"}, data=b"{}")
        huge = await client.send("POST", "/ocr_tasks", json, data=BytesIO(b" " * (LARGEST_FILE + 1)))
    assert (broken.status, binary.status, plain.status, huge.status) == (422, 422, 415, 413)


async def test_files_that_are_not_taken() -> None:
    world = world_of(rate=0.0)
    async with serving(world) as client:
        statuses = {
            "empty": (await upload(client, b"")).status,
            "type": (await upload(client, b"x", name="bill.docx")).status,
            "field": (await upload(client, b"x", field="document")).status,
            "document_type": (await upload(client, b"x", document_type="letter")).status,
            "size": (await upload(client, BytesIO(b"x" * (LARGEST_FILE + 1)))).status,
            "form": (await client.send("POST", "/ocr_tasks/upload_from_file", data=b"x")).status,
            "boundary": (
                await client.send(
                    "POST",
                    "/ocr_tasks/upload_from_file",
                    {"Content-Type": "multipart/form-data"},
                    data=b"x",
                )
            ).status,
        }
    assert statuses == {
        "empty": 400,
        "type": 415,
        "field": 422,
        "document_type": 422,
        "size": 413,
        "form": 415,
        "boundary": 422,
    }
    assert world.truth(after(60)) == []


async def test_a_token_is_given_renewed_and_ends() -> None:
    async with serving(world_of(), token_seconds=10) as client:
        no_token = {"Authorization": None}
        given = await client.send("POST", "/auth/token", no_token, json=GRANT)
        again = await client.send("POST", "/auth/token", no_token, json=GRANT)
        bearer = {"Authorization": f"Bearer {given.json['access_token']}"}
        good = await client.get("/ocr_tasks", headers=bearer)
        client.clock.move(10)
        over = await client.get("/ocr_tasks", headers=bearer)
    assert (given.json["expires_in"], given.json["token_type"]) == (10, "Bearer")
    assert given.json["access_token"] != again.json["access_token"]
    assert (good.status, over.status) == (200, 401)
    assert over.json["error"]["message"] == "The token has been expired."


async def test_a_renewed_token_is_the_same_client_to_the_limiter() -> None:
    async with serving(world_of(), requests_per_second=5) as client:
        tokens = [
            (await client.send("POST", "/auth/token", {"Authorization": None}, json=GRANT)).json[
                "access_token"
            ]
            for _ in range(2)
        ]
        left = [
            (await client.get("/ocr_tasks", headers={"Authorization": f"Bearer {token}"})).headers[
                "RateLimit-Remaining"
            ]
            for token in tokens
        ]
    assert left == ["4", "3"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_secret": "invalid"}, 401),
        ({"client_id": ""}, 401),
        ({"client_secret": None}, 422),
        ({"grant_type": "password"}, 422),
        ({"grant_type": "entity_user"}, 200),
    ],
)
async def test_credentials(changes: dict[str, Any], status: int) -> None:
    async with serving(world_of()) as client:
        got = await client.send("POST", "/auth/token", {"Authorization": None}, json=GRANT | changes)
        unversioned = await client.send("POST", "/auth/token", {"x-monite-version": None}, json=GRANT)
    assert got.status == status
    assert "secret" not in got.body.decode() or status == 422
    assert unversioned.json["error"]["type"] == "missing_api_version"
