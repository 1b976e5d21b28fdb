"""Who is missing, how often, and when that means something."""

from __future__ import annotations

import pytest

from watcher.model import SECOND, Micros, TaskId
from watcher.polling.absences import ABSENCES, Absences

T, U = TaskId("t"), TaskId("u")


def at(seconds: float) -> Micros:
    return Micros(1_800_000_000 * SECOND + round(seconds * SECOND))


@pytest.fixture
def absences() -> Absences:
    return Absences(5 * SECOND)


def test_the_third_an_interval_apart_means_that_it_has_vanished(absences: Absences) -> None:
    assert ABSENCES == 3
    assert [absences.missed({T}, at(second)) for second in (0, 5, 10)] == [set(), set(), {T}]


def test_looks_within_an_interval_are_one_absence(absences: Absences) -> None:
    moments = (0, 0.1, 2, 4.9, 5, 9, 9.9)
    assert [absences.missed({T}, at(second)) for second in moments] == [set()] * 7
    assert absences.missed({T}, at(10)) == {T}


def test_each_task_has_its_own(absences: Absences) -> None:
    absences.missed({T}, at(0))
    absences.missed({T, U}, at(5))
    assert absences.missed({T, U}, at(10)) == {T}
    assert absences.missed({U}, at(15)) == {U}


def test_one_that_is_there_begins_anew_and_leaves_nothing(absences: Absences) -> None:
    for second in (0, 5):
        absences.missed({T}, at(second))
    absences.seen([T, U])
    assert absences == Absences(5 * SECOND)
    assert absences.missed({T}, at(10)) == set()
