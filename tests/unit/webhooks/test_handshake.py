"""What an endpoint's answer to the question permits, and when it is asked again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhooks.builders import NOW
from watcher.webhooks.handshake import (
    RENEWED_AFTER,
    Granted,
    Refused,
    Reply,
    Unanswered,
    Verdict,
    ask_again_after,
    judge,
    question,
    slowest,
)
from watcher.webhooks.outcome import Attempt, Reason, reason_of

ORIGIN = "events.example.com"
RATE = "its WebHook-Allowed-Rate is neither a whole number above 0 nor *"
rates = st.none() | st.floats(0.001, 10_000)


def reply(status: int | None, origin: str | None = None, rate: str | None = None) -> Reply:
    reason = Reason.TIMEOUT if status is None else reason_of(status)
    return Reply(Attempt(reason, status=status), origin, rate)


@pytest.mark.parametrize(
    ("rate", "asked"),
    [(None, None), (2, "120"), (0.5, "30"), (0.001, "1"), (0.026, "2"), (10_000, "600000")],
)
def test_the_question_has_the_origin_and_whole_requests_a_minute(
    rate: float | None, asked: str | None
) -> None:
    wanted = {} if asked is None else {"webhook-request-rate": asked}
    assert question(ORIGIN, rate) == {"webhook-request-origin": ORIGIN, **wanted}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reply(200, ORIGIN, "120"), Granted(2.0)),
        (reply(204, "*", "*"), Granted(None)),
        (reply(204, "Events.Example.COM", " 1 "), Granted(1 / 60)),
        (reply(202, " * "), Granted(None)),
        (reply(200, ORIGIN, "9" * 400), Granted(10_000.0)),
        (reply(200), Refused("its answer to OPTIONS has no WebHook-Allowed-Origin")),
        (reply(200, rate="120"), Refused("its answer to OPTIONS has no WebHook-Allowed-Origin")),
        (reply(200, ""), Refused(f"its WebHook-Allowed-Origin is neither {ORIGIN} nor *")),
        (reply(200, "example.com"), Refused(f"its WebHook-Allowed-Origin is neither {ORIGIN} nor *")),
        (reply(200, f"{ORIGIN}, *"), Refused(f"its WebHook-Allowed-Origin is neither {ORIGIN} nor *")),
        *((reply(200, "*", odd), Refused(RATE)) for odd in ("", "0", "00", "-1", "1.5", "1e3", "many", "²")),
        (reply(307, ORIGIN, "*"), Refused("it answers OPTIONS with 307")),
        (reply(405, ORIGIN, "*"), Refused("it answers OPTIONS with 405")),
        (reply(404), Refused("it answers OPTIONS with 404")),
        (reply(410), Refused("it answers OPTIONS with 410")),
        (reply(429, ORIGIN, "*"), Unanswered("it answers OPTIONS with 429")),
        (reply(503), Unanswered("it answers OPTIONS with 503")),
        (reply(None), Unanswered("no answer to OPTIONS (timeout)")),
        (Reply(Attempt(Reason.PROXY, status=407)), Unanswered("the proxy answers OPTIONS with 407")),
    ],
)
def test_what_an_answer_permits(answer: Reply, verdict: Verdict) -> None:
    assert judge(answer, ORIGIN) == verdict


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SUCCESS])
def test_whatever_is_no_success_permits_nothing(reason: Reason) -> None:
    assert not isinstance(judge(Reply(Attempt(reason), "*", "*"), ORIGIN), Granted)


@given(rates, rates)
def test_the_smaller_rate_holds(one: float | None, other: float | None) -> None:
    least = slowest(one, other)
    assert least == slowest(other, one)
    assert (least is None) == (one is None and other is None)
    assert least is None or least == min(one or math.inf, other or math.inf)


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([Refused("no"), Unanswered("no")]))
def test_it_is_asked_again_within_five_minutes_and_not_at_once(
    failures: int, jitter: float, verdict: Verdict
) -> None:
    wait = ask_again_after(verdict, failures=failures, jitter=jitter, retry_after=None, now=NOW)
    assert 1.0 <= wait <= 300.0
    later = ask_again_after(verdict, failures=failures + 1, jitter=jitter, retry_after=None, now=NOW)
    assert later >= wait


def test_the_waits_double_until_five_minutes() -> None:
    waits = [
        ask_again_after(Refused("no"), failures=n, jitter=1.0, retry_after=None, now=NOW) for n in range(1, 9)
    ]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_retry_after_is_kept_and_a_permission_lasts_a_day() -> None:
    busy = Unanswered("it answers OPTIONS with 503")
    assert ask_again_after(busy, failures=1, jitter=0.5, retry_after="700", now=NOW) == 700
    assert ask_again_after(Granted(None), failures=0, jitter=0.5, retry_after=None, now=NOW) == RENEWED_AFTER
