import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.monite.messages import MAX_LENGTH, clean, error_message, says_token_expired

TOKEN = "s3cr3t-token"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"error": {"message": "Bad filter"}}, "Bad filter"),
        (
            400,
            {"error": {"type": "missing_api_version", "message": "Set the header"}},
            "Set the header (missing_api_version)",
        ),
        (
            422,
            {
                "detail": [
                    {"loc": ["body", "file_url"], "msg": "field required", "type": "value_error.missing"}
                ]
            },
            "body.file_url: field required",
        ),
        (
            422,
            {"detail": [{"loc": ["query", "id__in", 0], "msg": "no uuid"}, {"msg": "and"}]},
            "query.id__in.0: no uuid; and",
        ),
        (422, {"detail": [{"loc": ["a"], "msg": str(n)} for n in range(5)]}, "a: 0; a: 1; a: 2; 2 more"),
        (404, {"detail": "Not Found"}, "Not Found"),
        (429, {"message": "API rate limit exceeded"}, "API rate limit exceeded"),
        (401, {"error": "invalid_client", "error_description": "Unknown client"}, "Unknown client"),
        (401, {"error": "invalid_client"}, "invalid_client"),
        (400, "plain", "plain"),
        (500, {}, "Internal Server Error"),
        (500, {"error": None}, "Internal Server Error"),
        (500, {"error": {"message": 5}}, "Internal Server Error"),
        (422, {"detail": []}, "Unprocessable"),
        (422, {"detail": [5, None]}, "Unprocessable"),
        (503, [], "Service Unavailable"),
        (503, 17, "Service Unavailable"),
        (599, None, "no message"),
    ],
)
def test_every_shape_of_error_body(status: int, body: object, message: str) -> None:
    said = error_message(status, json.dumps(body).encode())
    assert said.startswith(message) if message == "Unprocessable" else said == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Bad Gateway"),
        (b"<html><title>nginx</title></html>", "Bad Gateway"),
        (b"  <!doctype html>", "Bad Gateway"),
        (b"upstream connect error\r\nor disconnect", "upstream connect error or disconnect"),
        (b'{"message": "cut o', '{"message": "cut o'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * (MAX_LENGTH - 1) + "…"),
    ],
)
def test_bodies_that_are_no_json(body: bytes, message: str) -> None:
    assert error_message(502, body) == message


def test_what_the_request_carried_is_not_repeated() -> None:
    body = json.dumps({"message": f"Token {TOKEN} of page={TOKEN}2 is wrong"}).encode()
    assert error_message(400, body, [TOKEN, TOKEN + "2"]) == "Token [hidden] of page=[hidden] is wrong"


def test_what_looks_like_a_token_is_not_repeated_and_an_id_is() -> None:
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
    task = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
    said = error_message(400, json.dumps({"message": f"{jwt} does not see {task}"}).encode())
    assert said == f"[hidden] does not see {task}"


def test_a_secret_is_not_cut_in_half_by_trimming() -> None:
    said = clean("x " * (MAX_LENGTH // 2 - 2) + TOKEN, [TOKEN])
    assert "s3c" not in said


texts = st.text("abcdef-._ \n\x1b\u2028é", max_size=300)


@given(texts, texts, st.text("abcdef-._ \n", min_size=4, max_size=30))
def test_a_cleaned_text_is_one_short_line_without_the_secret(before: str, after: str, secret: str) -> None:
    said = clean(before + secret + after, [secret])
    assert len(said) <= MAX_LENGTH
    assert all(char.isprintable() for char in said)
    # Cleaning may bring the same characters together elsewhere only if they stood there without the secret.
    assert secret not in said or secret in clean(before + "[hidden]" + after)


@given(st.integers(100, 599), st.binary(max_size=300))
def test_there_is_always_a_message(status: int, body: bytes) -> None:
    assert error_message(status, body)


@pytest.mark.parametrize(
    ("message", "expired"),
    [
        ("The token has been expired.", True),
        ("Token expired", True),
        ("Access TOKEN has EXPIRED (bad_token)", True),
        ("The token is malformed", False),
        ("The pagination token has expired", False),
        ("The document expired", False),
        ("", False),
    ],
)
def test_an_expired_token_is_recognised(message: str, expired: bool) -> None:
    assert says_token_expired(message) is expired
