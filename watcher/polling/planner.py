"""What to ask the API in one cycle of one scope, and when to ask again. Pure: a situation in, reads out.

Every read is weighed alike: by the delay that what it shows has gathered unseen, in task-seconds, for each
request that it takes (``looks``). A closed ``created_at`` range sorted by id shows known and unknown tasks, and
its membership is frozen but for late rows; an ``id__in`` batch shows what is in flight elsewhere. What is worth
the price is read, the best first, as far as the pace allows. From this follow a fixed spacing for a steady
flow that fits a page, extra looks where a lone task is likely to end, and, where there is more in flight than
the budget can look at, a first look at the age where tasks begin to end and later ones for the most overdue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Final, Literal

from watcher.model import SECOND, Micros, TaskId
from watcher.polling import ladder
from watcher.polling.flight import PAGE, Flight, Unread, pages_of
from watcher.polling.hints import interval_factor
from watcher.polling.learned import OVERLAPS
from watcher.polling.lifetimes import Survival
from watcher.polling.looks import Sighting, next_look
from watcher.state.coverage import Coverage, Interval
from watcher.state.scope import ScopeState

FULL: Final = 0.85
"""How full a page of second looks is planned: arrivals are not even, and one row too many costs a request."""
SHARES: Final = 8
"""Widths of a window that are weighed, for each page that it may fill."""
FIRST_WIDTH: Final = 3600 * SECOND
"""Span of the past that one window reads before anything is known of how dense it is."""
NARROWEST: Final = 1 * SECOND
WIDEST: Final = 30 * 86_400 * SECOND
DEEPEST: Final = 600 * SECOND
"""How far beyond the overlap the fresh window may reach back."""
MOST_PAGES: Final = 20
"""Pages of one fresh window at most; what it leaves is asked for by id, or read as history."""
PATIENCE: Final = 1.25
"""Growth of what is ripe to be read, after which it is read even in place of a look."""
STEADY: Final = 20.0
"""Tasks in flight from which on they end so steadily that looks are best spaced evenly."""
GRACE: Final = 0.25
"""Part of a spacing by which a look may come late for the sake of even ones."""
EARLY: Final = 0.5
"""Part of the price for which a look is taken that comes early for the sake of even ones."""
OVERFLOW: Final = 0.5
"""Chance of one page more up to which a window is not planned to take it."""
SAMPLE: Final = 500
"""Tasks weighed one by one to find the moment of the next look; of more, every so-and-so-many-th."""

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
    """A read, the task-seconds that it is worth for each request, and the requests that it is likely to take."""

    read: Read
    density: float
    requests: int


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
    expected = sum(each.requests for each in present)
    spare = situation.allowed - expected
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
        width=round(max(1.0, min(situation.second_looks, spare)) * _page(situation.arrival_rate)),
        most=situation.width,
    )
    pressing = [rung for rung in rungs if ladder.pressing(rung, now=now, horizon=policy.horizon)]
    # Where requests are scarce, second looks come beside looks at the present, and not in place of them.
    affordable = situation.second_looks >= 1 and (spare >= 1 or not _crowded(situation))
    reads: tuple[Read, ...] = (
        *(each.read for each in present),
        *(() if state.adopted else (Adoption(),)),
        *islice(history, max(0, ceil(situation.past))),
        # What presses is read before all others, and whatever the share pays for.
        *(Window(rung.window, rung) for rung in (pressing or (rungs if affordable else []))[:1]),
    )
    name: PlanName = "B" if low < edge - situation.overlap else "A"
    if situation.hinted and not windows:
        name = "D"
    return Plan(reads, name, expected)


def wait(situation: Situation, policy: Policy, credit: float, pace: float) -> float:
    """Seconds until the next cycle, with so many requests left to spend and ``pace`` more every second.

    It comes when a look is worth its price, at the latest after the interval, but not before there is a
    request to spend.
    """
    interval = policy.interval / SECOND
    # A look at what was hinted lies between two cycles; the interval counts from then.
    left = interval - _unobserved(situation)
    latest = min(interval, left if left > 0 else interval)
    if situation.fresh_at is not None:
        fresh = (situation.fresh_at + _longest(situation, policy) - situation.now) / SECOND
        latest = min(latest, fresh if fresh > 0 else interval)
    # What must be read besides comes beside a look, and not in place of one, if looks leave it its part.
    looks = pace - _besides(situation, pace) + max(0.0, credit) / interval
    soonest = max((1.0 - credit) / pace, min(latest, 1.0 / looks))

    def worth(after: float) -> float:
        then = replace(situation, now=Micros(situation.now + round(after * SECOND)))
        return _best(then, policy)

    due = next_look(worth, price=situation.price, soonest=soonest, latest=latest)
    steady = _steady(situation)
    # Looks divide the time until the fresh window evenly: one shortly before it would see little.
    return latest / max(1, ceil(latest / due - GRACE)) if steady and soonest < due < latest else due


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
    flight = Flight.of(situation.sightings, situation.now)
    ripe = _ripe(edge, flight, situation)
    window = ripe or max(_windows(edge, flight, situation, policy), key=lambda each: each.density)
    overdue = situation.fresh_at is None or situation.now - situation.fresh_at >= _longest(situation, policy)
    unobserved = _unobserved(situation) * SECOND >= policy.interval
    chosen: list[_Option] = []
    price = situation.price * (EARLY if _steady(situation) else 1.0)
    if overdue or ripe or window.density >= max(price, flight.most()):
        chosen.append(window)
    shown = window.read.interval if chosen and isinstance(window.read, Window) else None
    allowed = situation.allowed - sum(each.requests for each in chosen)
    batches = flight.pages(shown)
    # A request that is saved for what comes beside looks is not spent on much less than a look later is worth.
    least = max(price, batches[0][0] / 2 if batches and _crowded(situation) else 0.0)
    for worth, ids in batches[: max(0, allowed)]:
        if worth < least and (chosen or not unobserved):
            break
        chosen.append(_Option(Batch(ids), worth, 1))
    return chosen


def _weight(situation: Situation) -> int:
    """Of how many tasks one is weighed, to find the moment of the next look."""
    return max(1, len(situation.sightings) // SAMPLE)


def _best(situation: Situation, policy: Policy) -> float:
    """The task-seconds that the best read is worth, for each request that it takes."""
    if situation.state.start is None:
        return 0.0
    edge = _edge(situation.state.coverage, Micros(situation.state.start.cover_from), situation)
    flight = Flight.of(situation.sightings, situation.now, _weight(situation))
    return max(flight.most(), *(each.density for each in _windows(edge, flight, situation, policy)))


def _windows(edge: Micros, flight: Flight, situation: Situation, policy: Policy) -> Iterator[_Option]:
    """Fresh windows worth considering, by where they end and how far they reach back.

    Where more is in flight than fits a page, what is too young to have ended may wait unread.
    """
    now, rate = situation.now, situation.arrival_rate
    floor = Micros(edge - _still_late(edge, situation))
    unread = Unread.of(edge, now, 0.0 if situation.hinted else rate, situation.typical)
    share = round(_page(rate) / FULL / SHARES)
    highs = [now]
    if not policy.early and _crowded(situation):
        highs += [high for ahead in range(2 * SHARES, 0, -1) if (high := Micros(edge + ahead * share)) < now]
    deepest = max(Micros(floor - DEEPEST), min((*flight.created[:1], floor)))
    for high in highs:
        low, best, since = floor, -1.0, 0
        while since < SHARES and low >= deepest:
            shown = Interval(low, high)
            known, gathered = flight.within(shown)
            requests = max(pages_of(rate * shown.span / SECOND), ceil(known / PAGE))
            density = (gathered + unread.before(high)) / requests
            yield _Option(Window(shown, fresh=True), density, ceil(requests - OVERFLOW))
            best, since = (density, 0) if density > best else (best, since + 1)
            if low == deepest:
                break
            low = max(deepest, Micros(min(low, high) - share))


def _ripe(edge: Micros, flight: Flight, situation: Situation) -> _Option | None:
    """What has been created and not read, by full pages, where it is better known young."""
    if not _crowded(situation) or situation.hinted or not _young(situation, flight.most()):
        return None
    page = _page(situation.arrival_rate)
    floor = Micros(edge - _still_late(edge, situation))
    filled = (situation.now - situation.overlap - floor) / page
    pages = min(situation.allowed, int(filled))
    if pages < 1 or (pages == situation.allowed and filled < pages * PATIENCE):
        return None
    return _Option(Window(Interval(floor, Micros(round(floor + pages * page))), fresh=True), 0.0, pages)


def _young(situation: Situation, going: float) -> bool:
    """Whether tasks are better found long before they end, and then asked for by id each at its time.

    A page of rows spans some time. Tasks that are looked at first by such a page are looked at too early or too
    late by up to half that span, which costs ``hazard * span**2 / 24`` each; finding them young costs each a
    row's share of a request, for which ``going`` task-seconds are paid at present.
    """
    typical, price = situation.typical, max(situation.price, going) / PAGE
    first, half = typical.age_of(price), _page(situation.arrival_rate) / SECOND / 2
    early, late = typical.unseen(0.0, max(0.0, first - half)), typical.unseen(0.0, first + half)
    return (early + late - 2 * price) / 6 >= price


def _besides(situation: Situation, pace: float) -> float:
    """The requests a second, of those that the pace allows, for second looks and for what is found young."""
    if not _crowded(situation):
        return 0.0
    download = SECOND / _page(situation.arrival_rate)
    then = Micros(situation.now + round(SECOND / pace))
    going = Flight.of(situation.sightings, then, _weight(situation)).most()
    return min(ladder.SHARE * pace, download) + min(pace / 2, download if _young(situation, going) else 0.0)


def _steady(situation: Situation) -> bool:
    """Whether so many tasks are in flight that ends come steadily, and yet a request shows them all."""
    return STEADY <= situation.arrival_rate * situation.typical.mean <= PAGE


def _crowded(situation: Situation) -> bool:
    """Whether more is in flight than a request shows."""
    return situation.arrival_rate * situation.typical.mean > PAGE


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


def _unobserved(situation: Situation) -> float:
    """Seconds since anything in flight was seen, while fresh windows do not show it; 0 if nothing is."""
    if not situation.hinted or not situation.sightings:
        return 0.0
    return (situation.now - max(each.seen_at for each in situation.sightings.values())) / SECOND


def _newest_first(gap: Interval, width: int, overlap: int) -> Iterator[Interval]:
    """The gap in windows. The oldest reaches back over what was read just before the gap opened.

    Rows that were late there had no later cycle to be seen in.
    """
    high = gap.high
    while high > gap.low:
        low = max(gap.low, Micros(high - width))
        yield Interval(Micros(low - overlap) if low == gap.low else low, high)
        high = low
