"""What to ask the API in one cycle of one scope. Pure: a situation in, reads out.

Closed ``created_at`` ranges sorted by id have a frozen membership but for late rows; coverage moves only once
a range's last page was read. What is in flight outside those ranges is asked for by id, 100 at a time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Final, Literal

from watcher.model import SECOND, Micros, TaskId
from watcher.polling import ladder
from watcher.state.coverage import Coverage, Interval
from watcher.state.scope import ScopeState

PAGE: Final = 100
"""Rows that a request brings at most, and ids that it may ask for."""
FIRST_WIDTH: Final = 3600 * SECOND
"""Span of the past that one window reads before anything is known of how dense it is."""
NARROWEST: Final = 1 * SECOND
WIDEST: Final = 30 * 86_400 * SECOND
REACHES: Final = tuple(seconds * SECOND for seconds in (0, 15, 30, 60, 120, 300, 600))
"""How far beyond the overlap the fresh window may reach back, to see in-flight tasks without their ids."""

PlanName = Literal["A", "B"]


@dataclass(frozen=True, slots=True)
class Window:
    """Read every row created in an interval; ``rung`` is the ladder's level that asked for it, if one did."""

    interval: Interval
    rung: ladder.Rung | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """Read every row that is processing, of whatever age: what was in flight when watching began."""


Read = Window | Adoption


@dataclass(frozen=True, slots=True)
class Policy:
    """How to plan. Spans are in microseconds.

    ``overlap``: how far behind what is covered each cycle reads again. ``horizon``: how late a row may
    appear. ``allowance``: windows of the past that one cycle may read beside the present.
    """

    overlap: int
    horizon: int
    allowance: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a cycle begins.

    ``arrival_rate`` is tasks created a second as last measured, ``width`` the span of the past that is worth
    one window at the density last seen.
    """

    state: ScopeState
    now: Micros
    arrival_rate: float
    width: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read, in this order; then, by id, whatever is in flight and was not seen.

    Plan A asks by id for all that the overlap misses; plan B reaches further back where that takes fewer
    requests. ``expected`` is the number foreseen for the fresh window and the ids.
    """

    reads: tuple[Read, ...]
    name: PlanName
    expected: int


def plan(situation: Situation, policy: Policy) -> Plan:
    """The reads of one cycle: the present first, then what was never read, then what is read again.

    Raises:
        ValueError: the scope has no start yet.
    """
    state, now = situation.state, situation.now
    if state.start is None:
        raise ValueError("a scope is planned only once it has a start")
    begin = Micros(state.start.cover_from)
    floor = _floor(state.coverage, begin, situation, policy)
    low, expected = _reach(floor, situation)
    history = (
        Window(piece)
        for gap in reversed(state.coverage.gaps(min(begin, low), low))
        for piece in _newest_first(gap, situation.width, policy.overlap)
    )
    rungs = ladder.due(
        state.ladder,
        now=now,
        begin=begin,
        overlap=policy.overlap,
        horizon=policy.horizon,
        width=situation.width,
    )
    reads: tuple[Read, ...] = (
        Window(Interval(low, now)),
        *(() if state.adopted else (Adoption(),)),
        *islice(history, policy.allowance),
        *(Window(rung.window, rung) for rung in rungs),
    )
    return Plan(reads, "A" if low == floor else "B", expected)


def leftovers(in_flight: Mapping[TaskId, Micros], seen: AbstractSet[TaskId]) -> Iterator[tuple[TaskId, ...]]:
    """What is in flight and was not seen, the oldest first, in batches that one request can ask for."""
    missing = sorted(in_flight.keys() - seen, key=lambda task_id: (in_flight[task_id], task_id))
    for at in range(0, len(missing), PAGE):
        yield tuple(missing[at : at + PAGE])


def memory(policy: Policy) -> int:
    """How far behind what is covered a plan may read, in microseconds: records must be kept for so long.

    A record forgotten sooner would be derived, and told, a second time.
    """
    return max(ladder.memory(policy.horizon), policy.overlap + REACHES[-1])


def lower_bound(arrival_rate: float, span: float) -> int:
    """The fewest requests that any poller can spend on ``span`` seconds: each ended row comes down once.

    ``LB = max(1, ceil(arrival rate x span / page))``.
    """
    return max(1, ceil(arrival_rate * span / PAGE))


def next_width(width: int, span: int, rows: int) -> int:
    """The span worth one window of the past, after a window of ``span`` brought so many rows.

    It follows the window that was read, not the width by then: several windows of one plan say the same thing
    once, and a window that was narrow because little was left to read says nothing for a wider one.
    """
    if rows > 10 * PAGE:
        return narrower(width, span)
    if rows <= 2 * PAGE:
        return max(width, min(WIDEST, 2 * span))
    return width


def narrower(width: int, span: int) -> int:
    """The span worth one window, after one of ``span`` turned out to be too wide."""
    return min(width, max(NARROWEST, span // 2))


def _floor(coverage: Coverage, begin: Micros, situation: Situation, policy: Policy) -> Micros:
    """The low end of the fresh window before any reaching back.

    After a long absence only the newest part is fresh; the rest is read as history, newest first.
    """
    now = situation.now
    gaps = coverage.gaps(min(begin, Micros(now - 1)), now)
    edge = gaps[-1].low if gaps and gaps[-1].high == now else now
    return max(Micros(edge - policy.overlap), Micros(now - max(situation.width, policy.overlap)))


def _reach(floor: Micros, situation: Situation) -> tuple[Micros, int]:
    """The low end that takes the fewest requests, and how many; the nearest among equals."""
    created = sorted(situation.state.in_flight.values())

    def price(low: Micros) -> int:
        outside = bisect_left(created, low)
        span = (situation.now - low) / SECOND
        return lower_bound(situation.arrival_rate, span) + ceil(outside / PAGE)

    expected, reach = min((price(Micros(floor - reach)), reach) for reach in REACHES)
    return Micros(floor - reach), expected


def _newest_first(gap: Interval, width: int, overlap: int) -> Iterator[Interval]:
    """The gap in windows. The oldest reaches back over what was read just before the gap opened.

    Rows that were late there had no later cycle to be seen in.
    """
    high = gap.high
    while high > gap.low:
        low = max(gap.low, Micros(high - width))
        yield Interval(Micros(low - overlap) if low == gap.low else low, high)
        high = low
