from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import mean
from typing import Any

import pytest

from tests.unit.sandbox.helpers import NOBODY, QUICK, START, after, task_at
from watcher.model import SECOND, Micros
from watcher.sandbox.faults import NO_FAULTS, Faults, with_fault
from watcher.sandbox.tasks import SimulatedTask, WorldSettings, arrival, created, gap_to

DEFAULT = WorldSettings()


def many(settings: WorldSettings = DEFAULT, faults: Faults = NO_FAULTS) -> list[SimulatedTask]:
    return [arrival(settings, faults, n, START) for n in range(4000)]


def life(task: SimulatedTask) -> float:
    return (task.ended_at - task.created_at) / SECOND


@pytest.mark.parametrize(
    ("seconds", "status", "since"),
    [(0, "processing", 0), (11.999999, "processing", 0), (12, "success", 12), (1000, "success", 12)],
)
def test_status_over_a_life(seconds: float, status: str, since: float) -> None:
    assert task_at(0).state_at(after(seconds)) == (status, after(since))


@pytest.mark.parametrize(
    ("seconds", "status", "since"),
    [
        (4.9, "processing", 0),
        (5, "canceled", 5),
        (12, "error", 12),
        (19.9, "error", 12),
        (20, "success", 20),
    ],
)
def test_status_of_a_task_with_faults(seconds: float, status: str, since: float) -> None:
    task = task_at(0, outcome="error", canceled_at=after(5), revised_at=after(20))
    assert task.state_at(after(seconds)) == (status, after(since))


def test_the_type_nobody_declared_is_known_once_recognised() -> None:
    task = task_at(0, declared=False)
    assert task.document_type_at(after(11)) is None
    assert task.document_type_at(after(12)) == "invoice"
    assert replace(task, outcome="error").document_type_at(after(12)) is None
    assert replace(task, declared=True).document_type_at(after(0)) == "invoice"


def test_when_a_row_can_be_read() -> None:
    task = task_at(0, visible_at=after(2), deleted_at=after(30))
    readable = [second for second in range(40) if task.readable_at(after(second))]
    assert readable == list(range(2, 30))


@pytest.mark.parametrize(
    ("changes", "observable", "ended"),
    [
        ({}, 12, True),
        ({"visible_at": after(20)}, 20, True),
        ({"deleted_at": after(13)}, 12, True),
        ({"deleted_at": after(12)}, None, False),
        ({"deleted_at": after(15), "visible_at": after(20)}, None, True),
    ],
)
def test_when_the_end_can_be_observed(changes: dict[str, Any], observable: float | None, ended: bool) -> None:
    task = task_at(0, **changes)
    assert task.observable_at == (None if observable is None else after(observable))
    assert task.ended_by(after(100)) is ended
    assert not task.ended_by(after(11.9))


def test_the_same_seed_and_number_make_the_same_task() -> None:
    assert arrival(DEFAULT, NO_FAULTS, 17, START) == arrival(DEFAULT, NO_FAULTS, 17, START)
    other = arrival(replace(DEFAULT, seed=2), NO_FAULTS, 17, START)
    assert other.id != arrival(DEFAULT, NO_FAULTS, 17, START).id


def test_a_fate_does_not_depend_on_when_the_task_arrives() -> None:
    now, later = arrival(DEFAULT, NO_FAULTS, 3, START), arrival(DEFAULT, NO_FAULTS, 3, after(1000))
    assert (now.id, now.scope, now.outcome) == (later.id, later.scope, later.outcome)


def test_lifetimes_are_realistic() -> None:
    tasks = many()
    early = [task for task in tasks if life(task) < 9]
    body = [task for task in tasks if 9 <= life(task) <= 15]
    tail = [task for task in tasks if life(task) > 15]
    assert all(task.outcome == "error" for task in early)
    assert 0.01 < len(early) / len(tasks) < 0.06
    assert 12 < mean(life(task) for task in body) < 13
    assert 0.01 < len(tail) / len(tasks) < 0.03
    assert all(life(task) <= 120 for task in tail)
    assert max(life(task) for task in tail) > 45


