"""Monite's own webhooks: signatures and the task that a body tells of."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.monite_hooks import sign
from watcher.model import EntityId, Hint, Scope, TaskId
from watcher.monite.hooks import (
    TOLERANCE,
    HookFormatError,
    SignatureRefused,
    decode_hook,
    verify,
)

SECRET = "whsec_Iw3mrQ0aJm"
NOW = 1_710_139_795.0
BODY = b'{"action": "ocr_task.finished"}'
TASK = "2f0ab5fe-6b6f-4a8c-8b6e-0f1d3f2e9c11"
ENTITY = "5b0b3bd8-9a3f-4cb4-8e0b-2f6b3c5e7a11"


def refused(header: str | None, body: bytes = BODY, now: float = NOW, secret: str = SECRET) -> str:
    with pytest.raises(SignatureRefused) as refusal:
        verify(header, body, secret, now)
    assert SECRET not in str(refusal.value)
    return str(refusal.value)


class TestSignature:
    def test_a_known_one(self) -> None:
        """Made with ``printf '1710139795.{}' | openssl dgst -sha256 -hmac whsec_test``."""
        digest = "3934a23057c4bf5ff860eef817ec5eac26e88561a3c8b5d645b1162388737d03"
        verify(f"t=1710139795,v1={digest}", b"{}", "whsec_test", NOW)

    @pytest.mark.parametrize("away", [-TOLERANCE, -1.0, 0.0, 0.5, TOLERANCE])
    def test_it_is_good_for_five_minutes_either_way(self, away: float) -> None:
        verify(sign(SECRET, int(NOW), BODY), BODY, SECRET, NOW + away)

    @pytest.mark.parametrize("away", [-TOLERANCE - 1, TOLERANCE + 1, 86_400.0])
    def test_beyond_that_it_is_refused(self, away: float) -> None:
        assert "more than 300 s from now" in refused(sign(SECRET, int(NOW), BODY), now=NOW + away)

    @pytest.mark.parametrize("stamp", ["9" * 13, "9" * 5000])
    def test_a_number_that_is_no_time_is_refused_although_signed(self, stamp: str) -> None:
        digest = hmac.new(SECRET.encode(), stamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()
        assert "from now" in refused(f"t={stamp},v1={digest}")

    def test_white_space_another_order_and_other_schemes_do_no_harm(self) -> None:
        stamp, digest = sign(SECRET, int(NOW), BODY).split(",")
        verify(f"v0=abc, {digest} , {stamp},v2=xyz", BODY, SECRET, NOW)

    def test_of_several_any_may_be_right(self) -> None:
        stamp, digest = sign(SECRET, int(NOW), BODY).split(",")
        verify(f"{stamp},v1={'0' * 64},{digest}", BODY, SECRET, NOW)

    @pytest.mark.parametrize(
        ("header", "told"),
        [
            (None, "missing"),
            ("", "missing"),
            ("t=1710139795", "is not t="),
            (f"v1={'0' * 64}", "is not t="),
            (f"t=now,v1={'0' * 64}", "is not t="),
            (f"t=-1,v1={'0' * 64}", "is not t="),
            (f"t=1710139795,t=1710139796,v1={'0' * 64}", "is not t="),
            ("garbage", "is not t="),
            ("t=1710139795,v1=", "does not match"),
            (f"t=1710139795,v1={'0' * 64}", "does not match"),
            ("t=1710139795,v1=\udcff", "does not match"),
            (f"t=1710139795,v0={'0' * 64}", "is not t="),
        ],
    )
    def test_anything_else_is_refused(self, header: str | None, told: str) -> None:
        assert told in refused(header)

    def test_another_body_another_secret_or_another_time_is_refused(self) -> None:
        header = sign(SECRET, int(NOW), BODY)
        assert "does not match" in refused(header, body=BODY + b" ")
        assert "does not match" in refused(header, secret="whsec_other")
        assert "does not match" in refused(header.replace("t=1710139795", "t=1710139796"))

    @given(st.binary(max_size=200), st.text(st.characters(codec="ascii"), min_size=1), st.integers(0, 10**11))
    def test_what_was_signed_is_accepted(self, body: bytes, secret: str, stamp: int) -> None:
        verify(sign(secret, stamp, body), body, secret, float(stamp))

    @given(st.text(max_size=60))
    def test_no_other_text_ever_is(self, header: str) -> None:
        with pytest.raises(SignatureRefused):
            verify(header, BODY, SECRET, NOW)


def hook(**fields: object) -> bytes:
    """A webhook in the form of the API's schema, version 2024-05-25."""
    documented = {
        "id": "0b2a0ea8-6a5c-4cf5-9b7d-44c2b5c5f001",
        "created_at": "2026-11-23T04:41:56.700000Z",
        "action": "ocr_task.finished",
        "api_version": "2024-05-25",
        "description": "ocr_task_is_finished",
        "entity_id": ENTITY,
        "object": {"id": TASK},
        "object_type": "ocr_task",
        "webhook_subscription_id": "7e209570-afd5-4078-ac33-b8e7409fa790",
    }
    return json.dumps({**documented, **fields}).encode()


