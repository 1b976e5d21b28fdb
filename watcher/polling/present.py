"""The present: what is in flight, what must have arrived unread, and the reads that show most of it. Pure.

Reads are weighed by the delay that what they show has gathered unseen, for each request that they take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from watcher.model import SECOND, Micros
from watcher.polling.flight import PAGE, Flight, Unread, pages_of
from watcher.polling.hints import interval_factor
from watcher.polling.situation import Batch, Policy, Read, Situation, Window
from watcher.state.coverage import Coverage, Interval

SHARES: Final = 8
"""Widths of a window that are weighed, for each page that it may fill."""
STEPS: Final = 16
"""Parts of a page, of any number of which a window by full pages may consist that was not read before."""
DEEPEST: Final = 600 * SECOND
"""How far beyond the overlap the fresh window may reach back."""
EARLY: Final = 0.5
"""Part of the price for which a look is taken that comes early for the sake of even ones."""
OVERFLOW: Final = 0.5
"""Chance of one page more up to which a window is not planned to take it."""
SAMPLE: Final = 500
"""Tasks weighed one by one to find the moment of the next look; of more, every so-and-so-many-th."""


@dataclass(frozen=True, slots=True)
class Option:
    """A read, the task-seconds that it is worth for each request, and the requests that it is likely to take.

    ``shown`` is when those were created whom it is likely to show, if it is a window.
    """

    read: Read
    shown: Interval | None
    density: float
    requests: int


def present(edge: Micros, situation: Situation, policy: Policy) -> list[Option]:
    """The best reads of the present that are worth their price, as many as are allowed.

    A fresh window is read at least once an interval, whatever it is worth. Where hints make up for it, it is
    read more rarely, and something in flight is looked at in its place.
    """
    flight = Flight.of(situation.sightings, situation.now)
    window = max(_windows(edge, flight, situation, policy), key=lambda each: each.density)
    overdue = situation.fresh_at is None or situation.now - situation.fresh_at >= longest(situation, policy)
    unobserved = situation.unobserved * SECOND >= policy.interval
    chosen: list[Option] = []
    price = situation.price * (EARLY if situation.steady else 1.0)
    if overdue or window.density >= max(price, flight.most()):
        chosen.append(window)
    shown = window.shown if chosen else None
    allowed = max(0, situation.allowed - sum(each.requests for each in chosen))
    batches = flight.pages(shown, max(1, allowed))
    # A request that is saved for what comes beside looks is not spent on much less than a look later is worth.
    least = max(price, batches[0][0] / 2 if batches and situation.crowded else 0.0)
    for worth, ids in batches[:allowed]:
        if worth < least and (chosen or not unobserved):
            break
        chosen.append(Option(Batch(ids), None, worth, 1))
    return chosen


def best(situation: Situation, policy: Policy) -> float:
    """The task-seconds that the best read is worth, for each request that it takes."""
    if situation.state.start is None:
        return 0.0
    edge = edge_of(situation.state.coverage, Micros(situation.state.start.cover_from), situation)
    flight = Flight.of(situation.sightings, situation.now, weight(situation))
    return max(flight.most(), *(each.density for each in _windows(edge, flight, situation, policy)))


def longest(situation: Situation, policy: Policy) -> float:
    """The longest time without a fresh window, in microseconds."""
    return interval_factor(relaxed=situation.hinted, interval=policy.interval / SECOND) * policy.interval


def edge_of(coverage: Coverage, begin: Micros, situation: Situation) -> Micros:
    """Where the present begins: the end of what is covered, or, after a long absence, one width ago."""
    now = situation.now
    gaps = coverage.gaps(min(begin, Micros(now - 1)), now)
    edge = gaps[-1].low if gaps and gaps[-1].high == now else now
    return max(edge, Micros(now - max(situation.width, situation.overlap)))


def page_span(arrival_rate: float) -> int:
    """The span, in microseconds, whose tasks fill a page."""
    return round(PAGE / max(arrival_rate, 1e-9) * SECOND)


def weight(situation: Situation) -> int:
    """Of how many tasks one is weighed, to find the moment of the next look."""
    return max(1, len(situation.sightings) // SAMPLE)


def _windows(edge: Micros, flight: Flight, situation: Situation, policy: Policy) -> Iterator[Option]:
    """Fresh windows worth considering, by how far they reach back and, where a page is too little, forward."""
    now, rate = situation.now, situation.arrival_rate
    unread = Unread.of(edge, now, 0.0 if situation.hinted else rate, situation.typical)
    floor = _floor(edge, situation)
    deepest = max(
        Micros(floor - DEEPEST), min((*flight.created[:1], floor)), min(situation.state.forgotten, floor)
    )
    if situation.scarce and not policy.early:
        return _in_order(floor, deepest, flight, unread, situation)
    return _up_to_now(floor, deepest, flight, unread, situation)


def _up_to_now(
    floor: Micros, deepest: Micros, flight: Flight, unread: Unread, situation: Situation
) -> Iterator[Option]:
    """Windows that show all that is new."""
    now, rate = situation.now, situation.arrival_rate
    share = page_span(rate) // SHARES
    low, best, since = floor, -1.0, 0
    while since < SHARES and low >= deepest:
        shown = Interval(low, now)
        known, gathered = flight.within(shown)
        requests = max(pages_of(rate * shown.span / SECOND), ceil(known / PAGE))
        density = (gathered + unread.before(now)) / requests
        yield Option(Window(shown, fresh=True), shown, density, ceil(requests - OVERFLOW))
        best, since = (density, 0) if density > best else (best, since + 1)
        if low == deepest:
            break
        low = max(deepest, Micros(low - share))


def _in_order(
    floor: Micros, deepest: Micros, flight: Flight, unread: Unread, situation: Situation
) -> Iterator[Option]:
    """Windows by full pages: the youngest wait unread, as they cannot have ended.

    All go on from what is covered: by a page, or by more, so that what must be read again is not read again for a
    page's sake. While all that is known fits a page by id, places are not what lacks: then they may go on by a
    part of one, of which the rest shows what was seen before.
    """
    now, edge = situation.now, unread.edge
    span = page_span(situation.arrival_rate)
    parts = STEPS if len(situation.sightings) <= PAGE else 1
    ends = [(Micros(floor - part * span // STEPS), edge) for part in range(parts)]
    ahead = span
    while edge + ahead < now:
        ends.append((floor, Micros(edge + ahead)))
        ahead *= 2
    for low, until in (*ends, (floor, now)):
        if low >= deepest:
            known, _ = flight.within(Interval(low, Micros(until + 1)))
            pages = 1 + max((until - low) // span, known // PAGE)
            shown = Interval(low, min(now, max(until, flight.reach(low, pages * span, pages * PAGE))))
            _, gathered = flight.within(shown)
            density = (gathered + unread.before(shown.high)) / pages
            yield Option(Window(Interval(low, now), fresh=True, until=until), shown, density, pages)


def _floor(edge: Micros, situation: Situation) -> Micros:
    """How far back a fresh window reaches at least: as far behind the edge as rows may still appear.

    They appear less the older they were when it was read. What may have been forgotten would be told a second time.
    """
    trail = 0 if situation.fresh_at is None else situation.fresh_at - edge
    late = max(0, situation.overlap - max(0, trail))
    return max(Micros(edge - late), min(situation.state.forgotten, edge))
