"""Coverage against the plainest model there is: a set of integers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.model import Micros
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import RecordError

LAST = 40

instants = st.integers(0, LAST).map(Micros)
intervals = st.builds(lambda low, span: Interval(low, Micros(low + span)), instants, st.integers(1, LAST))
many = st.lists(intervals, max_size=8)


def interval(low: int, high: int) -> Interval:
    return Interval(Micros(low), Micros(high))


def members(found: list[Interval] | tuple[Interval, ...]) -> set[int]:
    return {each for span in found for each in range(span.low, span.high)}


def is_normal(found: tuple[Interval, ...]) -> bool:
    """Rising, disjoint and not touching: the one way to write a set."""
    return all(one.high < other.low for one, other in pairwise(found))


@given(many)
def test_the_union_holds_what_its_intervals_hold(spans: list[Interval]) -> None:
    coverage = Coverage.of(spans)
    assert members(coverage.intervals) == members(spans)
    assert is_normal(coverage.intervals)


@given(st.permutations([interval(0, 3), interval(3, 5), interval(4, 9), interval(12, 13), interval(13, 20)]))
def test_the_order_of_adding_does_not_matter(spans: list[Interval]) -> None:
    coverage = Coverage()
    for span in spans:
        coverage = coverage.add(span)
    assert coverage == Coverage((interval(0, 9), interval(12, 20)))


@given(many, intervals)
def test_adding_one_adds_its_instants_and_no_others(spans: list[Interval], span: Interval) -> None:
    coverage = Coverage.of(spans)
    added = coverage.add(span)
    assert members(added.intervals) == members(coverage.intervals) | members([span])
    assert is_normal(added.intervals)
    assert added.add(span) == added


@given(many, instants, st.integers(0, LAST))
def test_gaps_are_what_is_not_covered(spans: list[Interval], low: Micros, span: int) -> None:
    coverage = Coverage.of(spans)
    gaps = coverage.gaps(low, Micros(low + span))
    assert members(gaps) == set(range(low, low + span)) - members(spans)
    assert is_normal(gaps)


@given(many, intervals)
def test_filling_the_gaps_leaves_none(spans: list[Interval], span: Interval) -> None:
    coverage = Coverage.of(spans)
    for gap in coverage.gaps(span.low, span.high):
        coverage = coverage.add(gap)
    assert coverage.gaps(span.low, span.high) == ()


@given(many, instants)
def test_the_watermark_is_the_first_instant_not_covered(spans: list[Interval], low: Micros) -> None:
    covered = members(spans)
    expected = next(each for each in range(low, 3 * LAST) if each not in covered)
    assert Coverage.of(spans).watermark(low) == expected


@given(many)
def test_written_and_read_back_it_is_the_same(spans: list[Interval]) -> None:
    coverage = Coverage.of(spans)
    assert Coverage.decode(coverage.encode()) == coverage


def test_is_written_as_pairs() -> None:
    assert Coverage.of([interval(5, 7), interval(1, 2)]).encode() == b"[[1,2],[5,7]]"


@pytest.mark.parametrize("high", [3, 2])
def test_an_interval_is_never_empty(high: int) -> None:
    with pytest.raises(ValueError, match="empty"):
        interval(3, high)


@pytest.mark.parametrize(
    "record", [b"", b"{}", b"[[1]]", b"[[1,2,3]]", b"[[2,2]]", b"[[3,1]]", b'[["1","2"]]', b"[[1,2]", b"\xff"]
)
def test_what_is_not_coverage_is_refused(record: bytes) -> None:
    with pytest.raises(RecordError, match="coverage"):
        Coverage.decode(record)
