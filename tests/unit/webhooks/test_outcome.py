"""What follows from an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhooks.builders import NOW
from watcher.settings import RETRY_SCHEDULE
from watcher.webhooks.outcome import NEVER_SENT, Attempt, Dead, Delivered, Reason, Retry, decide, reason_of

FAILURES = [reason for reason in Reason if reason not in NEVER_SENT | {Reason.SUCCESS, Reason.HTTP_410}]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, Reason.SUCCESS),
        (204, Reason.SUCCESS),
        (299, Reason.SUCCESS),
        (101, Reason.HTTP_OTHER),
        (300, Reason.HTTP_3XX),
        (301, Reason.HTTP_3XX),
        (304, Reason.HTTP_3XX),
        (308, Reason.HTTP_3XX),
        (400, Reason.HTTP_4XX),
        (404, Reason.HTTP_4XX),
        (408, Reason.HTTP_408),
        (409, Reason.HTTP_409),
        (410, Reason.HTTP_410),
        (425, Reason.HTTP_425),
        (429, Reason.HTTP_429),
        (500, Reason.HTTP_5XX),
        (503, Reason.HTTP_5XX),
        (599, Reason.HTTP_5XX),
        (600, Reason.HTTP_OTHER),
        (999, Reason.HTTP_OTHER),
    ],
)
def test_only_2xx_is_a_success(status: int, reason: Reason) -> None:
    assert reason_of(status) is reason


def test_a_success_is_delivered_however_late() -> None:
    attempt = Attempt(Reason.SUCCESS, status=200, retry_after="60")
    assert decide(attempt, made=10, schedule=RETRY_SCHEDULE, now=NOW, jitter=0.5) == Delivered()


@pytest.mark.parametrize("reason", FAILURES)
def test_every_failure_is_tried_again_until_the_schedule_ends(reason: Reason) -> None:
    attempt = Attempt(reason)
    for made in range(1, 10):
        outcome = decide(attempt, made=made, schedule=RETRY_SCHEDULE, now=NOW, jitter=0.5)
        assert outcome == Retry(NOW + RETRY_SCHEDULE[made] / 2)
    assert decide(attempt, made=10, schedule=RETRY_SCHEDULE, now=NOW, jitter=0.5) == Dead()


@pytest.mark.parametrize("reason", sorted(NEVER_SENT))
def test_what_cannot_be_sent_is_dead_at_once(reason: Reason) -> None:
    assert decide(Attempt(reason), made=0, schedule=RETRY_SCHEDULE, now=NOW, jitter=0.5) == Dead()


@given(st.sampled_from(FAILURES), st.floats(0, 1), st.integers(0, 86_400), st.integers(1, 9))
def test_an_endpoint_is_never_asked_before_it_wants_to_be(
    reason: Reason, jitter: float, wait: int, made: int
) -> None:
    attempt = Attempt(reason, retry_after=str(wait))
    outcome = decide(attempt, made=made, schedule=RETRY_SCHEDULE, now=NOW, jitter=jitter)
    assert isinstance(outcome, Retry)
    assert outcome.at >= NOW + wait


def test_reasons_are_fit_for_labels() -> None:
    assert all(reason.value.replace("_", "").isalnum() and reason.value.islower() for reason in Reason)
