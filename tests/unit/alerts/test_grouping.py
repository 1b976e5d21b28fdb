from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.occurrences import NOON, occurrence
from watcher.alerts.grouping import GAP, GATHER, LISTED, Group, Kind, Series, Tally
from watcher.model import SECOND


def test_a_group_of_one_tells_everything_about_it() -> None:
    one = occurrence(7, document_type=None, entity_id="entity", status="error")

    group = Group.of(one)

    assert (group.kind, group.first_entry, group.count) == (Kind.ERROR, "1000-7", 1)
    assert group.task_ids == ("task-7",)
    assert dict(group.document_types.counts) == {None: 1}
    assert dict(group.entities.counts) == {"entity": 1}
    assert dict(group.statuses.counts) == {"error": 1}
    assert group.since == group.until == one.at


def test_a_group_lists_the_first_ids_and_counts_all() -> None:
    numbers = range(1, LISTED + 6)

    group = reduce(Group.add, map(occurrence, numbers[1:]), Group.of(occurrence(numbers[0])))

    assert group.count == LISTED + 5
    assert group.task_ids == tuple(f"task-{n}" for n in range(1, LISTED + 1))
    assert group.first_entry == "1000-1"


def test_a_group_spans_from_the_earliest_to_the_latest_whatever_their_order_on_the_stream() -> None:
    group = Group.of(occurrence(5)).add(occurrence(2)).add(occurrence(9)).add(occurrence(4))

    assert group.since == NOON + 2 * SECOND
    assert group.until == NOON + 9 * SECOND


@given(st.lists(st.one_of(st.none(), st.integers(0, 30).map(str))))
def test_a_tally_loses_no_count_and_stays_small(names: list[str | None]) -> None:
    tally = reduce(Tally.add, names, Tally())

    assert sum(tally.counts.values()) + tally.others == len(names)
    assert len(tally.counts) <= LISTED
    for name, count in tally.counts.items():
        assert count == names.count(name)


@pytest.mark.parametrize(
    ("told_at", "opened_at", "now", "due"),
    [
        (None, 100.0, 100.0, False),
        (None, 100.0, 100.0 + GATHER - 0.001, False),
        (None, 100.0, 100.0 + GATHER, True),
        (90.0, 100.0, 100.0 + GATHER, False),
        (90.0, 100.0, 90.0 + GAP - 0.001, False),
        (90.0, 100.0, 90.0 + GAP, True),
        # Long after the last notification a burst is gathered as the first one was.
        (90.0, 1000.0, 1000.0 + GATHER - 0.001, False),
        (90.0, 1000.0, 1000.0 + GATHER, True),
        # One that came shortly before the gap's end still has its time to gather.
        (90.0, 90.0 + GAP - 1, 90.0 + GAP, False),
        (90.0, 90.0 + GAP - 1, 90.0 + GAP - 1 + GATHER, True),
    ],
)
def test_when_a_group_is_due(told_at: float | None, opened_at: float, now: float, due: bool) -> None:
    series = Series(told_at=told_at).add(occurrence(), opened_at)

    assert (series.due(now) is not None) is due


def test_what_comes_later_does_not_put_off_the_notification() -> None:
    series = Series().add(occurrence(1), 0.0).add(occurrence(2), GATHER - 1)

    group = series.due(GATHER)

    assert group is not None
    assert group.count == 2


def test_nothing_is_due_where_nothing_happened() -> None:
    assert Series().due(1e9) is None
    assert Series().add(occurrence(), 0.0).told(20.0).due(1e9) is None


def test_to_begin_again_forgets_what_gathered_but_not_when_people_were_told() -> None:
    series = Series(told_at=50.0).add(occurrence(1), 60.0).begun_again()

    assert series.due(1e9) is None
    again = series.add(occurrence(1), 70.0)
    assert again.due(50.0 + GAP - 1) is None
    group = again.due(50.0 + GAP)
    assert group is not None
    assert group.count == 1
