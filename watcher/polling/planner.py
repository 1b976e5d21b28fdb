"""What to ask the API in one cycle of one scope, and when to ask again. Pure: a situation in, reads out.

Every read is weighed alike: by the delay that what it shows has gathered unseen, in task-seconds, for each
request that it takes (``looks``). A closed ``created_at`` range sorted by id shows known and unknown tasks, and
its membership is frozen but for late rows; an ``id__in`` batch shows what is in flight elsewhere. What is worth
the price is read, the best first, as far as the pace allows. From this follow a fixed spacing for a steady
flow that fits a page, extra looks where a lone task is likely to end, and, where there is more in flight than
the budget can look at, a first look at the age where tasks begin to end and later ones for the most overdue.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Final, Literal

from watcher.model import SECOND, Micros, TaskId
from watcher.polling import ladder
from watcher.polling.hints import interval_factor
from watcher.polling.learned import OVERLAPS
from watcher.polling.lifetimes import Survival
from watcher.polling.looks import Sighting, next_look
from watcher.state.coverage import Coverage, Interval
from watcher.state.scope import ScopeState

PAGE: Final = 100
"""Rows that a request brings at most, and ids that it may ask for."""
FULL: Final = 0.9
"""How full a page is planned: arrivals are not even, and one row too many costs a whole request."""
FIRST_WIDTH: Final = 3600 * SECOND
"""Span of the past that one window reads before anything is known of how dense it is."""
NARROWEST: Final = 1 * SECOND
WIDEST: Final = 30 * 86_400 * SECOND
DEEPEST: Final = 600 * SECOND
"""How far beyond the overlap the fresh window may reach back."""
MOST_PAGES: Final = 20
"""Pages of one fresh window at most; what it leaves is asked for by id, or read as history."""
NODES: Final = 8
"""Points at which what arrived unseen is weighed."""

PlanName = Literal["A", "B", "D"]
"""A: what is new and, by id, what is in flight; B: one range that shows both; D: what is in flight, being hinted."""


@dataclass(frozen=True, slots=True)
class Window:
    """Read every row created in an interval; ``rung`` is the ladder's level that asked for it, if one did.

    ``fresh`` windows reach to the end of what is covered.
    """

    interval: Interval
    rung: ladder.Rung | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Adoption:
    """Read every row that is processing, of whatever age: what was in flight when watching began."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Ask for tasks by id."""

    ids: tuple[TaskId, ...]


Read = Window | Adoption | Batch


@dataclass(frozen=True, slots=True)
class Policy:
    """How to plan. Spans are in microseconds.

    ``interval``: the longest without a fresh window. ``horizon``: how late a row may appear. ``early``: tasks
    are to be seen as soon as they are created, since ``ocr_task.processing`` is published.
    """

    interval: int
    horizon: int
    early: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a cycle begins.

    ``sightings`` are the tasks in flight and ``typical`` the survival of those not yet seen. ``arrival_rate``
    is tasks created a second, ``price`` what a request must save in task-seconds, ``allowed`` the requests
    that the pace allows now. ``overlap`` is how far behind what is covered a fresh window reads again, in
    microseconds, ``width`` the span of the past that is worth one window. ``past`` and ``second_looks`` are
    the requests that reading history, and the ladder, may spend now, ``levels`` how many the ladder has.
    ``fresh_at`` is when the last fresh window was read. ``hinted``: whoever creates tasks hints at every one, so
    what is in flight is known without windows.
    """

    state: ScopeState
    now: Micros
    sightings: Mapping[TaskId, Sighting]
    typical: Survival
    arrival_rate: float
    price: float
    allowed: int
    overlap: int
    width: int
    past: float
    second_looks: float
    levels: int
    fresh_at: Micros | None
    hinted: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read, in this order. ``expected`` is the number of requests foreseen but for the past's."""

    reads: tuple[Read, ...]
    name: PlanName
    expected: int


@dataclass(frozen=True, slots=True)
class _Option:
    """A read, what it is worth in task-seconds, and the requests that it takes."""

    read: Read
    worth: float
    requests: int

    @property
    def density(self) -> float:
        return self.worth / self.requests


