"""Situations to plan in, by seconds of the test's clock."""

from __future__ import annotations

from watcher.model import SECOND, Micros, TaskId
from watcher.polling.lifetimes import Histogram, Survival
from watcher.polling.looks import Sighting
from watcher.polling.situation import Policy, Situation
from watcher.polling.widths import FIRST_WIDTH
from watcher.state.coverage import Coverage, Interval
from watcher.state.records import Start
from watcher.state.scope import ScopeState

POLICY = Policy(interval=5 * SECOND, horizon=86_400 * SECOND, early=False)
DOCUMENTED = Survival.of(Histogram())
T0 = 1_800_000_000 * SECOND


def at(seconds: float) -> Micros:
    return Micros(T0 + round(seconds * SECOND))


def span(low: float, high: float) -> Interval:
    return Interval(at(low), at(high))


def state(*covered: Interval, begin: float = -600, adopted: bool = True) -> ScopeState:
    return ScopeState(Start(at(0), at(0), at(begin)), Coverage.of(covered), adopted)


def situation(known: ScopeState, now: float, **changes: object) -> Situation:
    """A quiet scope that was read an interval ago, unless told otherwise."""
    given: dict[str, object] = {
        "sightings": {},
        "typical": DOCUMENTED,
        "arrival_rate": 0.0,
        "price": 0.3,
        "allowed": 10,
        "overlap": 30 * SECOND,
        "width": FIRST_WIDTH,
        "past": 1.0,
        "second_looks": 0.0,
        "levels": 64,
        "fresh_at": at(now - 5),
        **changes,
    }
    return Situation(known, at(now), **given)  # type: ignore[arg-type] # each as its field says


def seen(now: float, *ages: tuple[float, float]) -> dict[TaskId, Sighting]:
    """Tasks by their age, and by how many seconds ago they were seen."""
    return {
        TaskId(f"{number:04}"): Sighting(at(now - age), at(now - min(age, unseen)), DOCUMENTED)
        for number, (age, unseen) in enumerate(ages)
    }
