"""``POST /hints`` and ``POST /hooks/monite`` over real sockets and the real store."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import structlog
from pydantic import SecretStr
from redis.asyncio import Redis
from yarl import URL

from tests.fakes import EagerClock
from tests.monite_hooks import sign
from tests.unit.monite.test_hooks import ENTITY, HINT, SECRET, TASK, hook
from watcher.metrics import Metrics
from watcher.model import EntityId, Hint, Scope, TaskId
from watcher.monite.hooks import TOLERANCE
from watcher.ops.access import Access
from watcher.ops.intake import LARGEST_HINTS, LARGEST_HOOK, MOST_IDS, HintIntake
from watcher.ops.server import OpsServer
from watcher.state.hints import HintStream
from watcher.state.keys import Keys

KEYS = Keys("t")
NOW = 1_800_000_000.0
OTHER = "7e209570-afd5-4078-ac33-b8e7409fa790"
TOKEN = "a-long-random-one"
JSON = {"content-type": "application/json"}


@dataclass
class Listener:
    """The operators' listener and a client of it."""

    url: str
    session: aiohttp.ClientSession
    metrics: Metrics
    redis: Redis

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        given = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.post(self.url + path, data=io.BytesIO(body), headers=given) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    async def hints(self) -> list[Hint | None]:
        """Everything on the stream."""
        if not await self.redis.exists(KEYS.hints):
            return []
        return [hint for _, hint in await HintStream(self.redis, KEYS).read("0")]

    def refused(self, source: str) -> float:
        return float(self.metrics.hints.labels(source=source, outcome="refused")._value.get())


@asynccontextmanager
async def listening(
    redis: Redis, *, loopback: bool = True, token: str | None = None, secret: str | None = None
) -> AsyncIterator[Listener]:
    metrics = Metrics()
    intake = HintIntake(
        HintStream(redis, KEYS),
        Access(loopback=loopback, token=SecretStr(token) if token else None),
        SecretStr(secret) if secret else None,
        clock=EagerClock(NOW),
        metrics=metrics,
    )

    async def nothing() -> None:
        """No gauge to bring up to date."""

    async def ready() -> list[str]:
        return []

    server = OpsServer(metrics.registry, ready, nothing, intake.routes)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Listener(server.url, session, metrics, redis)
    finally:
        await server.stop()


@pytest.fixture
async def listener(redis: Redis) -> AsyncIterator[Listener]:
    async with listening(redis) as listener:
        yield listener


def body(*task_ids: object, **fields: object) -> bytes:
    return json.dumps({"task_ids": task_ids, **fields}).encode()


