"""Recall of hints against a plain re-telling of its rule, and the queue of hinted tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import EntityId, Hint, Micros, Scope, TaskId
from watcher.polling.hints import (
    ENOUGH,
    GRACE,
    QUEUE,
    RECENT,
    RELAXED,
    REMEMBERED,
    WAITS,
    WINDOW,
    HintQueue,
    HintRecall,
    interval_factor,
)


def ids(*names: object) -> list[TaskId]:
    return [TaskId(str(name)) for name in names]


def ends(*names: object, created: int = 1) -> dict[TaskId, Micros]:
    return {task_id: Micros(created) for task_id in ids(*names)}


def hinted_and_ended(recall: HintRecall, number: int, first: int = 0, now: float = 0.0) -> HintRecall:
    """After so many tasks were hinted and ended one after another."""
    for n in range(first, first + number):
        recall = recall.with_hints(ids(n), now).with_ends(ends(n), now)
    return recall


class TestRecall:
    def test_a_task_hinted_before_its_end_counts_for_hints(self) -> None:
        recall = HintRecall().with_hints(ids("t"), 0.0).with_ends(ends("t"), 500.0)
        assert recall.verdicts == (True,)
        assert not recall.hinted

    def test_a_task_never_hinted_counts_against_them_once_none_can_come_in_time(self) -> None:
        recall = HintRecall().with_ends(ends("t"), 100.0)
        assert recall.verdicts == ()
        assert recall.settled(100.0 + GRACE - 0.001).verdicts == ()
        assert recall.settled(100.0 + GRACE).verdicts == (False,)
        assert recall.settled(100.0 + GRACE).settled(900.0).verdicts == (False,)

    @pytest.mark.parametrize(("late", "verdict"), [(GRACE - 0.001, True), (GRACE, False)])
    def test_a_hint_may_come_a_little_late(self, late: float, verdict: bool) -> None:
        recall = HintRecall().with_ends(ends("t"), 100.0).with_hints(ids("t"), 100.0 + late)
        assert recall.settled(1000.0).verdicts == (verdict,)

    def test_what_was_created_before_it_began_says_nothing(self) -> None:
        recall = HintRecall(since=Micros(10)).with_ends(ends("before", created=9), 0.0)
        recall = recall.with_ends(ends("after", created=10), 0.0).settled(1000.0)
        assert recall.verdicts == (False,)
        assert set(recall.ended) == set(ids("before", "after"))

    def test_a_task_is_judged_once(self) -> None:
        recall = HintRecall().with_hints(ids("t", "t"), 0.0).with_hints(ids("t"), 1.0)
        recall = recall.with_ends(ends("t"), 2.0).with_ends(ends("t"), 3.0).with_hints(ids("t"), 4.0)
        assert recall.settled(1000.0).verdicts == (True,)
        assert not recall.hinted

    def test_it_is_complete_with_enough_tasks_and_no_miss(self) -> None:
        almost = hinted_and_ended(HintRecall(), ENOUGH - 1)
        assert not almost.relaxed
        complete = hinted_and_ended(almost, 1, first=ENOUGH)
        assert complete.relaxed

    def test_the_first_miss_ends_it_and_a_whole_window_without_one_brings_it_back(self) -> None:
        recall = hinted_and_ended(HintRecall(), WINDOW).with_ends(ends("missed"), 0.0)
        assert recall.relaxed, "a hint may still come"
        recall = recall.settled(GRACE)
        assert not recall.relaxed
        recall = hinted_and_ended(recall, WINDOW - 1, first=1000, now=GRACE)
        assert not recall.relaxed
        assert hinted_and_ended(recall, 1, first=5000, now=GRACE).relaxed

    def test_what_it_remembers_is_bounded_and_the_oldest_go_first(self) -> None:
        recall = HintRecall().with_hints(ids(*range(REMEMBERED + 3)), 0.0)
        assert list(recall.hinted) == ids(*range(3, REMEMBERED + 3))
        recall = recall.with_ends(ends(*range(RECENT + 5)), 0.0)
        assert list(recall.ended) == ids(*range(5, RECENT + 5))
        assert len(hinted_and_ended(HintRecall(), WINDOW + 7).verdicts) == WINDOW


@dataclass
class Plainly:
    """The rule of recall told once more: every end, when it was seen, and when its task was first hinted."""

    hints: dict[TaskId, float] = field(default_factory=dict)
    ends: dict[TaskId, float] = field(default_factory=dict)

    def hits_and_misses(self, now: float) -> tuple[int, int]:
        hits = sum(
            task_id in self.hints and self.hints[task_id] < at + GRACE for task_id, at in self.ends.items()
        )
        late = [at for task_id, at in self.ends.items() if self.hints.get(task_id, now) >= at + GRACE]
        return hits, sum(now >= at + GRACE for at in late)


moves = st.lists(
    st.tuples(
        st.sampled_from(["hint", "end"]),
        st.sets(st.integers(0, 30), max_size=4),
        st.sampled_from([0.0, 0.5, GRACE - 1.0, GRACE, 3 * GRACE]),
    ),
    max_size=60,
)


@given(moves)
def test_recall_counts_what_the_rule_says(steps: list[tuple[str, set[int], float]]) -> None:
    recall, plainly, now = HintRecall(), Plainly(), 0.0
    for kind, names, pause in steps:
        now += pause
        if kind == "hint":
            recall = recall.with_hints(ids(*names), now)
            for task_id in ids(*names):
                plainly.hints.setdefault(task_id, now)
        else:
            recall = recall.with_ends(ends(*names), now)
            for task_id in ids(*names):
                plainly.ends.setdefault(task_id, now)
        recall = recall.settled(now)
        assert (recall.hits, recall.verdicts.count(False)) == plainly.hits_and_misses(now)
        assert not recall.relaxed or False not in recall.verdicts


@given(moves)
def test_relaxing_ends_with_every_miss(steps: list[tuple[str, set[int], float]]) -> None:
    """From complete recall on, whatever comes: it stays complete exactly while nothing was missed."""
    recall, now = hinted_and_ended(HintRecall(), ENOUGH, first=1000), 0.0
    for kind, names, pause in steps:
        now += pause
        move = recall.with_hints(ids(*names), now) if kind == "hint" else recall.with_ends(ends(*names), now)
        recall = move.settled(now)
        assert recall.relaxed == all(recall.verdicts)


@pytest.mark.parametrize(
    ("relaxed", "interval", "factor"),
    [(False, 5.0, 1.0), (True, 5.0, 12.0), (True, RELAXED, 1.0), (True, 300.0, 1.0), (True, 0.2, 300.0)],
)
def test_relaxing_never_shortens_an_interval(relaxed: bool, interval: float, factor: float) -> None:
    assert interval_factor(relaxed=relaxed, interval=interval) == pytest.approx(factor)


def hint(name: object) -> Hint:
    return Hint(TaskId(str(name)), Scope(EntityId("e")), "http")


class TestQueue:
    def test_a_hint_is_ready_at_once_and_taken_once(self) -> None:
        queue = HintQueue()
        assert queue.offer(hint("t"), 5.0) is None
        assert queue.ready(5.0) == 1
        assert list(queue.take(5.0, 100)) == ["t"]
        assert len(queue) == queue.ready(9.0) == 0

    def test_one_that_waits_already_is_not_queued_twice(self) -> None:
        queue = HintQueue()
        queue.offer(hint("t"), 5.0)
        assert queue.offer(hint("t"), 6.0) == "repeated"
        assert len(queue) == 1

    def test_too_many_are_dropped(self) -> None:
        queue = HintQueue()
        outcomes = [queue.offer(hint(n), 0.0) for n in range(QUEUE + 2)]
        assert outcomes == [None] * QUEUE + ["dropped"] * 2

    def test_they_are_taken_in_the_order_of_their_coming(self) -> None:
        queue = HintQueue()
        for n in range(250):
            queue.offer(hint(n), 0.0)
        batches = [list(queue.take(0.0, 100)) for _ in range(4)]
        assert [len(batch) for batch in batches] == [100, 100, 50, 0]
        assert [task_id for batch in batches for task_id in batch] == ids(*range(250))

    def test_what_is_not_found_is_looked_for_again_ever_later_and_then_given_up(self) -> None:
        queue, now = HintQueue(), 100.0
        queue.offer(hint("t"), now)
        for wait in WAITS:
            missed = queue.take(now, 100)
            assert list(missed) == ["t"]
            assert queue.postpone(missed, now) == []
            assert queue.ready(now + wait - 0.001) == 0
            now += wait
            assert queue.ready(now) == 1
        assert queue.postpone(queue.take(now, 100), now) == ["http"]
        assert len(queue) == 0

    def test_a_row_that_comes_late_is_found_within_a_few_looks(self) -> None:
        """97 % of rows are visible in 20 ms, 2.9 % within 2 s."""
        assert WAITS[0] <= 2 <= WAITS[0] + WAITS[1]
        assert all(later > sooner for sooner, later in pairwise(WAITS))

    def test_what_is_not_found_holds_nobody_up(self) -> None:
        queue = HintQueue()
        for n in range(100):
            queue.offer(hint(f"bogus-{n}"), 0.0)
        queue.postpone(queue.take(0.0, 100), 0.0)
        queue.offer(hint("t"), 0.5)
        assert list(queue.take(0.5, 100)) == ["t"]

    def test_what_was_seen_otherwise_needs_no_look(self) -> None:
        queue = HintQueue()
        queue.offer(hint("a"), 0.0)
        queue.offer(hint("b"), 0.0)
        assert queue.remove(ids("a", "unheard of")) == ["http"]
        assert list(queue.take(0.0, 100)) == ["b"]


@given(st.lists(st.tuples(st.sampled_from("otpr"), st.integers(0, 12), st.floats(0, 10)), max_size=80))
def test_every_hint_taken_in_ends_in_exactly_one_way(steps: list[tuple[str, int, float]]) -> None:
    queue, now = HintQueue(), 0.0
    offered = ended = 0
    held: Mapping[TaskId, object] = {}
    for kind, n, pause in steps:
        now += pause
        if kind == "o" and TaskId(str(n)) not in held:
            offered += queue.offer(hint(n), now) is None
        elif kind == "t" and not held:
            held = taken = queue.take(now, n)
            assert len(taken) <= n
        elif kind == "p" and held:
            ended += len(queue.postpone(taken, now))
            held = {}
        elif kind == "r":
            ended += len(queue.remove(ids(n)))
    assert offered == ended + len(queue) + len(held)
