"""One delivery carried: what is sent, what is written down, what is said."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook
from structlog.testing import capture_logs

from tests.fakes import FakeClock
from tests.unit.webhooks.builders import NOW, OTHER_SECRET, SECRET, endpoint, event, fields
from watcher.events.envelope import to_body
from watcher.metrics import Metrics
from watcher.settings import Endpoint
from watcher.webhooks.courier import CLAIM_MARGIN, Courier
from watcher.webhooks.delivery import (
    REMEMBERED,
    Claim,
    Died,
    GiveBack,
    Overtaken,
    Past,
    Record,
    Retried,
    Settlement,
    Superseded,
)
from watcher.webhooks.handshake import Reply
from watcher.webhooks.outcome import Attempt, Delivered, Reason

EVENT = event(recognized_data=b'{"iban":"DE02120300000000202051","total":10.10}')
TIMEOUT = 15.0


class ScriptedSender:
    """Answers as told, in turn, and takes half a second for it."""

    def __init__(self, clock: FakeClock, *answers: Attempt) -> None:
        self._clock = clock
        self._answers = list(answers)
        self.sent: list[tuple[bytes, dict[str, str]]] = []

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        self.sent.append((body, dict(headers)))
        self._clock.move(0.5)
        return self._answers.pop(0)

    async def ask(self, headers: Mapping[str, str]) -> Reply:
        raise AssertionError("a courier asks for nothing")

    async def close(self) -> None:
        pass


class Stage:
    def __init__(self, *answers: Attempt, to: Endpoint | None = None) -> None:
        self.clock = FakeClock(NOW)
        self.metrics = Metrics()
        self.sender = ScriptedSender(self.clock, *answers)
        self.courier = Courier(
            to or endpoint(), self.sender, clock=self.clock, jitter=lambda: 0.5, metrics=self.metrics
        )

    async def deliver(self, one: Claim) -> Settlement:
        """All three steps."""
        attempted = await self.courier.attempt(self.courier.prepare(one))
        if isinstance(attempted, GiveBack):
            return Settlement(one, attempted)
        return self.courier.conclude(attempted)

    def value(self, name: str, **labels: str) -> float | None:
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value("watcher_" + name, labels)


def claim(
    record: Record | None = None, what: Mapping[bytes, bytes] | None = None, *, left: float = 30
) -> Claim:
    content = fields(EVENT) if what is None else dict(what)
    return Claim("1700000000000-0", int((NOW + left) * 1000), b"1700000000000", record, content)


async def test_what_is_sent_is_the_event_signed_with_every_secret() -> None:
    stage = Stage(
        Attempt(Reason.SUCCESS, status=204), to=endpoint(secrets=(SecretStr(SECRET), SecretStr(OTHER_SECRET)))
    )
    await stage.deliver(claim())
    [(body, headers)] = stage.sender.sent
    assert body == to_body(EVENT)
    assert headers["webhook-id"] == EVENT.id == json.loads(body)["id"]
    assert headers["webhook-timestamp"] == str(int(NOW))
    signatures = headers["webhook-signature"].split(" ")
    content = f"{EVENT.id}.{int(NOW)}."
    assert len(signatures) == 2
    for secret, signature in zip((SECRET, OTHER_SECRET), signatures, strict=True):
        key = Webhook(secret)._whsecret
        expected = hmac.new(key, content.encode() + body, hashlib.sha256).digest()
        assert signature == "v1," + base64.b64encode(expected).decode()


async def test_only_the_last_attempts_are_remembered_one_by_one() -> None:
    stage = Stage(*[Attempt(Reason.HTTP_5XX, 0.25, 500, answer=b"no \xff") for _ in range(6)])
    record: Record | None = None
    for _ in range(6):
        settlement = await stage.deliver(claim(record, left=1000))
        assert isinstance(settlement.result, Retried)
        record = settlement.result.record
    assert record is not None
    assert (record.count, len(record.history)) == (6, REMEMBERED)
    assert [past.at for past in record.history] == [int((NOW + 0.5 * each) * 1000) for each in (4, 5, 6)]
    assert {(past.milliseconds, past.status, past.answer) for past in record.history} == {
        (250, 500, "no \ufffd")
    }


@pytest.mark.parametrize(("size", "truncated"), [(2000, False), (6000, True)])
async def test_what_is_too_large_goes_out_without_what_makes_it_so(size: int, truncated: bool) -> None:
    stage = Stage(Attempt(Reason.SUCCESS, status=204), to=endpoint(max_bytes=4096))
    large = event(recognized_data=b'{"text":"%s"}' % (b"x" * size))
    await stage.deliver(claim(what=fields(large)))
    [(body, _)] = stage.sender.sent
    data = json.loads(body)["data"]
    assert ("recognized_data" in data, data.get("truncated", False)) == (not truncated, truncated)
    assert data["task_id"] == large.subject
    assert json.loads(body)["id"] == large.id


async def test_a_success_is_delivered_and_its_delay_counts_from_the_event() -> None:
    stage = Stage(Attempt(Reason.SUCCESS, status=200))
    settlement = await stage.deliver(claim())
    assert settlement.result == Delivered()
    assert stage.value("delivery_attempts_total", endpoint="one", outcome="success") == 1
    assert stage.value("delivery_delay_seconds_sum") == pytest.approx(10.5)


async def test_every_attempt_has_its_own_time_and_the_same_body() -> None:
    stage = Stage(Attempt(Reason.HTTP_5XX, status=500), Attempt(Reason.SUCCESS, status=200))
    await stage.deliver(claim())
    stage.clock.move(299.5)
    await stage.deliver(claim(left=400))
    (first, early), (second, late) = stage.sender.sent
    assert first == second
    assert int(late["webhook-timestamp"]) - int(early["webhook-timestamp"]) == 300
    assert early["webhook-id"] == late["webhook-id"]
    assert early["webhook-signature"] != late["webhook-signature"]


async def test_what_was_prepared_a_while_ago_is_signed_anew() -> None:
    stage = Stage(*[Attempt(Reason.SUCCESS, status=200)] * 2)
    ready = stage.courier.prepare(claim())
    await stage.courier.attempt(ready)
    stage.clock.move(3)
    await stage.courier.attempt(ready)
    (_, prompt), (_, late) = stage.sender.sent
    assert prompt == ready.headers
    assert late["webhook-timestamp"] == str(int(NOW + 3.5))
    stage.clock.move(-3.5)  # to where it says the same as at first
    fresh = stage.courier.prepare(claim())
    assert fresh.headers["webhook-signature"] == prompt["webhook-signature"] != late["webhook-signature"]


async def test_a_failure_is_written_down_with_what_came_before() -> None:
    stage = Stage(Attempt(Reason.HTTP_5XX, status=503, retry_after="60"), Attempt(Reason.TIMEOUT))
    ended = int((NOW + 0.5) * 1000)
    first = await stage.deliver(claim())
    past = Past(ended, 0, 503, Reason.HTTP_5XX)
    record = Record(1, ended, ended, 503, Reason.HTTP_5XX, history=(past,))
    assert first.result == Retried(NOW + 0.5 + 60, record)  # half of 5 s would be before Retry-After
    second = await stage.deliver(claim(record))
    again = Past(ended + 500, 0, None, Reason.TIMEOUT)
    assert second.result == Retried(
        NOW + 1 + 150,
        Record(2, ended, ended + 500, None, Reason.TIMEOUT, history=(*record.history, again)),
    )
    assert stage.value("delivery_attempts_total", endpoint="one", outcome="http_5xx") == 1
    assert stage.value("delivery_attempts_total", endpoint="one", outcome="timeout") == 1
    assert stage.value("delivery_delay_seconds_count") == 0


async def test_the_last_failure_makes_a_dead_letter() -> None:
    stage = Stage(Attempt(Reason.HTTP_4XX, status=404, answer=b"no such hook"))
    settlement = await stage.deliver(claim(Record(9, 5, 6, 500, Reason.HTTP_5XX)))
    last = int((NOW + 0.5) * 1000)
    past = Past(last, 0, 404, Reason.HTTP_4XX, "no such hook")
    assert settlement.result == Died(
        Record(10, 5, last, 404, Reason.HTTP_4XX, history=(past,)), b"no such hook"
    )


async def test_a_410_uses_up_no_attempt() -> None:
    gone, broken = Attempt(Reason.HTTP_410, status=410, answer=b"off"), Attempt(Reason.HTTP_5XX, status=500)
    stage = Stage(*[gone] * 5, *[broken] * 3, to=endpoint(retry_schedule=(0, 10, 300)))
    record: Record | None = None
    for _ in range(5):
        settlement = await stage.deliver(claim(record, left=1000))
        assert isinstance(settlement.result, Retried)
        assert settlement.result.at == stage.clock.time()
        record = settlement.result.record
    assert record is not None
    assert (record.count, record.status, [past.answer for past in record.history]) == (0, 410, ["off"] * 3)
    for number, wait in enumerate((5, 150), start=1):
        settlement = await stage.deliver(claim(record, left=1000))
        assert isinstance(settlement.result, Retried)
        assert (settlement.result.at, settlement.result.record.count) == (stage.clock.time() + wait, number)
        record = settlement.result.record
    assert isinstance((await stage.deliver(claim(record, left=1000))).result, Died)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, Reason.EVENT_GONE),
        ({b"id": b"1"}, Reason.EVENT_MALFORMED),
        ({**fields(EVENT), b"time": b"yesterday"}, Reason.EVENT_MALFORMED),
    ],
)
async def test_what_cannot_be_sent_is_a_dead_letter_at_once(
    content: dict[bytes, bytes], reason: Reason
) -> None:
    stage = Stage()
    settlement = await stage.deliver(claim(Record(2, 5, 6, 500, Reason.HTTP_5XX), content))
    assert stage.sender.sent == []
    assert settlement.result == Died(Record(2, 5, int(NOW * 1000), None, reason), b"")


@pytest.mark.parametrize(
    ("left", "sent"), [(TIMEOUT + CLAIM_MARGIN, 1), (TIMEOUT + 5, 1), (TIMEOUT + 4.9, 0), (-1, 0)]
)
async def test_a_claim_that_could_end_amid_the_attempt_is_given_back(left: float, sent: int) -> None:
    stage = Stage(Attempt(Reason.SUCCESS, status=200))
    settlement = await stage.deliver(claim(left=left))
    assert len(stage.sender.sent) == sent
    assert (settlement.result == GiveBack()) is not bool(sent)


def test_a_claim_lasts_longer_than_any_attempt() -> None:
    assert Stage(to=endpoint(timeout=300)).courier.claim_seconds == 300 + CLAIM_MARGIN > 300


async def logged(stage: Stage, one: Claim) -> dict[str, Any]:
    with capture_logs() as lines:
        await stage.deliver(one)
    [line] = lines
    return dict(line)


async def test_each_attempt_is_one_line() -> None:
    line = await logged(Stage(Attempt(Reason.SUCCESS, 0.5, 200, answer=b"thanks")), claim())
    assert line == {
        "event": "delivery.attempted",
        "log_level": "info",
        "endpoint": "one",
        "event_id": EVENT.id,
        "type": "ocr_task.success",
        "entry_id": "1700000000000-0",
        "attempt": 1,
        "outcome": "delivered",
        "reason": "success",
        "status": 200,
        "duration_ms": 500.0,
    }
    line = await logged(Stage(Attempt(Reason.CONNECT, 0.25)), claim())
    assert (line["outcome"], line["reason"], line["status"], line["log_level"]) == (
        "retry",
        "connect",
        None,
        "warning",
    )
    assert line["retry_in"] == 2.5
    line = await logged(Stage(Attempt(Reason.TLS)), claim(Record(9, 5, 6, 500, Reason.HTTP_5XX)))
    assert (line["outcome"], line["attempt"], line["log_level"]) == ("dead", 10, "error")


@pytest.mark.parametrize(
    "answer",
    [
        Attempt(Reason.SUCCESS, status=200, answer=b"DE02-private"),
        Attempt(Reason.HTTP_5XX, status=500, answer=b"DE02-private"),
    ],
)
async def test_no_line_holds_what_is_secret_or_personal(answer: Attempt) -> None:
    stage = Stage(
        answer, to=endpoint(url="http://h.example/path-secret", headers={"x-key": SecretStr("header-secret")})
    )
    text = repr(await logged(stage, claim()))
    for hidden in ("DE02", "path-secret", "header-secret", SECRET[6:]):
        assert hidden not in text


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_passed_over_is_counted_and_told_of(gone: bool) -> None:
    stage, one = Stage(), claim(what={} if gone else None)
    with capture_logs() as logs:
        assert stage.courier.pass_over(Overtaken(one, "" if gone else "newer")) == Settlement(
            one, Superseded()
        )
    assert logs == [
        {
            "event": "delivery.superseded",
            "log_level": "info",
            "endpoint": "one",
            "event_id": None if gone else EVENT.id,
            "type": None if gone else "ocr_task.success",
            "entry_id": one.entry_id,
            "superseded_by": None if gone else "newer",
        }
    ]
    assert stage.value("delivery_attempts_total", endpoint="one", outcome="superseded") == 1
    assert stage.sender.sent == []
