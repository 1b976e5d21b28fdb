"""Each fault of the sandbox, as a client meets it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.fakes import FakeClock
from tests.unit.sandbox.helpers import EPOCH, NOBODY, QUICK, Client, after, serving, world_of
from watcher.model import TERMINAL, from_datetime
from watcher.sandbox import NO_FAULTS, USUAL_FAULTS, Faults, Query, Sandbox
from watcher.sandbox.served import Served

GRANT = {"grant_type": "client_credentials", "client_id": "me", "client_secret": "secret"}


async def test_without_faults_nothing_goes_wrong() -> None:
    async with serving(world_of(), requests_per_second=0) as client:
        for _ in range(300):
            assert (await client.get("/ocr_tasks", {"limit": "3"})).status == 200
    assert not client.sandbox.requests_served.by_fault


async def test_a_connection_is_reset_before_the_answer() -> None:
    told: list[Served] = []
    world = world_of(faults=Faults(reset=1.0), rate=0.0)
    async with serving(world, observe=told.append) as client:
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await client.send("POST", "/ocr_tasks", json={"file_url": "https://files.example/a.pdf"})
        client.sandbox.faults = NO_FAULTS
        assert (await client.get("/ocr_tasks")).status == 200
    assert [served.status for served in told] == [0, 200]
    assert told[0].faults == ("reset",)
    assert world.truth(after(100)) == []


async def test_a_body_is_cut_short() -> None:
    async with serving(world_of(faults=Faults(truncated=1.0))) as client:
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.get("/ocr_tasks")
        url = client.sandbox.base_url + "/entities"
        async with client.session.get(url) as response:
            assert response.status == 400
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            assert int(response.headers["Content-Length"]) > 0


async def test_server_errors_come_in_all_their_bodies() -> None:
    async with serving(world_of(faults=Faults(server_error=1.0)), requests_per_second=0) as client:
        got = [await client.get("/ocr_tasks") for _ in range(60)]
        token = await client.send("POST", "/auth/token", {"Authorization": None}, json=GRANT)
    assert {one.status for one in got} == {500, 502, 503}
    shapes = {next(iter(one.json)) if one.body.startswith(b"{") else "html" for one in got}
    assert shapes == {"error", "message", "html"}
    assert all(
        (one.headers["Content-Type"] == "application/json") == one.body.startswith(b"{") for one in got
    )
    assert token.status >= 500


async def test_an_html_page_with_200() -> None:
    async with serving(world_of(faults=Faults(html_page=1.0))) as client:
        got = await client.get("/ocr_tasks")
    assert (got.status, got.headers["Content-Type"]) == (200, "text/html")
    assert got.body.startswith(b"<!DOCTYPE html>")


async def test_a_burst_of_429() -> None:
    async with serving(world_of(faults=Faults(throttled=1.0, throttle_seconds=2.5))) as client:
        first = await client.get("/ocr_tasks")
        client.clock.move(1.0)
        during = await client.get("/ocr_tasks")
        client.sandbox.faults = NO_FAULTS
        client.clock.move(1.5)
        afterwards = await client.get("/ocr_tasks")
    assert [one.status for one in (first, during, afterwards)] == [429, 429, 200]
    assert [one.headers["Retry-After"] for one in (first, during)] == ["3", "2"]


async def test_a_slow_answer_waits_on_the_sandboxs_clock() -> None:
    async with serving(world_of(faults=Faults(slow=1.0, slow_seconds=15.0))) as client:
        got = await client.get("/ocr_tasks")
    assert client.clock.slept == [15.0]
    assert got.status == 200
    assert float(got.headers["x-process-time"]) == 15.0


async def test_a_token_that_expires_early_is_told_in_two_ways() -> None:
    async with serving(world_of(faults=Faults(expired_token=1.0)), requests_per_second=0) as client:
        got = [await client.get("/ocr_tasks") for _ in range(30)]
        token = await client.send("POST", "/auth/token", {"Authorization": None}, json=GRANT)
    assert {one.status for one in got} == {400, 401}
    assert {one.json["error"]["message"] for one in got} == {"The token has been expired."}
    assert token.status == 200


async def test_a_page_token_is_rejected_in_the_middle_of_a_listing() -> None:
    async with serving(world_of(faults=Faults(rejected_page_token=1.0))) as client:
        first = await client.get("/ocr_tasks", {"limit": "5"})
        second = await client.get("/ocr_tasks", {"pagination_token": first.json["next_pagination_token"]})
        again = await client.get("/ocr_tasks", {"limit": "5"})
    assert (first.status, second.status, again.status) == (200, 400, 200)
    assert client.sandbox.requests_served.by_fault == {"rejected_page_token": 1}


async def test_a_page_with_a_malformed_row() -> None:
    async with serving(world_of(faults=Faults(malformed=1.0)), requests_per_second=0) as client:
        pages = [(await client.get("/ocr_tasks", {"limit": "5"})).json["data"] for _ in range(30)]
        one = (await client.get(f"/ocr_tasks/{pages[0][0]['id']}")).json
    for *rows, last in pages:
        assert all(_well_formed(row) for row in rows)
        assert not _well_formed(last)
    assert not _well_formed(one)


def _well_formed(row: dict[str, Any]) -> bool:
    try:
        [datetime.fromisoformat(row[name]) for name in ("created_at", "updated_at")]
        return isinstance(row["id"], str) and isinstance(row["status"], str)
    except (KeyError, ValueError):
        return False


async def test_odd_fields_say_the_same() -> None:
    world = world_of(faults=Faults(odd_fields=1.0))
    async with serving(world) as client:
        odd = await client.get("/ocr_tasks", {"order": "desc"})
        one = (await client.get(f"/ocr_tasks/{odd.ids[0]}")).json
        client.sandbox.faults = NO_FAULTS
        plain = await client.get("/ocr_tasks", {"order": "desc"})
    assert "prev_pagination_token" not in odd.json
    assert odd.json["next_pagination_token"] == plain.json["next_pagination_token"]
    assert {_essence(row) for row in odd.json["data"]} == {_essence(row) for row in plain.json["data"]}
    assert set(one) - set(plain.json["data"][0])


def _essence(row: dict[str, Any]) -> tuple[object, ...]:
    stamps = [from_datetime(datetime.fromisoformat(row[name])) for name in ("created_at", "updated_at")]
    data = msgspec.json.encode(row.get("recognized_data"))
    return row["id"], row["status"], row.get("document_type"), data, *stamps


async def test_rows_asked_for_by_id_are_missing_for_a_moment() -> None:
    world = world_of(faults=Faults(missing_rows=1.0))
    ids = [("id__in", task.id) for task in world.truth(after(60))[:100]]
    async with serving(world) as client:
        got = [(await client.get("/ocr_tasks", ids)).ids for _ in range(6)]
        listed = await client.get("/ocr_tasks")
    assert all(30 < len(one) < 70 for one in got)
    assert len(set().union(*got)) > 90
    assert len(listed.ids) == 100


async def test_stale_reads_show_an_older_state() -> None:
    world = world_of(faults=Faults(stale=1.0, stale_seconds=9.0))
    task = next(task for task in world.truth(after(60)) if after(50) < task.ended_at < after(52))
    async with serving(world, requests_per_second=0) as client:
        statuses = {(await client.get(f"/ocr_tasks/{task.id}")).json.get("status") for _ in range(40)}
        newest = [(await client.get("/ocr_tasks", {"order": "desc", "limit": "1"})).ids[0] for _ in range(10)]
        dates = {(await client.get("/ocr_tasks", {"limit": "1"})).headers["Date"] for _ in range(5)}
    assert statuses == {"processing", task.outcome}
    assert len(set(newest)) > 5
    assert len(dates) == 1


async def test_an_undocumented_status_appears_and_can_still_be_filtered_around() -> None:
    world = world_of(faults=Faults(canceled=1.0))
    async with serving(world) as client:
        rows = (await client.get("/ocr_tasks", {"order": "desc"})).json["data"]
        filtered = (await client.get("/ocr_tasks", {"status": "processing"})).json["data"]
    assert {"canceled", "processing"} <= {row["status"] for row in rows}
    assert {row["status"] for row in filtered} == {"processing"}


async def test_deleted_rows_are_gone_from_everywhere() -> None:
    world = world_of(QUICK, Faults(deleted_unfinished=1.0))
    task = world.page(NOBODY, Query(descending=True), after(60)).tasks[0]
    async with serving(world) as client:
        before = await client.get(f"/ocr_tasks/{task.id}")
        client.clock.move(120)
        gone = await client.get(f"/ocr_tasks/{task.id}")
        asked = await client.get("/ocr_tasks", {"id__in": task.id})
    assert (before.status, gone.status, asked.ids) == (200, 404, [])


async def test_faults_are_the_same_for_the_same_seed() -> None:
    async def outcomes() -> list[str]:
        faults = Faults(reset=0.2, server_error=0.2, truncated=0.2, expired_token=0.2)
        async with serving(world_of(faults=faults), requests_per_second=0) as client:
            return [await outcome(client) for _ in range(60)]

    first = await outcomes()
    assert first == await outcomes()
    assert len(set(first)) > 4


async def outcome(client: Client) -> str:
    try:
        return str((await client.get("/ocr_tasks", {"limit": "1"})).status)
    except aiohttp.ClientError as problem:
        return type(problem).__name__


async def test_a_careful_reader_misses_nothing_and_sees_nothing_twice_under_the_usual_faults() -> None:
    world = world_of(faults=USUAL_FAULTS, rate=5.0, lifetime_scale=0.2, visibility_scale=1.0)
    world.end_arrivals(after(60))
    seen: dict[str, int] = {}
    ended: list[tuple[str, str]] = []
    async with serving(world, seconds=0, requests_per_second=0) as client:
        while client.clock.monotonic() < 160:
            for id_, status, updated_at in await _scanned(client) or ():
                if updated_at > seen.get(id_, -1):
                    seen[id_] = updated_at
                    if status in TERMINAL:
                        ended.append((id_, status))
            client.clock.move(1.0)
        happened = client.sandbox.requests_served.by_fault
    truth = [task for task in world.truth(after(160)) if task.observable_at is not None]
    assert len(truth) > 250
    assert sorted(ended) == sorted((task.id, task.outcome) for task in truth)
    assert set(happened) >= {"reset", "server_error", "truncated", "expired_token", "malformed", "stale"}


async def _scanned(client: Client) -> list[tuple[str, str, int]] | None:
    """Every row of a complete scan in order of id, or None when anything about it was wrong."""
    rows: list[tuple[str, str, int]] = []
    params = {"sort": "id"}
    try:
        while params:
            got = await client.get("/ocr_tasks", params)
            if got.status != 200 or not all(_well_formed(row) for row in got.json["data"]):
                return None
            rows += [
                (row["id"], row["status"], from_datetime(datetime.fromisoformat(row["updated_at"])))
                for row in got.json["data"]
            ]
            token = got.json.get("next_pagination_token")
            params = {"pagination_token": token} if token else {}
    except (aiohttp.ClientError, msgspec.DecodeError):
        return None
    return rows


async def test_leaving_does_not_wait_for_slow_answers() -> None:
    asleep = asyncio.Event()

    class Standing(FakeClock):
        async def sleep(self, seconds: float) -> None:
            asleep.set()
            await super().sleep(seconds)

    async with aiohttp.ClientSession() as session:
        async with Sandbox(world_of(faults=Faults(slow=1.0)), Standing(EPOCH)) as sandbox:
            asked = asyncio.ensure_future(_body(session, sandbox.base_url + "/ocr_tasks"))
            await asleep.wait()
        with pytest.raises(aiohttp.ClientError):
            await asked


async def _body(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        return await response.read()
