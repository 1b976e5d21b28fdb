"""Both forms of the log, the libraries' records in it, and the mask."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from watcher import logs

log = structlog.get_logger()
"""As modules make it: before logging is configured."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail() -> None:
    password = "zq7x-local"
    raise ValueError(f"no {len(password)}")


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_events_are_json_lines_off_a_terminal() -> None:
    out = io.StringIO()
    logs.configure("info", "auto", out)

    before = datetime.now(UTC)
    log.info("poll.done", rows=3, name="Müller")

    (line,) = lines(out)
    stamp = str(line["timestamp"])
    assert list(line) == ["timestamp", "level", "event", "rows", "name"]
    assert {**line, "timestamp": None} == {
        "timestamp": None,
        "level": "info",
        "event": "poll.done",
        "rows": 3,
        "name": "Müller",
    }
    assert stamp.endswith("Z")
    assert before <= datetime.fromisoformat(stamp) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("form", "out", "is_json", "has_colours"),
    [
        ("auto", Terminal(), False, True),
        ("auto", io.StringIO(), True, False),
        ("console", Terminal(), False, True),
        ("console", io.StringIO(), False, False),
        ("json", Terminal(), True, False),
    ],
)
def test_forms(form: str, out: io.StringIO, *, is_json: bool, has_colours: bool) -> None:
    logs.configure("info", form, out)

    log.info("poll.done", rows=3)
    logging.getLogger("redis").warning("odd")

    text = out.getvalue()
    assert text.count("\n") == 2
    assert text.startswith("{") is is_json
    assert ("\x1b[" in text) is has_colours
    assert "poll.done" in text
    assert "odd" in text


def test_libraries_speak_in_the_same_form() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    structlog.contextvars.bind_contextvars(shard=1)

    log.info("lease.taken")
    logging.getLogger("aiohttp.client").warning("closed by %s", "peer")

    ours, theirs = lines(out)
    assert (ours["event"], ours["shard"]) == ("lease.taken", 1)
    assert {**theirs, "timestamp": None} == {
        "timestamp": None,
        "level": "warning",
        "event": "closed by peer",
        "logger": "aiohttp.client",
        "shard": 1,
    }


def test_levels() -> None:
    out = io.StringIO()
    logs.configure("warning", "json", out)

    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)(f"ours.{level}")
        getattr(logging.getLogger("redis"), level)(f"theirs.{level}")

    assert [line["event"] for line in lines(out)] == [
        f"{whose}.{level}" for level in ("warning", "error", "critical") for whose in ("ours", "theirs")
    ]


def test_requests_of_libraries_are_not_told_even_when_debugging() -> None:
    out = io.StringIO()
    logs.configure("debug", "json", out)

    for name in ("httpx", "aiohttp.access", "apprise"):
        logging.getLogger(name).info("GET https://x.test/?token=1")
        logging.getLogger(name).warning("failed")
    logging.getLogger("asyncio").debug("selector")

    assert [line["event"] for line in lines(out)] == ["failed"] * 3 + ["selector"]


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_an_exception_is_one_structured_line_without_local_variables(whose: str) -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)

    try:
        fail()
    except ValueError:
        (log if whose == "ours" else logging.getLogger("x")).exception("it.failed")

    (line,) = lines(out)
    (exception,) = line["exception"]
    assert (line["level"], line["event"]) == ("error", "it.failed")
    assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "no 10")
    assert exception["frames"][-1]["name"] == "fail"
    assert "zq7x" not in out.getvalue()


def test_an_exception_on_a_console_shows_no_local_variables() -> None:
    out = Terminal()
    logs.configure("info", "console", out)

    try:
        fail()
    except ValueError:
        log.exception("it.failed")

    assert "ValueError: no 10" in out.getvalue()
    assert out.getvalue().count("zq7x") == 0


def test_configuring_again_replaces_what_was_there() -> None:
    first, second = io.StringIO(), io.StringIO()
    foreign = logging.NullHandler()
    logging.getLogger().addHandler(foreign)
    logs.configure("info", "json", first)
    log.info("one")
    logs.configure("error", "json", second)

    log.info("two")
    log.error("three")
    logging.getLogger("redis").error("four")

    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["three", "four"]
    assert foreign in logging.getLogger().handlers


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    log.info("poll.done")

    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "poll.done"
    assert captured.out == ""


