from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.occurrences import occurrence
from watcher.alerts.channel import (
    BACKOFF_FIRST,
    BACKOFF_LONGEST,
    PATIENCE,
    Channel,
    backoff,
    first_untold,
)
from watcher.alerts.grouping import GAP, GATHER, LISTED, Group, Kind, Occurrence


@given(
    st.lists(
        st.tuples(st.floats(0.0, 400.0), st.lists(st.sampled_from(Kind), max_size=15), st.booleans()),
        max_size=60,
    )
)
def test_no_count_is_lost_and_no_two_messages_come_within_a_gap(
    steps: list[tuple[float, list[Kind], bool]],
) -> None:
    channel, now, number = Channel(), 0.0, 0
    untold: dict[Kind, list[Occurrence]] = {kind: [] for kind in Kind}
    opened: dict[Kind, float] = {}
    told: dict[Kind, list[float]] = {kind: [] for kind in Kind}
    for wait, kinds, works in steps:
        now += wait
        for kind in kinds:
            number += 1
            untold[kind].append(occurrence(number, kind))
            opened.setdefault(kind, now)
            channel = channel.add(untold[kind][-1], now)
        for group in channel.due(now):
            assert now >= opened[group.kind] + GATHER
            assert_tells(group, untold[group.kind])
            if not works:
                channel = channel.failed(now)
                break
            channel = channel.told(group.kind, now)
            told[group.kind].append(now)
            untold[group.kind] = []
            del opened[group.kind]

    for kind in Kind:
        assert all(later - earlier >= GAP for earlier, later in pairwise(told[kind]))
        group_left = channel.series[kind].group
        assert (group_left is None) == (not untold[kind])
        if group_left is not None:
            assert_tells(group_left, untold[kind])
    firsts = [waiting[0].entry_id for waiting in untold.values() if waiting]
    assert channel.first_entry() == min(firsts, key=lambda entry: int(entry.split("-")[1]), default=None)


def assert_tells(group: Group, occurrences: list[Occurrence]) -> None:
    """The group tells of these, all of them and no others."""
    assert group.count == len(occurrences)
    assert group.task_ids == tuple(one.task_id for one in occurrences[:LISTED])
    assert group.first_entry == occurrences[0].entry_id


@given(st.lists(st.tuples(st.floats(0.1, 30.0), st.integers(0, 3)), min_size=1, max_size=80))
def test_while_all_works_nobody_waits_longer_than_a_gap_and_the_gathering(
    steps: list[tuple[float, int]],
) -> None:
    channel, now, waiting_since = Channel(), 0.0, None
    for wait, errors in steps:
        # A look comes at least each second.
        for _ in range(int(wait) + 1):
            now += wait / (int(wait) + 1)
            if channel.due(now):
                channel = channel.told(Kind.ERROR, now)
                waiting_since = None
            assert waiting_since is None or now - waiting_since < GAP + GATHER + 1
        for _ in range(errors):
            waiting_since = now if waiting_since is None else waiting_since
            channel = channel.add(occurrence(), now)


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 80.0), (6, 160.0), (7, 300.0), (8, 300.0), (5000, 300.0)],
)
def test_the_backoff(failures: int, seconds: float) -> None:
    assert backoff(failures) == seconds
    assert BACKOFF_FIRST <= seconds <= BACKOFF_LONGEST


def test_a_failed_notification_is_due_again_after_the_backoff_and_gathers_on() -> None:
    channel = Channel().add(occurrence(1), 0.0).failed(GATHER).add(occurrence(2), GATHER + 1)

    assert channel.due(GATHER + 4.9) == ()
    (group,) = channel.due(GATHER + 5.0)
    assert group.count == 2

    channel = channel.failed(GATHER + 5.0)
    assert channel.due(GATHER + 14.9) == ()
    assert len(channel.due(GATHER + 15.0)) == 1


def test_success_ends_the_backoff() -> None:
    channel = Channel().add(occurrence(1), 0.0).failed(10.0).failed(15.0).told(Kind.ERROR, 25.0)

    assert (channel.failures, channel.failing_since) == (0, None)
    again = channel.add(occurrence(2), 25.0 + GAP).failed(25.0 + GAP + GATHER)
    assert len(again.due(25.0 + GAP + GATHER + BACKOFF_FIRST)) == 1


def test_each_kind_has_a_gap_of_its_own() -> None:
    channel = Channel().add(occurrence(1), 0.0).told(Kind.ERROR, GATHER)
    channel = channel.add(occurrence(2), 20.0).add(occurrence(3, Kind.UNKNOWN_STATUS), 20.0)

    (group,) = channel.due(20.0 + GATHER)

    assert group.kind is Kind.UNKNOWN_STATUS
    assert {group.kind for group in channel.due(GATHER + GAP)} == {Kind.ERROR, Kind.UNKNOWN_STATUS}


def test_the_first_entry_is_the_oldest_in_the_order_of_the_stream_not_of_letters() -> None:
    channel = Channel().add(occurrence(10), 0.0).add(occurrence(9, Kind.UNKNOWN_STATUS), 0.0)

    assert channel.first_entry() == "1000-9"
    assert channel.told(Kind.UNKNOWN_STATUS, 0.0).first_entry() == "1000-10"


def test_to_begin_again_keeps_the_backoff() -> None:
    channel = Channel().add(occurrence(1), 0.0).failed(10.0).begun_again()

    assert channel.first_entry() is None
    assert channel.add(occurrence(1), 10.0).failing_since == 10.0


HEALTHY = Channel()
WAITING = Channel().add(occurrence(5), 1000.0)
FAILING = Channel().add(occurrence(3), 0.0).failed(1000.0)
FAILING_TOO = Channel().add(occurrence(4), 0.0).failed(1100.0)


@pytest.mark.parametrize(
    ("channels", "now", "entry"),
    [
        ([], 0.0, None),
        ([HEALTHY], 0.0, None),
        ([HEALTHY, WAITING], 1000.0, "1000-5"),
        ([WAITING, FAILING], 1000.0, "1000-3"),
        ([WAITING, FAILING], 1000.0 + PATIENCE - 1, "1000-3"),
        ([WAITING, FAILING], 1000.0 + PATIENCE, "1000-5"),
        ([HEALTHY, FAILING], 1000.0 + PATIENCE, None),
        # Where none works, none is given up.
        ([FAILING], 1000.0 + PATIENCE, "1000-3"),
        ([FAILING, FAILING_TOO], 1000.0 + PATIENCE + 200.0, "1000-3"),
    ],
)
def test_what_must_stay_pending(channels: list[Channel], now: float, entry: str | None) -> None:
    assert first_untold(channels, now) == entry
