from __future__ import annotations

from uuid import UUID

from watcher.sandbox.draws import draws, stroke, uuid_for


def test_draws_depend_on_seed_purpose_and_number_only() -> None:
    assert draws(1, "a", 2) == draws(1, "a", 2)
    others = {draws(2, "a", 2), draws(1, "b", 2), draws(1, "a", 3)}
    assert len(others | {draws(1, "a", 2)}) == 4


def test_draws_are_uniform() -> None:
    numbers = [number for n in range(2000) for number in draws(7, "uniform", n)]
    assert all(0 <= number < 1 for number in numbers)
    for tenth in range(10):
        share = sum(tenth / 10 <= number < (tenth + 1) / 10 for number in numbers) / len(numbers)
        assert 0.09 < share < 0.11


def test_stroke_strikes_with_its_probability() -> None:
    struck = [amount for n in range(5000) if (amount := stroke(1, "x", n, 0.2)) is not None]
    assert 900 < len(struck) < 1100
    assert min(struck) < 0.05
    assert max(struck) > 0.95


def test_stroke_never_and_always() -> None:
    assert all(stroke(1, "x", n, 0.0) is None for n in range(100))
    assert all(stroke(1, "x", n, 1.0) is not None for n in range(100))


def test_uuids_are_canonical_and_differ() -> None:
    made = [uuid_for(1, "task", n) for n in range(100)]
    assert len(set(made)) == 100
    assert all(str(UUID(one)) == one and UUID(one).version == 4 for one in made)