HINT = Hint(TaskId(TASK), Scope(EntityId(ENTITY)), "monite")


class TestBody:
    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"object": {"id": TASK, "status": "success", "recognized_data": {"total": 1.1}}},
            {"object": {"id": TASK.upper()}, "entity_id": ENTITY.upper()},
            {"object": TASK},
            {"object": None, "object_id": TASK},
            {"object": {}, "object_id": TASK},
            {"action": "finished"},
            {"action": None},
            {"object_type": None},
            {"object_type": "OcrTask"},
            {"anything": ["else"]},
        ],
    )
    def test_the_task_it_tells_of(self, fields: dict[str, object]) -> None:
        assert decode_hook(hook(**fields)) == HINT

    @pytest.mark.parametrize("entity", [None, ""])
    def test_without_an_entity_it_is_of_the_scope_of_none(self, entity: str | None) -> None:
        assert decode_hook(hook(entity_id=entity)) == Hint(TaskId(TASK), Scope(), "monite")

    @pytest.mark.parametrize(
        "fields",
        [
            {"action": "payable.created", "object_type": "payable"},
            {"action": "payable.ocr_finished", "object_type": "payable"},
            {"action": "ocr_tasks.finished", "object_type": "ocr_tasks"},
            {"action": "created", "object_type": "entity", "object": None},
        ],
    )
    def test_of_anything_else_it_tells_nothing(self, fields: dict[str, object]) -> None:
        assert decode_hook(hook(**fields)) is None

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "not a JSON object"),
            (b"[]", "not a JSON object"),
            (b"null", "not a JSON object"),
            (b"{", "not a JSON object"),
            (b'{"action": "\xff"}', "not a JSON object"),
            (b"[" * 100_000, "not a JSON object"),
            (b"{}", "neither action nor object_type"),
            (hook(action=1, object_type=2), "neither action nor object_type"),
            (hook(object=None), "no id in object"),
            (hook(object=7), "no id in object"),
            (hook(object={"id": 7}), "no id in object"),
            (hook(object={"id": "7"}), "task_id is not a UUID"),
            (hook(entity_id=7), "entity_id is not text"),
            (hook(entity_id="mine"), "entity_id is not a UUID"),
        ],
    )
    def test_what_is_no_webhook_is_refused_without_showing_it(self, body: bytes, told: str) -> None:
        with pytest.raises(HookFormatError) as refusal:
            decode_hook(body)
        assert told in str(refusal.value)
        assert refusal.value.__cause__ is None

    @given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
    def test_no_body_does_harm(self, body: bytes) -> None:
        try:
            decode_hook(body)
        except HookFormatError:
            return
