import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.monite.breaker import FIRST, LONGEST, THRESHOLD, Breaker, Outcome

OUTCOMES: tuple[Outcome, ...] = ("answered", "failed", "unknown")
SCOPES: tuple[str | None, ...] = ("a", "b", "c", None)


def after(breaker: Breaker, outcome: Outcome, *scopes: str | None, now: float = 0.0) -> Breaker:
    """Requests of these scopes, one after another, each as the breaker lets it start."""
    for scope in scopes:
        breaker = breaker.started()
        probe = breaker.probing
        breaker = breaker.ended(outcome, scope, probe=probe, now=now, jitter=1.0)
    return breaker


def failed(breaker: Breaker, *scopes: str | None) -> Breaker:
    return after(breaker, "failed", *scopes)


FRESH = Breaker()
ONE = after(FRESH, "answered", "a")
SEVERAL = after(FRESH, "answered", "a", "b", "c", "a")


@pytest.mark.parametrize(
    ("breaker", "scopes", "opens"),
    [
        (FRESH, "aaaa", False),
        (FRESH, "aaaaa", True),
        (FRESH, "abab", False),
        (FRESH, "ababa", True),
        (ONE, "aaaaa", True),
        (SEVERAL, "aaaa", False),
        (SEVERAL, "aaab", False),
        (SEVERAL, "aaaab", True),
        (SEVERAL, "baaaa", True),
        (SEVERAL, "a" * 100, False),
        (SEVERAL, "c" * 100, False),
        (ONE, [None] * 5, True),
        (SEVERAL, [None] * 4, False),
        (SEVERAL, [None] * 5, True),
        (SEVERAL, ["a", None, "a", "a", "a"], True),
    ],
)
def test_what_opens_it(breaker: Breaker, scopes: list[str | None], opens: bool) -> None:
    assert not failed(breaker, *scopes[:-1]).is_open
    assert failed(breaker, *scopes).is_open is opens


@pytest.mark.parametrize("scope", SCOPES)
def test_an_answer_in_between_forgets_what_failed(scope: str | None) -> None:
    breaker = after(failed(SEVERAL, "a", "b", "a", "b"), "answered", scope)
    assert (breaker.failures, breaker.failing) == (0, frozenset())
    assert not failed(breaker, "a", "b", "a", "b").is_open


def test_what_tells_nothing_changes_nothing() -> None:
    breaker = failed(SEVERAL, "a", "b", "a", "b")
    assert after(breaker, "unknown", "a", "b", None) == breaker


def test_it_is_held_back_for_longer_and_longer() -> None:
    breaker, held = failed(FRESH, *"aaaaa"), []
    for _ in range(9):
        held.append(breaker.ready_at())
        breaker = failed(breaker, "a")
    assert held == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert (FIRST, LONGEST) == (0.8, 30.0)


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999])
def test_the_jitter_is_full(jitter: float) -> None:
    breaker = failed(FRESH, *"aaaa").started()
    breaker = breaker.ended("failed", "a", probe=False, now=100.0, jitter=jitter)
    assert breaker.ready_at() == 100.0 + jitter * FIRST


def test_one_request_alone_tries_whether_it_is_over() -> None:
    breaker = failed(FRESH, *"aaaaa")
    assert not breaker.probing
    probing = breaker.started()
    assert probing.ready_at() == math.inf
    assert after(breaker, "answered", "a") == ONE
    again = after(breaker, "unknown", "a")
    assert again == breaker, "another may try"


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("probing", [False, True])
def test_what_began_before_it_opened_tells_nothing_new(outcome: Outcome, probing: bool) -> None:
    breaker = failed(FRESH, *"aaaaa")
    breaker = breaker.started() if probing else breaker
    assert breaker.ended(outcome, "b", probe=False, now=5.0, jitter=1.0) == breaker


class Run:
    """A breaker and requests under way, moved by what hypothesis draws."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.now = 0.0
        self.under_way: list[bool] = []

    def start(self) -> None:
        if self.breaker.ready_at() <= self.now:
            self.breaker = self.breaker.started()
            self.under_way.append(self.breaker.probing)

    def end(self, which: int, outcome: Outcome, scope: str | None, jitter: float) -> None:
        if self.under_way:
            probe = self.under_way.pop(which % len(self.under_way))
            self.breaker = self.breaker.ended(outcome, scope, probe=probe, now=self.now, jitter=jitter)


steps = st.lists(
    st.tuples(
        st.integers(0, 3),  # requests that start
        st.integers(0, 7),
        st.sampled_from(OUTCOMES),
        st.sampled_from(SCOPES),
        st.floats(0, 0.999),
        st.sampled_from([0.0, 0.1, 5.0, 30.0]),
    ),
    max_size=80,
)


@given(steps)
def test_it_is_never_stuck_and_lets_one_at_a_time_try(
    drawn: list[tuple[int, int, Outcome, str | None, float, float]],
) -> None:
    run = Run()
    for starts, which, outcome, scope, jitter, later in drawn:
        for _ in range(starts):
            run.start()
        run.end(which, outcome, scope, jitter)
        run.now += later
        breaker = run.breaker
        assert sum(run.under_way) == breaker.probing <= breaker.is_open
        assert breaker.probing or breaker.ready_at() <= run.now + LONGEST
        assert len(breaker.known) <= 2
        assert len(breaker.failing) <= 2
        if not breaker.is_open:
            assert breaker.ready_at() == -math.inf
            assert breaker.failures < THRESHOLD or len(breaker.known) > 1


@given(steps)
def test_one_failing_entity_never_opens_it(
    drawn: list[tuple[int, int, Outcome, str | None, float, float]],
) -> None:
    run = Run()
    run.breaker = SEVERAL
    for starts, which, outcome, scope, jitter, later in drawn:
        for _ in range(starts):
            run.start()
        run.end(which, outcome, "bad" if outcome == "failed" else scope, jitter)
        run.now += later
        assert not run.breaker.is_open


@given(steps, st.floats(0, 0.999))
def test_from_wherever_it_stands_a_failing_api_opens_it_and_an_answer_closes_it(
    drawn: list[tuple[int, int, Outcome, str | None, float, float]], jitter: float
) -> None:
    run = Run()
    for starts, which, outcome, scope, each, later in drawn:
        for _ in range(starts):
            run.start()
        run.end(which, outcome, scope, each)
        run.now += later
    while run.under_way:
        run.end(0, "unknown", "a", jitter)
    for number in range(THRESHOLD + 1):
        run.now += LONGEST
        run.start()
        run.end(0, "failed", "ab"[number % 2], jitter)
    assert run.breaker.is_open
    run.now += LONGEST
    run.start()
    run.end(0, "answered", "a", jitter)
    assert not run.breaker.is_open
