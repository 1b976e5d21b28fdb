from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from watcher.model import SECOND, Micros
from watcher.monite.server_clock import MAX_AGE, MAX_SAMPLES, Samples, ServerClock

SERVER_AT_ZERO = 1_800_000_000_300_000
"""The server's true time at monotonic 0."""


def stamp(sent: float) -> Micros:
    """The ``Date`` of an answer written at that monotonic instant."""
    return Micros((SERVER_AT_ZERO + round(sent * SECOND)) // SECOND * SECOND)


answers = st.lists(st.tuples(st.floats(0.001, 20), st.floats(0, 3)), min_size=1, max_size=100)
"""Pairs: seconds since the answer before, seconds under way."""


@given(answers, st.floats(0, 1000))
def test_never_ahead_of_the_server(steps: list[tuple[float, float]], later: float) -> None:
    samples, now = Samples(), 0.0
    for gap, travel in steps:
        now += gap + travel
        samples = samples.noted(stamp(now - travel), now)
    told = samples.now(now + later)
    assert told is not None
    # Two roundings to a microsecond lie between.
    assert told <= SERVER_AT_ZERO + round((now + later) * SECOND) + 2


@given(answers)
def test_at_least_as_close_as_the_last_sample(steps: list[tuple[float, float]]) -> None:
    samples, now = Samples(), 0.0
    for gap, travel in steps:
        now += gap + travel
        samples = samples.noted(stamp(now - travel), now)
        told = samples.now(now)
        assert told is not None
        assert told >= stamp(now - travel)


def test_converges_with_answers_spread_over_the_second() -> None:
    samples = Samples()
    for count in range(MAX_SAMPLES):
        samples = samples.noted(stamp(count * 1.03), count * 1.03)
    told = samples.now(60.0)
    assert told is not None
    assert 0 <= SERVER_AT_ZERO + 60 * SECOND - told < 50_000


def test_the_number_of_samples_is_bounded() -> None:
    samples = Samples()
    for count in range(3 * MAX_SAMPLES):
        samples = samples.noted(stamp(count), count)
    assert len(samples.seen) == MAX_SAMPLES


def test_a_clock_set_back_is_followed_in_time() -> None:
    samples = Samples().noted(Micros(1_000 * SECOND), 0.0)
    samples = samples.noted(Micros(500 * SECOND), 1.0)
    assert samples.now(1.0) == 1_001 * SECOND
    samples = samples.noted(Micros(500 * SECOND + 300 * SECOND), MAX_AGE + 1.0)
    assert samples.now(MAX_AGE + 1.0) == 800 * SECOND


def test_the_newest_sample_counts_however_old() -> None:
    samples = Samples().noted(Micros(7 * SECOND), 0.0)
    assert samples.now(10 * MAX_AGE) == (7 + 10 * MAX_AGE) * SECOND


def test_tells_nothing_before_the_first_answer_and_then_moves_on() -> None:
    clock = FakeClock()
    server = ServerClock(clock)
    assert server.now() is None
    clock.move(10.0)
    server.note(Micros(100 * SECOND), 8.0)
    assert server.now() == 102 * SECOND
    clock.move(0.5)
    assert server.now() == 102 * SECOND + SECOND // 2
