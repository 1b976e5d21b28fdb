"""The official SDK of the API works on the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from monite import AsyncMonite, Monite
from monite.core.api_error import ApiError
from monite.errors import NotFoundError, UnauthorizedError, UnprocessableEntityError

from tests.unit.sandbox.helpers import EPOCH, NOBODY, QUICK, Client, after, serving, world_of
from watcher.model import from_datetime
from watcher.sandbox import World

VERSION = "2024-05-25"


@asynccontextmanager
async def sdk(client: Client, entity: str | None = None, bearer: str = "any") -> AsyncIterator[Any]:
    async with httpx.AsyncClient() as http:
        yield AsyncMonite(
            base_url=client.sandbox.base_url,
            monite_version=VERSION,
            monite_entity_id=entity,
            token=bearer,
            httpx_client=http,
        )


def mixed_world() -> World:
    return world_of(QUICK, entities=2, untyped_share=0.1)


async def test_listing_with_pagination() -> None:
    world = mixed_world()
    async with serving(world, requests_per_second=0) as client, sdk(client) as monite:
        page = await monite.ocr.get_ocr_tasks(sort="id", limit=40)
        found = list(page.data)
        while page.next_pagination_token:
            page = await monite.ocr.get_ocr_tasks(pagination_token=page.next_pagination_token)
            found += page.data
    truth = {task.id: task for task in world.truth(after(60)) if task.scope == NOBODY}
    assert [one.id for one in found] == sorted(truth)
    for one in found:
        task = truth[one.id]
        assert (one.status, from_datetime(one.updated_at)) == task.state_at(after(60))
        assert from_datetime(one.created_at) == task.created_at
        assert (one.recognized_data is not None) == (one.status == "success")
        if one.recognized_data is not None:
            assert one.recognized_data.type == one.document_type
            assert one.recognized_data.line_items[0].total_amount > 0
            assert one.recognized_data.sender.bank_account.iban


async def test_every_filter() -> None:
    world = mixed_world()
    scope = world.scopes[2]
    async with serving(world) as client, sdk(client, scope.entity_id) as monite:
        page = await monite.ocr.get_ocr_tasks(
            order="desc",
            sort="created_at",
            limit=100,
            created_at_gte=datetime.fromtimestamp(EPOCH + 10, UTC),
            created_at_lt=datetime.fromtimestamp(EPOCH + 40, UTC),
            status="success",
            document_type="invoice",
        )
        chosen = await monite.ocr.get_ocr_tasks(id_in=[one.id for one in page.data[:3]])
    expected = {
        task.id
        for task in world.truth(after(60))
        if task.scope == scope
        and after(10) <= task.created_at < after(40)
        and task.status_at(after(60)) == "success"
        and task.document_type_at(after(60)) == "invoice"
    }
    assert {one.id for one in page.data} == expected
    assert len(expected) > 3
    assert {one.id for one in chosen.data} == {one.id for one in page.data[:3]}


async def test_creating_and_getting() -> None:
    async with serving(world_of(rate=0.0)) as client, sdk(client) as monite:
        made = await monite.ocr.post_ocr_tasks(
            file_url="https://files.example/a.pdf", document_type="receipt"
        )
        sent = await monite.ocr.post_ocr_tasks_upload_from_file(
            file=("error.pdf", b"%PDF", "application/pdf"), document_type="invoice"
        )
        client.clock.move(200)
        got = await monite.ocr.get_ocr_tasks_id(sent.id)
    assert (made.status, made.document_type) == ("processing", "receipt")
    assert (got.id, got.status, got.document_type) == (sent.id, "error", "invoice")


async def test_tokens() -> None:
    async with serving(world_of(), token_seconds=60) as client, sdk(client) as monite:
        grant = await monite.access_tokens.create(
            grant_type="client_credentials", client_id="me", client_secret="secret"
        )
        assert (grant.expires_in, grant.token_type) == (60, "Bearer")
        async with sdk(client, bearer=grant.access_token) as own:
            assert (await own.ocr.get_ocr_tasks()).data
            client.clock.move(60)
            with pytest.raises(UnauthorizedError) as caught:
                await own.ocr.get_ocr_tasks()
    assert "The token has been expired." in str(caught.value)


async def test_entities() -> None:
    world = mixed_world()
    async with serving(world) as client, sdk(client) as monite:
        page = await monite.entities.get(status="active", limit=1)
        rest = await monite.entities.get(pagination_token=page.next_pagination_token)
    found = [one.id for one in page.data + rest.data]
    assert found == [scope.entity_id for scope in world.scopes[1:]]
    assert page.data[0].organization.legal_name


async def test_errors_are_the_ones_it_knows() -> None:
    async with serving(world_of(), requests_per_second=5) as client, sdk(client) as monite:
        with pytest.raises(NotFoundError):
            await monite.ocr.get_ocr_tasks_id("00000000-0000-4000-8000-000000000000")
        with pytest.raises(UnprocessableEntityError):
            await monite.ocr.get_ocr_tasks(status="canceled")
        with pytest.raises(ApiError) as limit:
            await monite.ocr.get_ocr_tasks(limit=101)
        async with sdk(client, bearer="invalid") as stranger:
            with pytest.raises(UnauthorizedError):
                await stranger.ocr.get_ocr_tasks()
    assert limit.value.status_code == 416


async def test_the_blocking_client_too() -> None:
    world = world_of()
    async with serving(world) as client:

        def listed() -> list[str]:
            with httpx.Client() as http:
                monite = Monite(
                    base_url=client.sandbox.base_url, monite_version=VERSION, token="any", httpx_client=http
                )
                return [one.id for one in monite.ocr.get_ocr_tasks(limit=3).data]

        found = await asyncio.to_thread(listed)
    assert len(found) == 3
    assert set(found) <= {task.id for task in world.truth(after(60))}
