"""What follows from an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhooks.builders import NOW
from watcher.settings import RETRY_SCHEDULE
from watcher.webhooks.outcome import (
    NEVER_SENT,
    NO_EFFECT,
    Attempt,
    Dead,
    Delivered,
    Effect,
    Reason,
    Retry,
    decide,
    effect_of,
    reason_of,
)

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


@pytest.mark.parametrize("made", [1, 10, 11])
def test_what_met_a_410_is_kept_and_due_at_once(made: int) -> None:
    attempt = Attempt(Reason.HTTP_410, status=410)
    assert decide(attempt, made=made, schedule=RETRY_SCHEDULE, now=NOW, jitter=0.5) == Retry(NOW)
    assert effect_of(attempt, now=NOW) == Effect(gone=True)


@pytest.mark.parametrize("reason", [Reason.SUCCESS, Reason.HTTP_409, Reason.HTTP_425, Reason.HTTP_4XX])
def test_what_may_be_the_events_own_fault_says_that_the_endpoint_is_at_work(reason: Reason) -> None:
    assert effect_of(Attempt(reason, retry_after="60"), now=NOW) == Effect(answered=True)


@pytest.mark.parametrize("reason", [Reason.INTERNAL, Reason.EVENT_GONE, Reason.EVENT_MALFORMED])
def test_a_fault_of_ours_says_nothing_of_the_endpoint(reason: Reason) -> None:
    assert effect_of(Attempt(reason, retry_after="60"), now=NOW) == NO_EFFECT


@pytest.mark.parametrize(
    ("status", "held"), [(429, True), (502, True), (503, True), (504, True), (500, False), (408, False)]
)
def test_only_what_is_busy_is_held_for_as_long_as_it_asks(status: int, held: bool) -> None:
    attempt = Attempt(reason_of(status), status=status, retry_after="60")
    assert effect_of(attempt, now=NOW) == Effect(failed=True, hold_until=NOW + 60 if held else None)
    for unsaid in (None, "soon", "0"):
        attempt = Attempt(reason_of(status), status=status, retry_after=unsaid)
        assert effect_of(attempt, now=NOW) == Effect(failed=True, busy=held)


@pytest.mark.parametrize(
    ("effect", "stops"),
    [
        (Effect(gone=True), True),
        (Effect(failed=True, hold_until=NOW), True),
        (Effect(failed=True, busy=True), True),
        (Effect(failed=True), False),
        (Effect(answered=True), False),
    ],
)
def test_what_ends_sending_at_once(effect: Effect, stops: bool) -> None:
    assert effect.stops is stops


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_an_outcome_and_an_effect(reason: Reason) -> None:
    attempt = Attempt(reason)
    assert decide(attempt, made=1, schedule=RETRY_SCHEDULE, now=NOW, jitter=1.0)
    assert effect_of(attempt, now=NOW)


def test_reasons_are_fit_for_labels() -> None:
    assert all(reason.value.replace("_", "").isalnum() and reason.value.islower() for reason in Reason)