def test_shares_are_kept() -> None:
    tasks = many()
    outcomes = Counter(task.outcome for task in tasks)
    assert set(outcomes) == {"success", "error"}
    assert 0.03 < outcomes["error"] / len(tasks) < 0.07
    types = Counter(task.document_type for task in tasks)
    assert types["invoice"] > types["receipt"] > types["credit_note"] > 200
    assert 0.02 < sum(not task.declared for task in tasks) / len(tasks) < 0.04
    owners = Counter(task.scope for task in tasks)
    assert len(owners) == 4
    assert 0.45 < owners[NOBODY] / len(tasks) < 0.55
    assert all(count > 400 for count in owners.values())


def test_rows_become_visible_late_as_often_as_they_should() -> None:
    delays = [(task.visible_at - task.created_at) / SECOND for task in many()]
    assert all(0 <= delay <= 60 for delay in delays)
    assert 0.96 < sum(delay <= 0.02 for delay in delays) / len(delays) < 0.98
    assert 0 < sum(delay > 2 for delay in delays) < 20


def test_scales_multiply() -> None:
    quick = many(replace(DEFAULT, lifetime_scale=0.1, visibility_scale=0.5))
    for slow, fast in zip(many(), quick, strict=True):
        assert fast.visible_at - fast.created_at == pytest.approx(
            (slow.visible_at - slow.created_at) / 2, abs=1
        )
        assert life(fast) <= 12.01
        if slow.ended_at % SECOND:  # a whole second comes from rounding
            assert life(fast) == pytest.approx(life(slow) / 10, abs=1e-6)


def test_some_ends_are_whole_seconds_and_none_before_the_creation() -> None:
    tasks = [arrival(replace(DEFAULT, lifetime_scale=0.01), NO_FAULTS, n, START) for n in range(2000)]
    assert all(task.ended_at > task.created_at for task in tasks)
    assert any(task.ended_at % SECOND == 0 for task in many())


def test_gaps_are_exponential_with_the_rate_that_was_asked_for() -> None:
    settings = replace(DEFAULT, rate=5.0, twin_share=0.1)
    gaps = [gap_to(settings, n) / SECOND for n in range(8000)]
    assert mean(gaps) == pytest.approx(1 / 5, rel=0.05)
    assert 0.08 < sum(gap == 0 for gap in gaps) / len(gaps) < 0.12
    assert max(gaps) > 1


def test_a_created_task_is_visible_at_once_and_its_outcome_can_be_chosen() -> None:
    made = created(QUICK, NO_FAULTS, 0, scope=NOBODY, document_type=None, outcome="error", created_at=START)
    assert made.visible_at == made.created_at == START
    assert made.outcome == "error"
    assert made.document_type_at(START) is None
    declared = created(
        QUICK, NO_FAULTS, 1, scope=NOBODY, document_type="receipt", outcome=None, created_at=START
    )
    assert declared.document_type_at(START) == "receipt"
    assert declared.id != made.id


@pytest.mark.parametrize("field", ["late", "canceled", "deleted", "deleted_unfinished", "revised"])
def test_faults_strike_their_share_of_tasks_and_leave_the_others_alone(field: str) -> None:
    plain, faulty = many(), many(faults=with_fault(NO_FAULTS, f"{field}=0.1"))
    changed = [(one, other) for one, other in zip(plain, faulty, strict=True) if one != other]
    assert 320 < len(changed) < 480
    for one, other in changed:
        assert (one.id, one.created_at, one.ended_at) == (other.id, other.created_at, other.ended_at)
        match field:
            case "late":
                assert 1 <= (other.visible_at - other.created_at) / SECOND <= 10
            case "canceled":
                assert other.canceled_at is not None
                assert other.status_at(other.canceled_at) == "canceled"
                assert other.status_at(other.ended_at) == other.outcome
            case "deleted":
                assert other.observable_at is not None
                assert other.deleted_at is not None
                assert other.deleted_at - other.observable_at >= 60 * SECOND
            case "deleted_unfinished":
                assert other.observable_at is None
                assert not other.ended_by(Micros(other.ended_at + SECOND))
            case _:
                assert other.revised_at is not None
                assert other.status_at(other.revised_at) != other.outcome
                assert other.settled_at == other.revised_at > other.ended_at


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": -1.0},
        {"rate": float("inf")},
        {"rate": float("nan")},
        {"lifetime_scale": 0.0},
        {"visibility_scale": -0.1},
        {"error_share": 1.1},
        {"entity_share": -0.1},
        {"untyped_share": 2.0},
        {"twin_share": 1.0},
        {"entities": -1},
        {"backlog_seconds": -1.0},
    ],
)
def test_settings_that_make_no_world_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        WorldSettings(**wrong)
