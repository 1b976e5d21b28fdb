"""Signatures, checked by the standard's own library."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from watcher.webhooks.signing import public_key, signature, signing_key

raw_keys = st.binary(min_size=24, max_size=64)


def headers(message_id: str, timestamp: int, signed: str) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signed}


@given(
    st.lists(raw_keys, min_size=1, max_size=3, unique=True),
    raw_keys,
    st.uuids().map(str),
    st.text(),
    st.integers(-200, 200),
)
def test_a_receiver_with_any_of_the_secrets_accepts_and_one_with_none_does_not(
    keys: list[bytes], stranger: bytes, message_id: str, text: str, skew: int
) -> None:
    timestamp = int(datetime.now(UTC).timestamp()) + skew
    body = text.encode()
    sent = headers(message_id, timestamp, signature(keys, message_id, timestamp, body))
    for key in keys:
        Webhook(key).verify(body, sent, json_parse=False)
    if stranger not in keys:
        with pytest.raises(WebhookVerificationError):
            Webhook(stranger).verify(body, sent, json_parse=False)
    for wrong in (body + b" ", b"x" + body):
        with pytest.raises(WebhookVerificationError):
            Webhook(keys[0]).verify(wrong, sent, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(keys[0]).verify(body, {**sent, "webhook-timestamp": str(timestamp + 1)}, json_parse=False)


def test_the_first_secret_signs_first_and_each_signature_is_the_librarys() -> None:
    first, second = b"a" * 32, b"b" * 32
    moment = datetime(2026, 11, 23, 4, 0, 0, tzinfo=UTC)
    body = b'{"type":"ocr_task.success"}'
    expected = [Webhook(key).sign("msg_1", moment, body.decode()) for key in (first, second)]
    assert signature([first, second], "msg_1", int(moment.timestamp()), body).split(" ") == expected


@given(raw_keys, st.booleans())
def test_a_secret_stands_for_the_key_that_the_library_takes_from_it(key: bytes, padded: bool) -> None:
    encoded = base64.b64encode(key).decode()
    secret = "whsec_" + (encoded if padded else encoded.rstrip("="))
    assert signing_key(secret) == key == Webhook(secret)._whsecret


@given(st.binary(min_size=32, max_size=32), st.booleans(), st.uuids().map(str), st.binary())
def test_a_private_keys_signature_is_verified_with_its_public_key(
    seed: bytes, both: bool, message_id: str, body: bytes
) -> None:
    own = Ed25519PrivateKey.from_private_bytes(seed)
    written = seed + own.public_key().public_bytes_raw() if both else seed
    key = signing_key("whsk_" + base64.b64encode(written).decode())
    assert isinstance(key, Ed25519PrivateKey)
    first, second = signature([key, b"k" * 32], message_id, 1_800_000_000, body).split(" ")
    assert second.startswith("v1,")
    version, _, encoded = first.partition(",")
    assert version == "v1a"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(key).removeprefix("whpk_")))
    content = b"%b.1800000000.%b" % (message_id.encode(), body)
    public.verify(base64.b64decode(encoded), content)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(encoded), content + b"x")


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsk_MDEyMzQ1Njc4OWFiY2RlZg==",
        "whsk_",
        "whsk_not base64!",
        "MDEyMzQ1Njc4OWFiY2RlZg==",
        "whsec_not base64!",
        "whsec_A",
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret") as refused:
        signing_key(secret)
    assert not secret.partition("_")[2] or secret not in str(refused.value)
    assert refused.value.__cause__ is None
