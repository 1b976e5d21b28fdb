from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox.helpers import after, task_at
from watcher.sandbox.shelf import Shelf
from watcher.sandbox.tasks import SimulatedTask

NAMES = st.text("abcdef", min_size=3, max_size=3)


@st.composite
def filled(draw: st.DrawFn) -> tuple[Shelf, list[SimulatedTask]]:
    """A shelf with short runs and many tasks of the same instant, and its tasks in order of creation."""
    gaps = draw(st.lists(st.integers(0, 2), max_size=40))
    names = draw(st.lists(NAMES, min_size=len(gaps), max_size=len(gaps), unique=True))
    shelf, tasks, second = Shelf(run=4), [], 0
    for gap, name in zip(gaps, names, strict=True):
        second += gap
        tasks.append(task_at(second, name))
        shelf.add(tasks[-1])
        if draw(st.booleans()):
            list(shelf.by_id(0, len(tasks), None, descending=False))  # runs are completed at any time
    return shelf, sorted(tasks, key=lambda task: (task.created_at, task.id))


@settings(deadline=None)
@given(filled(), st.integers(-1, 50), st.integers(-1, 50), st.one_of(st.none(), NAMES), st.booleans())
def test_by_id_is_the_sorted_range(
    filling: tuple[Shelf, list[SimulatedTask]],
    first: int,
    before: int,
    after_id: str | None,
    descending: bool,
) -> None:
    shelf, tasks = filling
    low, high = shelf.span(after(first), after(before))
    expected = sorted(
        (task for task in tasks if after(first) <= task.created_at < after(before)),
        key=lambda task: task.id,
        reverse=descending,
    )
    if after_id is not None:
        expected = [task for task in expected if (task.id < after_id if descending else task.id > after_id)]
    assert list(shelf.by_id(low, high, after_id, descending=descending)) == expected


@settings(deadline=None)
@given(filled(), st.integers(-1, 50), NAMES, st.booleans())
def test_by_creation_goes_on_after_a_place(
    filling: tuple[Shelf, list[SimulatedTask]], second: int, name: str, descending: bool
) -> None:
    shelf, tasks = filling
    place = (after(second), name)
    low, high = shelf.span(None, None)
    found = list(shelf.by_creation(low, high, place, descending=descending))
    beyond = [
        task
        for task in tasks
        if ((task.created_at, task.id) < place if descending else (task.created_at, task.id) > place)
    ]
    assert found == (beyond[::-1] if descending else beyond)


def test_a_run_is_not_closed_while_a_task_of_its_last_instant_may_still_come() -> None:
    shelf = Shelf(run=2)
    for name in ("b", "c", "d"):
        shelf.add(task_at(0, name))
        list(shelf.by_id(*shelf.span(None, None), None, descending=False))
    shelf.add(task_at(0, "a"))
    found = shelf.by_id(*shelf.span(None, None), None, descending=False)
    assert [task.id for task in found] == ["a", "b", "c", "d"]


def test_an_empty_range_shows_nothing() -> None:
    shelf = Shelf()
    shelf.add(task_at(5))
    low, high = shelf.span(after(9), after(1))
    assert list(shelf.by_id(low, high, None, descending=False)) == []
    assert list(shelf.by_creation(low, high, None, descending=True)) == []


def test_the_longest_life_counts_a_later_change_too() -> None:
    shelf = Shelf()
    shelf.add(task_at(0))
    assert shelf.longest == after(12) - after(0)
    shelf.add(task_at(1, "b", revised_at=after(31)))
    assert shelf.longest == after(30) - after(0)