def plan(situation: Situation, policy: Policy) -> Plan:
    """The reads of one cycle: what is worth most for the present, then what was never read, then second looks.

    Raises:
        ValueError: the scope has no start yet.
    """
    state, now = situation.state, situation.now
    if state.start is None:
        raise ValueError("a scope is planned only once it has a start")
    begin = Micros(state.start.cover_from)
    edge = _edge(state.coverage, begin, situation)
    present = _present(edge, situation, policy)
    windows = [each.read for each in present if isinstance(each.read, Window)]
    low = min((window.interval.low for window in windows), default=edge)
    history = (
        Window(piece)
        for gap in reversed(state.coverage.gaps(min(begin, edge), edge))
        for piece in _newest_first(gap, situation.width, situation.overlap)
    )
    rungs = ladder.due(
        state.ladder,
        now=now,
        begin=max(begin, state.forgotten),
        ages=ladder.ages(
            overlap=situation.overlap,
            horizon=policy.horizon,
            levels=situation.levels,
        ),
        horizon=policy.horizon,
        width=round(max(1.0, situation.second_looks) * _page(situation.arrival_rate)),
        most=situation.width,
    )
    reads: tuple[Read, ...] = (
        *(each.read for each in present),
        *(() if state.adopted else (Adoption(),)),
        *islice(history, max(0, ceil(situation.past))),
        *(Window(rung.window, rung) for rung in _second_look(rungs, situation, policy)),
    )
    name: PlanName = "B" if low < edge - situation.overlap else "A"
    if situation.hinted and not windows:
        name = "D"
    return Plan(reads, name, sum(each.requests for each in present))


def wait(situation: Situation, policy: Policy, credit: float, pace: float) -> float:
    """Seconds until the next cycle, with so many requests left to spend and ``pace`` more every second.

    It comes when a look is worth its price, at the latest after the interval, but not before there is a
    request to spend.
    """
    interval = policy.interval / SECOND
    due = next_look(
        situation.sightings,
        now=situation.now,
        interval=interval,
        price=situation.price,
        most=PAGE,
        arriving=(0.0 if situation.hinted else situation.arrival_rate, situation.typical),
    )
    # A look at what was hinted lies between two cycles; the interval counts from then.
    left = interval - _unobserved(situation)
    if situation.fresh_at is not None:
        fresh = (situation.fresh_at + _longest(situation, policy) - situation.now) / SECOND
        due = min(due, fresh if fresh > 0 else interval)
    return max(min(interval, due, left if left > 0 else interval), (1.0 - credit) / pace)


def lower_bound(arrival_rate: float, span: float) -> int:
    """The fewest requests that any poller can spend on ``span`` seconds: each ended row comes down once.

    ``LB = max(1, ceil(arrival rate x span / page))``.
    """
    return max(1, ceil(arrival_rate * span / PAGE))


def memory(horizon: int) -> int:
    """How far behind what is covered any cycle may read, in microseconds: records must be kept for so long.

    A record forgotten sooner would be derived, and told, a second time.
    """
    return max(ladder.memory(horizon), max(OVERLAPS) * SECOND + DEEPEST)


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


def _second_look(rungs: Sequence[ladder.Rung], situation: Situation, policy: Policy) -> Sequence[ladder.Rung]:
    """The rung to read now, if any: what presses before all others, and whatever the share pays for."""
    pressing = [rung for rung in rungs if ladder.pressing(rung, now=situation.now, horizon=policy.horizon)]
    return pressing[:1] or (rungs[:1] if situation.second_looks >= 1 else ())


def _edge(coverage: Coverage, begin: Micros, situation: Situation) -> Micros:
    """Where the present begins: the end of what is covered, or, after a long absence, one width ago."""
    now = situation.now
    gaps = coverage.gaps(min(begin, Micros(now - 1)), now)
    edge = gaps[-1].low if gaps and gaps[-1].high == now else now
    return max(edge, Micros(now - max(situation.width, situation.overlap)))


def _present(edge: Micros, situation: Situation, policy: Policy) -> list[_Option]:
    """The best reads of the present that are worth their price, as many as are allowed.

    A fresh window is read at least once an interval, whatever it is worth. Where hints make up for it, it is
    read more rarely, and something in flight is looked at in its place.
    """
    windows = sorted(_windows(edge, situation, policy), key=lambda each: each.requests)
    fitting = [each for each in windows if each.requests <= situation.allowed] or windows[:1]
    window = max(fitting, key=lambda each: each.worth - situation.price * each.requests)
    overdue = situation.fresh_at is None or situation.now - situation.fresh_at >= _longest(situation, policy)
    unobserved = _unobserved(situation) * SECOND >= policy.interval
    assert isinstance(window.read, Window)  # noqa: S101 - says what _windows makes
    shown = window.read.interval
    elsewhere = {
        task_id: each
        for task_id, each in situation.sightings.items()
        if not shown.low <= each.created_at < shown.high
    }
    batches = _batches(elsewhere, situation.now)
    allowed = situation.allowed
    chosen: list[_Option] = []
    if overdue or (
        window.density >= situation.price and (not batches or window.density >= batches[0].density)
    ):
        chosen.append(window)
        allowed -= window.requests
    else:
        batches = _batches(situation.sightings, situation.now)
    for batch in batches:
        if allowed <= 0 or (batch.worth < situation.price and (chosen or not unobserved)):
            break
        chosen.append(batch)
        allowed -= 1
    return chosen


