"""What to ask the API in one cycle of one scope, and when to ask again. Pure: a situation in, reads out.

Every read is weighed alike: by the delay that what it shows has gathered unseen, in task-seconds, for each
request that it takes (``looks``). A closed ``created_at`` range sorted by id shows known and unknown tasks,
and its membership is frozen but for late rows; where a part of it is enough, it is read by full pages in
order of creation (``listing``); an ``id__in`` batch shows what is in flight elsewhere. What is worth the
price is read, the best first, as far as the pace allows. From this follow a fixed spacing for a steady flow
that fits a page, extra looks where a lone task is likely to end, and, where there is more in flight than the
budget can look at, a first look at the age where tasks begin to end and later ones for the most overdue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Final, Literal

from watcher.model import SECOND, Micros
from watcher.polling import ladder
from watcher.polling.flight import PAGE
from watcher.polling.learned import LONGEST_FREE, OVERLAPS
from watcher.polling.looks import MOMENT, next_look
from watcher.polling.present import DEEPEST, best, edge_of, longest, page_span, present, weight
from watcher.polling.situation import Adoption, Policy, Read, Situation, Window
from watcher.state.coverage import Interval

GRACE: Final = 0.25
"""Part of a spacing by which a look may come late for the sake of even ones."""

PlanName = Literal["A", "B", "D"]
"""A: what is new and, by id, what is in flight; B: one range that shows both; D: what is in flight, being hinted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read, in this order. ``expected`` is the number of requests foreseen but for the past's."""

    reads: tuple[Read, ...]
    name: PlanName
    expected: int


def plan(situation: Situation, policy: Policy) -> Plan:
    """The reads of one cycle: what is worth most for the present, then what was never read, then second looks.

    Raises:
        ValueError: the scope has no start yet.
    """
    state, now = situation.state, situation.now
    if state.start is None:
        raise ValueError("a scope is planned only once it has a start")
    begin = Micros(state.start.cover_from)
    edge = edge_of(state.coverage, begin, situation)
    chosen = present(edge, situation, policy)
    windows = [each.read for each in chosen if isinstance(each.read, Window)]
    low = min((window.interval.low for window in windows), default=edge)
    history = (
        Window(piece)
        for gap in reversed(state.coverage.gaps(min(begin, edge), edge))
        for piece in _newest_first(gap, situation.width, situation.overlap, state.forgotten)
    )
    expected = sum(each.requests for each in chosen)
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
        page=page_span(situation.arrival_rate),
        pages=max(1, spare if situation.levels == 1 else min(spare, int(situation.second_looks))),
        most=situation.width,
    )
    pressing = [rung for rung in rungs if ladder.pressing(rung, now=now, horizon=policy.horizon)]
    # The last level is read in any case: to wait until the share pays for it would only put off full pages.
    affordable = situation.second_looks >= 1 or situation.levels == 1
    reads: tuple[Read, ...] = (
        *(each.read for each in chosen),
        *(() if state.adopted else (Adoption(),)),
        *islice(history, max(0, ceil(situation.past))),
        # What presses is read before all others, and whatever the share pays for.
        *(
            Window(rung.window, rung, until=rung.until)
            for rung in (pressing or (rungs if affordable else []))[:1]
        ),
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
    left = interval - situation.unobserved
    latest = min(interval, left if left > 0 else interval)
    if situation.fresh_at is not None:
        fresh = (situation.fresh_at + longest(situation, policy) - situation.now) / SECOND
        latest = min(latest, fresh if fresh > 0 else interval)
    # What was saved is spent over an interval, not at once.
    spending = pace + max(0.0, credit) / interval
    soonest = max((1.0 - credit) / pace, min(latest, 1.0 / spending))

    def worth(after: float) -> float:
        then = replace(situation, now=Micros(situation.now + round(after * SECOND)))
        return best(then, policy)

    # Of very many only a sample is weighed: its word is rough, and a look that it calls for in vain takes long.
    moment = MOMENT * weight(situation)
    due = next_look(worth, price=situation.price, soonest=soonest, latest=latest, moment=moment)
    steady = situation.steady
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
    overlap = min(horizon, round(max(*OVERLAPS, LONGEST_FREE) * SECOND))
    return max(ladder.memory(horizon), overlap + DEEPEST)


def _newest_first(gap: Interval, width: int, overlap: int, forgotten: Micros) -> Iterator[Interval]:
    """The gap in windows. The oldest reaches back over what was read just before the gap opened.

    Rows that were late there had no later cycle to be seen in. What may have been forgotten is left alone.
    """
    high = gap.high
    while high > gap.low:
        low = max(gap.low, Micros(high - width))
        over = max(Micros(low - overlap), min(forgotten, low))
        yield Interval(over if low == gap.low else low, high)
        high = low
