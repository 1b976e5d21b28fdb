from __future__ import annotations

from dataclasses import fields, replace

import pytest

from watcher.sandbox import NO_FAULTS, USUAL_FAULTS, Faults, with_fault
from watcher.sandbox.faults import Fault, strike


def test_nothing_strikes_unless_asked_for() -> None:
    assert all(not strike(NO_FAULTS, 1, n) for n in range(1000))


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_strikes_with_its_own_probability(fault: Fault) -> None:
    faults = with_fault(NO_FAULTS, f"{fault}=0.1")
    struck = [strike(faults, 3, n) for n in range(3000)]
    assert 230 < sum(fault in one for one in struck) < 370
    assert set().union(*struck) == {fault}


def test_changing_one_fault_leaves_the_others_where_they_were() -> None:
    for n in range(500):
        assert strike(USUAL_FAULTS, 5, n) - {Fault.STALE} == strike(replace(USUAL_FAULTS, stale=0), 5, n)


def test_the_usual_faults_leave_out_what_cannot_be_told_from_outside() -> None:
    left_out = {
        field.name
        for field in fields(Faults)
        if not field.name.endswith("_seconds") and not getattr(USUAL_FAULTS, field.name)
    }
    assert left_out == {"deleted_unfinished", "revised"}


@pytest.mark.parametrize(("name", "value"), [("reset", 1.1), ("late", -0.1), ("slow_seconds", -1.0)])
def test_impossible_values_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        with_fault(NO_FAULTS, f"{name}={value}")


def test_one_fault_is_set_by_text() -> None:
    assert with_fault(USUAL_FAULTS, "stale=0.5") == replace(USUAL_FAULTS, stale=0.5)
    assert with_fault(NO_FAULTS, "slow_seconds=3") == replace(NO_FAULTS, slow_seconds=3.0)
    assert with_fault(NO_FAULTS, "one_field_cursor=1").one_field_cursor is True
    assert with_fault(USUAL_FAULTS, "one_field_cursor=0").one_field_cursor is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tornado=1", "no fault 'tornado'"),
        ("stale", "needs a number"),
        ("stale=often", "needs a number"),
        ("stale=2", "from 0 to 1"),
        ("stale=nan", "from 0 to 1"),
    ],
)
def test_text_that_is_no_fault_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        with_fault(NO_FAULTS, text)
