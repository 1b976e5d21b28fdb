"""The present: what is in flight, what must have arrived unread, and the reads that show most of it. Pure.

Reads are weighed by the delay that what they show has gathered unseen, for each request that they take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.polling.flight import PAGE, Flight, Unread, pages_of
from watcher.polling.hints import interval_factor
from watcher.polling.situation import Batch, Policy, Read, Situation, Window
from watcher.state.coverage import Coverage, Interval

FULL: Final = 0.85
"""How full a page of second looks is planned: arrivals are not even, and one row too many costs a request."""
SHARES: Final = 8
"""Widths of a window that are weighed, for each page that it may fill."""
DEEPEST: Final = 600 * SECOND
"""How far beyond the overlap the fresh window may reach back."""
PATIENCE: Final = 1.25
"""Growth of what is ripe to be read, after which it is read even in place of a look."""
EARLY: Final = 0.5
"""Part of the price for which a look is taken that comes early for the sake of even ones."""
OVERFLOW: Final = 0.5
"""Chance of one page more up to which a window is not planned to take it."""
SAMPLE: Final = 500
"""Tasks weighed one by one to find the moment of the next look; of more, every so-and-so-many-th."""


@dataclass(frozen=True, slots=True)
class Option:
    """A read, the task-seconds that it is worth for each request, and the requests that it is likely to take."""

    read: Read
    density: float
    requests: int


def present(edge: Micros, situation: Situation, policy: Policy) -> list[Option]:
    """The best reads of the present that are worth their price, as many as are allowed.

    A fresh window is read at least once an interval, whatever it is worth. Where hints make up for it, it is
    read more rarely, and something in flight is looked at in its place.
    """
    flight = Flight.of(situation.sightings, situation.now)
    ripe = _ripe(edge, flight, situation)
    window = ripe or max(_windows(edge, flight, situation, policy), key=lambda each: each.density)
    overdue = situation.fresh_at is None or situation.now - situation.fresh_at >= longest(situation, policy)
    unobserved = situation.unobserved * SECOND >= policy.interval
    chosen: list[Option] = []
    price = situation.price * (EARLY if situation.steady else 1.0)
    if overdue or ripe or window.density >= max(price, flight.most()):
        chosen.append(window)
    shown = window.read.interval if chosen and isinstance(window.read, Window) else None
    allowed = situation.allowed - sum(each.requests for each in chosen)
    batches = flight.pages(shown)
    # A request that is saved for what comes beside looks is not spent on much less than a look later is worth.
    least = max(price, batches[0][0] / 2 if batches and situation.crowded else 0.0)
    for worth, ids in batches[: max(0, allowed)]:
        if worth < least and (chosen or not unobserved):
            break
        chosen.append(Option(Batch(ids), worth, 1))
    return chosen


def best(situation: Situation, policy: Policy) -> float:
    """The task-seconds that the best read is worth, for each request that it takes."""
    if situation.state.start is None:
        return 0.0
    edge = edge_of(situation.state.coverage, Micros(situation.state.start.cover_from), situation)
    flight = Flight.of(situation.sightings, situation.now, weight(situation))
    return max(flight.most(), *(each.density for each in _windows(edge, flight, situation, policy)))


def besides(situation: Situation, pace: float) -> float:
    """The requests a second, of those that the pace allows, for second looks and for what is found young."""
    if not situation.crowded:
        return 0.0
    download = SECOND / page_span(situation.arrival_rate)
    then = Micros(situation.now + round(SECOND / pace))
    going = Flight.of(situation.sightings, then, weight(situation)).most()
    return min(ladder.SHARE * pace, download) + min(pace / 2, download if _young(situation, going) else 0.0)


def longest(situation: Situation, policy: Policy) -> float:
    """The longest time without a fresh window, in microseconds."""
    return interval_factor(relaxed=situation.hinted, interval=policy.interval / SECOND) * policy.interval


def edge_of(coverage: Coverage, begin: Micros, situation: Situation) -> Micros:
    """Where the present begins: the end of what is covered, or, after a long absence, one width ago."""
    now = situation.now
    gaps = coverage.gaps(min(begin, Micros(now - 1)), now)
    edge = gaps[-1].low if gaps and gaps[-1].high == now else now
    return max(edge, Micros(now - max(situation.width, situation.overlap)))


def page_span(arrival_rate: float) -> float:
    """The span, in microseconds, whose tasks fill a page as far as it is planned to be filled."""
    return PAGE * FULL / max(arrival_rate, 1e-9) * SECOND


def weight(situation: Situation) -> int:
    """Of how many tasks one is weighed, to find the moment of the next look."""
    return max(1, len(situation.sightings) // SAMPLE)


def _windows(edge: Micros, flight: Flight, situation: Situation, policy: Policy) -> Iterator[Option]:
    """Fresh windows worth considering, by where they end and how far they reach back.

    Where more is in flight than fits a page, what is too young to have ended may wait unread.
    """
    now, rate = situation.now, situation.arrival_rate
    floor = _floor(edge, situation)
    unread = Unread.of(edge, now, 0.0 if situation.hinted else rate, situation.typical)
    share = round(page_span(rate) / FULL / SHARES)
    highs = [now]
    if not policy.early and situation.crowded:
        highs += [high for ahead in range(2 * SHARES, 0, -1) if (high := Micros(edge + ahead * share)) < now]
    deepest = max(
        Micros(floor - DEEPEST), min((*flight.created[:1], floor)), min(situation.state.forgotten, floor)
    )
    for high in highs:
        low, best, since = floor, -1.0, 0
        while since < SHARES and low >= deepest:
            shown = Interval(low, high)
            known, gathered = flight.within(shown)
            requests = max(pages_of(rate * shown.span / SECOND), ceil(known / PAGE))
            density = (gathered + unread.before(high)) / requests
            yield Option(Window(shown, fresh=True), density, ceil(requests - OVERFLOW))
            best, since = (density, 0) if density > best else (best, since + 1)
            if low == deepest:
                break
            low = max(deepest, Micros(min(low, high) - share))


def _ripe(edge: Micros, flight: Flight, situation: Situation) -> Option | None:
    """What has been created and not read, by full pages, where it is better known young."""
    if not situation.crowded or situation.hinted or not _young(situation, flight.most()):
        return None
    page = page_span(situation.arrival_rate)
    floor = _floor(edge, situation)
    filled = (situation.now - situation.overlap - floor) / page
    pages = min(situation.allowed, int(filled))
    if pages < 1 or (pages == situation.allowed and filled < pages * PATIENCE):
        return None
    return Option(Window(Interval(floor, Micros(round(floor + pages * page))), fresh=True), 0.0, pages)


def _young(situation: Situation, going: float) -> bool:
    """Whether tasks are better found long before they end, and then asked for by id each at its time.

    A page of rows spans some time. Tasks that are looked at first by such a page are looked at too early or too
    late by up to half that span, which costs ``hazard * span**2 / 24`` each; finding them young costs each a
    row's share of a request, for which ``going`` task-seconds are paid at present.
    """
    typical, price = situation.typical, max(situation.price, going) / PAGE
    first, half = typical.age_of(price), page_span(situation.arrival_rate) / SECOND / 2
    early, late = typical.unseen(0.0, max(0.0, first - half)), typical.unseen(0.0, first + half)
    return (early + late - 2 * price) / 6 >= price


def _floor(edge: Micros, situation: Situation) -> Micros:
    """How far back a fresh window reaches at least: as far behind the edge as rows may still appear.

    They appear less the older they were when it was read. What may have been forgotten would be told a second time.
    """
    trail = 0 if situation.fresh_at is None else situation.fresh_at - edge
    late = max(0, situation.overlap - max(0, trail))
    return max(Micros(edge - late), min(situation.state.forgotten, edge))