class TestHints:
    async def test_they_are_put_on_the_stream(self, listener: Listener) -> None:
        assert await listener.post("/hints", body(TASK, OTHER)) == (202, {"accepted": 2})
        assert await listener.post("/hints", body(TASK, entity_id=ENTITY)) == (202, {"accepted": 1})
        assert await listener.post("/hints", body(OTHER, entity_id=None)) == (202, {"accepted": 1})
        assert await listener.hints() == [
            Hint(TaskId(TASK), Scope(), "http"),
            Hint(TaskId(OTHER), Scope(), "http"),
            Hint(TaskId(TASK), Scope(EntityId(ENTITY)), "http"),
            Hint(TaskId(OTHER), Scope(), "http"),
        ]

    async def test_ids_are_taken_in_any_writing_and_once_each(self, listener: Listener) -> None:
        assert await listener.post("/hints", body(TASK, TASK.upper(), TASK.replace("-", ""))) == (
            202,
            {"accepted": 1},
        )

    async def test_up_to_a_thousand_at_once(self, listener: Listener) -> None:
        ids = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(MOST_IDS + 1)]
        assert await listener.post("/hints", body(*ids[1:])) == (202, {"accepted": MOST_IDS})
        status, answer = await listener.post("/hints", body(*ids))
        assert status == 400
        assert "length <= 1000" in answer["error"]
        assert await listener.redis.xlen(KEYS.hints) == MOST_IDS

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (b"", "the body does not fit"),
            (b"{", "the body does not fit"),
            (b"[]", "Expected `object`"),
            (b"{}", "missing required field `task_ids`"),
            (b'{"task_ids": "\xff"}', "the body does not fit"),
            (body(), "length >= 1"),
            (body(7), "Expected `str`, got `int` - at `$.task_ids[0]`"),
            (body(TASK, "secret-like"), "task_id is not a UUID (at task_ids[1])"),
            (body(TASK, entity_id="secret-like"), "entity_id is not a UUID"),
            (body(TASK, entity_id=7), "at `$.entity_id`"),
            (b"[" * 60_000, "the body does not fit"),
            (b'{"more": ' + b"[" * 60_000, "the body does not fit"),
        ],
    )
    async def test_what_does_not_fit_is_said_without_showing_it(
        self, listener: Listener, given: bytes, told: str
    ) -> None:
        status, answer = await listener.post("/hints", given)
        assert (status, list(answer)) == (400, ["error"])
        assert told in answer["error"]
        assert "secret-like" not in answer["error"]
        assert await listener.hints() == []
        assert listener.refused("http") == 1

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    )
    async def test_only_json_is_taken(self, listener: Listener, kind: str) -> None:
        """What a page in a browser can send to another origin without asking first is not."""
        status, answer = await listener.post("/hints", body(TASK), content_type=kind)
        assert (status, answer) == (415, {"error": "the body must be application/json"})

    async def test_what_is_not_encoded_as_it_says_is_refused(
        self, listener: Listener, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {**JSON, "content-encoding": "gzip"}
        async with listener.session.post(f"{listener.url}/hints", data=b"hello", headers=headers) as response:
            assert (response.status, list(await response.json())) == (400, ["error"])
        assert listener.refused("http") == 1
        assert caplog.text == ""

    async def test_what_is_no_request_is_not_repeated_in_the_log(
        self, listener: Listener, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = URL(listener.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"POST /hints HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
        writer.close()
        await writer.wait_closed()
        assert caplog.text == ""

    async def test_a_fault_of_ours_is_said_and_answered(
        self, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: object) -> None:
            raise RuntimeError("not thought of")

        monkeypatch.setattr(HintStream, "append", fails)
        with structlog.testing.capture_logs() as logs:
            status, answer = await listener.post("/hints", body(TASK))
        assert (status, list(answer)) == (500, ["error"])
        assert [(line["event"], line["path"]) for line in logs] == [("http.failed", "/hints")]

    async def test_a_charset_does_no_harm(self, listener: Listener) -> None:
        kind = "application/json; charset=utf-8"
        assert (await listener.post("/hints", body(TASK), content_type=kind))[0] == 202

    async def test_a_large_body_is_refused(self, listener: Listener) -> None:
        fits = body(TASK).ljust(LARGEST_HINTS)
        assert (await listener.post("/hints", fits))[0] == 202
        status, answer = await listener.post("/hints", fits + b" ")
        assert status == 413
        assert "larger than 65536 bytes" in answer["error"]

    async def test_a_large_body_in_pieces_is_refused_before_its_end(self, listener: Listener) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 100 * LARGEST_HINTS:
                sent += 4096
                yield b" " * 4096

        async with listener.session.post(
            f"{listener.url}/hints", data=endless(), headers=JSON, expect100=False
        ) as response:
            assert response.status == 413
        assert sent < 100 * LARGEST_HINTS

    async def test_other_methods_and_paths_are_refused_in_json(self, listener: Listener) -> None:
        async with listener.session.get(f"{listener.url}/hints") as response:
            assert response.status == 405
            assert response.headers["allow"] == "POST"
            assert "error" in await response.json()
        assert (await listener.post("/hint", b""))[0] == 404

    async def test_the_index_names_them(self, listener: Listener) -> None:
        async with listener.session.get(f"{listener.url}/") as response:
            paths = (await response.json())["paths"]
        assert paths == ["/livez", "/readyz", "/metrics", "/hints", "/hooks/monite"]

    async def test_a_store_that_is_away_is_said(self, redis: Redis) -> None:
        away = Redis.from_url("unix:///nowhere/at/all")
        async with listening(away, secret=SECRET) as listener:
            status, answer = await listener.post("/hints", body(TASK))
            assert status == 503
            assert "the store" in answer["error"]
            signature = sign(SECRET, int(NOW), hook())
            assert (await listener.post("/hooks/monite", hook(), Monite_Signature=signature))[0] == 503
            assert (listener.refused("http"), listener.refused("monite")) == (0, 0)
        await away.aclose()


class TestToken:
    async def test_on_loopback_none_is_asked_for_though_one_is_set(self, redis: Redis) -> None:
        async with listening(redis, token=TOKEN) as listener:
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}"}):
                assert (await listener.post("/hints", body(TASK), **given))[0] == 202
            status, _ = await listener.post("/hints", body(TASK), content_type="text/plain")
            assert status == 415  # what a browser's page may send unasked is refused here as ever

    async def test_off_loopback_it_is_asked_for(self, redis: Redis) -> None:
        async with listening(redis, loopback=False, token=TOKEN) as listener:
            for wrong in ("", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer clé"):
                async with listener.session.post(
                    f"{listener.url}/hints",
                    data=body(TASK),
                    headers={**JSON, **({"authorization": wrong} if wrong else {})},
                ) as response:
                    assert response.status == 401
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert TOKEN not in await response.text()
            assert await listener.hints() == []
            for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
                assert (await listener.post("/hints", body(TASK), authorization=right))[0] == 202

    async def test_without_one_only_loopback_is_trusted(self, redis: Redis) -> None:
        async with listening(redis, loopback=False) as listener:
            status, answer = await listener.post("/hints", body(TASK), authorization="Bearer x")
            assert status == 401
            assert "WATCHER_HTTP__TOKEN" in answer["error"]

    async def test_health_needs_none(self, redis: Redis) -> None:
        async with (
            listening(redis, loopback=False, token=TOKEN) as listener,
            listener.session.get(f"{listener.url}/readyz") as response,
        ):
            assert response.status == 200


class TestHook:
    async def test_a_signed_one_is_taken_wherever_it_comes_from(self, redis: Redis) -> None:
        async with listening(redis, loopback=False, token=TOKEN, secret=SECRET) as listener:
            signature = sign(SECRET, int(NOW), hook())
            answer = await listener.post("/hooks/monite", hook(), Monite_Signature=signature)
            assert answer == (200, {"accepted": 1})
            assert await listener.hints() == [HINT]

    async def test_one_of_another_object_is_taken_and_asks_for_nothing(self, redis: Redis) -> None:
        async with listening(redis, secret=SECRET) as listener:
            given = hook(action="payable.created", object_type="payable")
            signature = sign(SECRET, int(NOW), given)
            assert await listener.post("/hooks/monite", given, Monite_Signature=signature) == (
                200,
                {"accepted": 0},
            )
            assert await listener.hints() == []

    @pytest.mark.parametrize(
        ("signature", "told"),
        [
            (None, "missing"),
            ("garbage", "is not t="),
            (sign(SECRET, int(NOW), hook() + b" "), "does not match"),
            (sign("whsec_other", int(NOW), hook()), "does not match"),
            (sign(SECRET, int(NOW - TOLERANCE - 1), hook()), "more than 300 s"),
            (sign(SECRET, int(NOW + TOLERANCE + 1), hook()), "more than 300 s"),
        ],
    )
    async def test_any_other_signature_is_refused(
        self, redis: Redis, signature: str | None, told: str
    ) -> None:
        async with listening(redis, secret=SECRET) as listener:
            headers = {} if signature is None else {"Monite_Signature": signature}
            status, answer = await listener.post("/hooks/monite", hook(), **headers)
            assert status == 401
            assert told in answer["error"]
            assert await listener.hints() == []
            assert listener.refused("monite") == 1

    async def test_without_a_secret_only_loopback_is_trusted(self, redis: Redis) -> None:
        async with listening(redis) as listener:
            assert (await listener.post("/hooks/monite", hook()))[0] == 200
        async with listening(redis, loopback=False, token=TOKEN) as listener:
            given = {"authorization": f"Bearer {TOKEN}", "Monite_Signature": sign(SECRET, int(NOW), hook())}
            status, answer = await listener.post("/hooks/monite", hook(), **given)
            assert status == 401
            assert "WATCHER_HOOKS__MONITE_SECRET" in answer["error"]
            assert len(await listener.hints()) == 1

    async def test_what_is_no_webhook_is_refused_although_signed(self, redis: Redis) -> None:
        async with listening(redis, secret=SECRET) as listener:
            signature = sign(SECRET, int(NOW), b"{}")
            status, answer = await listener.post("/hooks/monite", b"{}", Monite_Signature=signature)
            assert status == 400
            assert "neither action nor object_type" in answer["error"]
            status, _ = await listener.post("/hooks/monite", b"{}", content_type="text/plain")
            assert status == 415

    async def test_one_with_the_whole_task_in_it_is_taken_but_not_without_end(self, redis: Redis) -> None:
        async with listening(redis) as listener:
            whole = hook(object={"id": TASK, "recognized_data": {"line_items": ["x" * 90] * 10_000}})
            assert LARGEST_HINTS < len(whole) < LARGEST_HOOK
            assert (await listener.post("/hooks/monite", whole))[0] == 200
            assert (await listener.post("/hooks/monite", whole.ljust(LARGEST_HOOK + 1)))[0] == 413

    async def test_a_refusal_is_logged_once_until_one_is_taken(self, redis: Redis) -> None:
        async with listening(redis, secret=SECRET) as listener:
            with structlog.testing.capture_logs() as lines:
                for _ in range(3):
                    await listener.post("/hooks/monite", hook())
                await listener.post("/hooks/monite", hook(), Monite_Signature=sign(SECRET, int(NOW), hook()))
                await listener.post("/hooks/monite", hook())
        said = [line["log_level"] for line in lines if line["event"] == "hook.refused"]
        assert said == ["warning", "debug", "debug", "warning"]
        assert SECRET not in str(lines)
        assert TASK not in str(lines)


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.ops.intake.PATIENCE", 0.05)
    async with listening(redis) as listener:

        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        async with listener.session.post(f"{listener.url}/hints", data=never(), headers=JSON) as response:
            assert response.status == 408