def _windows(edge: Micros, situation: Situation, policy: Policy) -> Iterator[_Option]:
    """Fresh windows worth considering: by how many pages they fill, and how far they reach back."""
    now = situation.now
    page = _page(situation.arrival_rate)
    floor = Micros(edge - _still_late(edge, situation))
    created = sorted((each.created_at, each.unseen(now)) for each in situation.sightings.values())
    highs = [now]
    if not policy.early and now - floor > page:
        highs.append(Micros(max(edge + 1, round(floor + page))))
    for high in highs:
        yield _window(floor, high, edge, created, situation)
    for pages in range(1, MOST_PAGES + 1):
        low = Micros(round(now - pages * page))
        if low < floor:
            yield _window(max(low, Micros(floor - DEEPEST)), now, edge, created, situation)
        if low < floor - DEEPEST or (created and low < created[0][0]):
            break


def _longest(situation: Situation, policy: Policy) -> float:
    """The longest time without a fresh window, in microseconds."""
    return interval_factor(relaxed=situation.hinted, interval=policy.interval / SECOND) * policy.interval


def _page(arrival_rate: float) -> float:
    """The span, in microseconds, whose tasks fill a page as far as it is planned to be filled."""
    return PAGE * FULL / max(arrival_rate, 1e-9) * SECOND


def _still_late(edge: Micros, situation: Situation) -> int:
    """How far behind the edge rows may still appear: less the older they were when it was read."""
    trail = 0 if situation.fresh_at is None else situation.fresh_at - edge
    return max(0, situation.overlap - max(0, trail))


def _window(
    low: Micros, high: Micros, edge: Micros, created: Sequence[tuple[Micros, float]], situation: Situation
) -> _Option:
    first, last = (bisect_left(created, (instant, -1.0)) for instant in (low, high))
    worth = sum(gathered for _, gathered in created[first:last])
    worth += _arrived(edge, high, situation)
    # What is known to be there says more than a rate does of a burst that lies back.
    requests = max(lower_bound(situation.arrival_rate, (high - low) / SECOND), ceil((last - first) / PAGE))
    return _Option(Window(Interval(low, high), fresh=True), worth, requests)


def _unobserved(situation: Situation) -> float:
    """Seconds since anything in flight was seen, while fresh windows do not show it; 0 if nothing is."""
    if not situation.hinted or not situation.sightings:
        return 0.0
    return (situation.now - max(each.seen_at for each in situation.sightings.values())) / SECOND


def _arrived(low: Micros, high: Micros, situation: Situation) -> float:
    """The delay gathered by what must have arrived in an interval that nobody has read."""
    if situation.hinted:
        return 0.0
    span = (high - low) / SECOND / NODES
    ages = ((situation.now - high) / SECOND + (node + 0.5) * span for node in range(NODES))
    return situation.arrival_rate * span * sum(situation.typical.unseen(0.0, age) for age in ages)


def _batches(sightings: Mapping[TaskId, Sighting], now: Micros) -> list[_Option]:
    """Tasks to ask for by id, those that have gathered most first."""
    gathered = sorted(((each.unseen(now), task_id) for task_id, each in sightings.items()), reverse=True)
    pieces = (gathered[at : at + PAGE] for at in range(0, len(gathered), PAGE))
    return [
        _Option(Batch(tuple(task_id for _, task_id in piece)), sum(delay for delay, _ in piece), 1)
        for piece in pieces
    ]


def _newest_first(gap: Interval, width: int, overlap: int) -> Iterator[Interval]:
    """The gap in windows. The oldest reaches back over what was read just before the gap opened.

    Rows that were late there had no later cycle to be seen in.
    """
    high = gap.high
    while high > gap.low:
        low = max(gap.low, Micros(high - width))
        yield Interval(Micros(low - overlap) if low == gap.low else low, high)
        high = low
