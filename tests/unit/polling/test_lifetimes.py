from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.polling.lifetimes import EDGES, Histogram, Survival

lifetimes = st.lists(st.floats(0, 10_000), max_size=300)
ages = st.floats(0, 20_000)


def test_before_anything_was_learned_tasks_take_ten_to_fifteen_seconds() -> None:
    survival = Survival.of(Histogram())

    assert survival.at(9.9)[0] > 0.99
    assert survival.at(12.5)[0] == pytest.approx(0.5, abs=0.01)
    assert survival.at(15.0)[0] < 0.01


@given(lifetimes, ages, ages)
def test_survival_falls_and_never_reaches_zero(learned: list[float], one: float, other: float) -> None:
    survival = Survival.of(Histogram().add(learned))
    early, late = sorted((one, other))

    assert survival.at(0.0)[0] == pytest.approx(1.0)
    assert survival.at(0.0)[1] == 0.0
    assert survival.at(late)[0] <= survival.at(early)[0] + 1e-12
    assert survival.at(late)[1] >= survival.at(early)[1] - 1e-9
    if late < 5_000:
        assert survival.at(late)[0] > 0


@given(lifetimes, st.floats(0, 2_000), st.floats(0, 500), st.floats(0, 500))
def test_what_gathers_unseen_grows_and_is_never_more_than_the_wait(
    learned: list[float], age: float, wait: float, more: float
) -> None:
    survival = Survival.of(Histogram().add(learned))
    gathered = survival.unseen(age, age + wait)

    assert -1e-6 <= gathered <= wait + 1e-6
    assert survival.unseen(age, age + wait + more) >= gathered - 1e-6


def test_what_was_learned_outweighs_the_documentation() -> None:
    survival = Survival.of(Histogram().add([40.0] * 400))

    assert survival.at(20.0)[0] > 0.9
    assert survival.at(41.0)[0] < 0.1


def test_old_lifetimes_count_less_and_less() -> None:
    changed = Histogram().add([12.0] * 150)
    for _ in range(10):
        changed = changed.add([3.0] * 100)

    assert Survival.of(changed).at(5.0)[0] < 0.1
    assert changed.weight < 1000


def test_the_more_end_at_once_the_more_are_learned_from_and_the_next_as_many_count_twice() -> None:
    known = Histogram().add([12.0] * 5000)
    changed = known.add([3.0] * 5000)

    assert 3000 < known.weight < 5000
    assert Survival.of(changed).at(5.0)[0] == pytest.approx(1 / 3, abs=0.02)


@given(lifetimes)
def test_a_histogram_is_read_back_as_it_was_kept(learned: list[float]) -> None:
    histogram = Histogram().add(learned)

    read = Histogram.decode(histogram.encode())

    assert read is not None
    assert read.counts == pytest.approx(histogram.counts, abs=1e-3)


@pytest.mark.parametrize("record", [b"", b"{}", b"[1, 2]", b'["a"]', b"\xff"])
def test_what_is_no_histogram_is_learned_anew(record: bytes) -> None:
    assert Histogram.decode(record) is None


def test_edges_rise() -> None:
    assert list(EDGES) == sorted(set(EDGES))
