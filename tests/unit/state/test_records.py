"""What is remembered survives being written and read back; anything else in its place is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import Micros, TaskId
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Known, RecordError, Start
from watcher.state.scope import ScopeState

words = st.text("az09_", min_size=1, max_size=6)
statuses = words | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=64)
"""The decoder of the API's answers lets through whatever is printable."""
instants = st.integers(0, 2**53).map(Micros)
records = st.builds(Known, statuses, st.integers(0, 10**6), instants, st.frozensets(words, max_size=5))
starts = st.builds(Start, *[st.integers(0, 2**53)] * 3)
coverages = st.lists(st.tuples(instants, st.integers(1, 10**9))).map(
    lambda pairs: Coverage.of(Interval(low, Micros(low + span)) for low, span in pairs)
)
states = st.builds(
    ScopeState,
    start=st.none() | starts,
    coverage=coverages,
    adopted=st.booleans(),
    ladder=st.dictionaries(st.integers(0, 20), instants, max_size=6),
    in_flight=st.dictionaries(words.map(TaskId), instants, max_size=3),
)


@given(records)
def test_a_task_is_read_back_as_it_was_written(known: Known) -> None:
    assert Known.decode(known.encode()) == known


@given(records, records)
def test_different_records_are_written_differently(one: Known, other: Known) -> None:
    """The store compares the text: two records must not share one."""
    assert (one == other) == (one.encode() == other.encode())


def test_a_task_is_written_as_short_text() -> None:
    known = Known("success", 1, Micros(1_800_000_000_000_000), frozenset({"success", "stalled"}))
    assert known.encode() == b"success|1|1800000000000000|stalled,success"
    assert Known("processing", 0, Micros(7)).encode() == b"processing|0|7|"
    assert Known("on-hold", 0, Micros(7), frozenset({"on_hold"})).encode() == b"on-hold|0|7|on_hold"
    assert Known("a|b,c", 0, Micros(7)).encode() == b"a%7Cb%2Cc|0|7|"


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"success",
        b"success|0|1",
        b"success|0|1||",
        b"success|x|1|",
        b"success|0||",
        b"\xff|0|1|",
        b"%FF|0|1|",
    ],
)
def test_what_is_not_a_task_is_refused(record: bytes) -> None:
    with pytest.raises(RecordError, match="task"):
        Known.decode(record)


@given(starts)
def test_a_first_run_rule_is_read_back_as_it_was_written(start: Start) -> None:
    assert Start.decode(start.encode()) == start


@pytest.mark.parametrize("record", [b"", b"{}", b'{"started_at": 1}', b"[1,2,3]", b"\xff"])
def test_what_is_not_a_first_run_rule_is_refused(record: bytes) -> None:
    with pytest.raises(RecordError, match="first-run"):
        Start.decode(record)


@given(states)
def test_a_scope_is_read_back_as_it_was_written(state: ScopeState) -> None:
    fields = {name.encode(): value for name, value in state.encode().items() if value}
    assert ScopeState.decode(fields, state.in_flight) == state


@given(states, states)
def test_a_field_moves_exactly_when_its_part_of_the_scope_does(one: ScopeState, other: ScopeState) -> None:
    for name in ("start", "coverage", "adopted", "ladder"):
        same = getattr(one, name) == getattr(other, name)
        assert same == (one.encode()[name] == other.encode()[name])


def test_the_order_of_the_ladders_levels_does_not_show() -> None:
    marks = {0: Micros(5), 1: Micros(3)}
    turned = dict(reversed(list(marks.items())))
    assert ScopeState(ladder=marks).encode() == ScopeState(ladder=turned).encode()


def test_a_scope_never_watched_is_empty() -> None:
    assert not any(ScopeState().encode().values())
    assert ScopeState.decode({}, {}) == ScopeState()


@pytest.mark.parametrize("name", [b"start", b"coverage", b"ladder"])
@pytest.mark.parametrize("record", [b"[5]", b"no", b"\xff"])
def test_what_is_not_a_scope_is_refused(name: bytes, record: bytes) -> None:
    with pytest.raises(RecordError):
        ScopeState.decode({name: record}, {})