class Counted(io.StringIO):
    """Counts what is given to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


async def test_the_lines_of_one_turn_of_the_event_loop_leave_in_one_write() -> None:
    out = Counted()
    logs.configure("info", "json", out)

    log.info("one")
    logging.getLogger("redis").warning("two")
    log.info("three")
    assert out.writes == 0
    await asyncio.sleep(0)
    assert out.writes == 1
    log.info("four")
    await asyncio.sleep(0)
    assert [line["event"] for line in lines(out)] == ["one", "two", "three", "four"]


async def test_a_warning_is_written_at_once_and_in_order() -> None:
    out = Counted()
    logs.configure("info", "json", out)

    log.info("one")
    log.warning("two")
    assert [line["event"] for line in lines(out)] == ["one", "two"]
    await asyncio.sleep(0)
    assert out.writes == 1


async def test_another_thread_writes_at_once_and_in_order() -> None:
    out = Counted()
    logs.configure("info", "json", out)

    log.info("one")
    await asyncio.to_thread(log.info, "two")
    assert [line["event"] for line in lines(out)] == ["one", "two"]


async def test_what_has_gathered_is_written_when_the_interpreter_ends() -> None:
    out = Counted()
    logs.configure("info", "json", out)

    log.info("one")
    for handler in logging.getLogger().handlers:
        handler.flush()  # as logging does then
    assert [line["event"] for line in lines(out)] == ["one"]
    await asyncio.sleep(0)
    assert out.writes == 1


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    gone = io.StringIO()
    logs.configure("info", "json", gone)
    gone.close()

    log.info("one")
    logging.getLogger("redis").warning("two")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "secret", ["plain-secret", "quo\"ted's\\", "zweite\nZeile", "schlüssel€", "\U0001f600key"]
)
def test_a_known_secret_is_masked_wherever_it_turns_up(form: str, secret: str) -> None:
    out = io.StringIO()
    logs.configure("info", form, out, secrets=["other", secret, ""])

    log.info("it." + secret, value=secret, text=f"<{secret}>", nested={"list": [secret, secret.encode()]})
    log.info("object", thing=ValueError(secret))
    logging.getLogger("x").warning("told %s and %r", secret, secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")

    for shown in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert shown not in out.getvalue()
    assert logs.MASK in out.getvalue()
    assert "failed" in out.getvalue()


def test_a_secret_that_begins_with_another_is_masked_whole() -> None:
    assert logs.masking(["abcd", "abcdefgh"])(None, "info", "<abcdefgh> <abcd>") == "<***> <***>"


def test_a_secret_is_masked_from_its_first_letter_to_its_last() -> None:
    mask = logs.masking(['\'"ü"'])

    for written in ('\'"ü"', repr('\'"ü"')[1:-1], json.dumps('\'"ü"')[1:-1], json.dumps(repr('\'"ü"'))[2:-2]):
        assert mask(None, "info", f"<{written}>") == "<***>"


def test_what_is_too_short_to_be_a_secret_is_left() -> None:
    assert logs.masking(["", "a", "abc"])(None, "info", "an abc") == "an abc"


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("Authorization: Bearer abcdefghijklmnop.qrst-uv_w==", "Authorization: Bearer ***"),
        ("authorization: bearer   abcdefghijklmnop", "authorization: bearer   ***"),
        ('{"a": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+/w=="}', '{"a": "whsec_***"}'),
        ("the bearer token was rejected", "the bearer token was rejected"),
        ("does not begin with whsec_", "does not begin with whsec_"),
    ],
)
def test_the_last_resort(line: str, masked: str) -> None:
    assert logs.masking()(None, "info", line) == masked


@given(st.lists(st.text(min_size=4, max_size=12), max_size=4), st.text(max_size=40))
def test_masking_leaves_no_secret_and_nothing_else_changed(secrets: list[str], rest: str) -> None:
    mask = logs.masking(secrets)

    for secret in secrets:
        masked = mask(None, "info", f"{rest}{secret}")
        assert not any(secret in piece for piece in masked.split(logs.MASK))
    assert logs.masking()(None, "info", rest) == rest
