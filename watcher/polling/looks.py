"""When to look, and at what: requests go where tasks are likely to have ended unseen. Pure.

Every task in flight gathers, from its last sighting on, the delay it would have if it were seen now:
``C(a, d)``, from the survival of tasks of its type. A request is worth sending once what it would see has
gathered ``price`` task-seconds in all. For one task this yields the ages at which to look that a dynamic
programme over inspection ages finds (Lagrangian with the same price); for a steady flow it is even spacing;
with more tasks than a request can ask for, those that have gathered most go first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from watcher.model import SECOND, Micros, TaskId
from watcher.polling.lifetimes import Survival

SAMPLE: Final = 500
"""Tasks looked at one by one to find the moment of the next look; of more, every so-and-so-many-th."""
STEPS: Final = 10
"""Halvings of the wait: a thousandth of the interval."""
FEW: Final = 0.57
"""Part of the target that is aimed at while few are in flight."""
LOOKS: Final = 40
"""Looks at one task after which its expected share of the delay no longer matters."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A task in flight: when it was created, when it was last seen so, and how long its type lives."""

    created_at: Micros
    seen_at: Micros
    survival: Survival

    def unseen(self, now: Micros) -> float:
        """Seconds of delay gathered since it was last seen, on average."""
        return self.survival.unseen(
            max(0, self.seen_at - self.created_at) / SECOND, max(0, now - self.created_at) / SECOND
        )


def next_look(
    sightings: Mapping[TaskId, Sighting],
    *,
    now: Micros,
    interval: float,
    price: float,
    most: int,
    arriving: tuple[float, Survival],
) -> float:
    """Seconds until a request that shows ``most`` tasks is worth its price; the interval at most.

    ``arriving`` is the rate at which tasks are created, and their survival: what has not been read counts too.
    """
    stride = max(1, len(sightings) // SAMPLE)
    sample = list(sightings.values())[::stride]
    shown = max(1, most // stride)
    rate, typical = arriving

    def worth(wait: float) -> float:
        then = Micros(now + round(wait * SECOND))
        gathered = sorted((sighting.unseen(then) for sighting in sample), reverse=True)
        return stride * sum(gathered[:shown]) + rate * wait * typical.unseen(0.0, wait) / 2

    if worth(interval) <= price:
        return interval
    low, high = 0.0, interval
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if worth(middle) < price else (low, middle)
    return high


def expected(survival: Survival, *, interval: float, price: float) -> tuple[float, float]:
    """The mean delay in seconds, and the looks, of one task that is looked at alone at this price.

    Each look comes when ``price`` has gathered, so a task's delay is the price times the looks it lives to see
    (and less where the interval comes first).
    """
    delay = looks = age = 0.0
    for _ in range(LOOKS):
        alive, _ = survival.at(age)
        if alive < 1e-4:
            break
        wait = _wait(survival, age, interval, price)
        delay += alive * survival.unseen(age, age + wait)
        looks += alive
        age += wait
    return delay, looks


def price_of_few(target: float, *, survival: Survival, interval: float) -> float:
    """The price in task-seconds at which a task that is alone in flight is seen ``target`` seconds late or less.

    Less than the target is aimed at: with so few in flight the looks cost next to nothing beside the interval's own,
    and the survival is only an estimate.
    """
    low, high = 0.0, interval
    for _ in range(16):
        middle = (low + high) / 2
        delay, _ = expected(survival, interval=interval, price=middle)
        low, high = (middle, high) if delay < FEW * target else (low, middle)
    return high


def price_of_flow(target: float, arrival_rate: float) -> float:
    """The price at which a steady flow is seen ``target`` seconds late on average.

    Looks every ``2 x target`` seconds do so, and between two of them ``arrival_rate * spacing**2 / 2`` gathers.
    """
    return 2 * target * target * arrival_rate


def _wait(survival: Survival, age: float, interval: float, price: float) -> float:
    if survival.unseen(age, age + interval) <= price:
        return interval
    low, high = 0.0, interval
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if survival.unseen(age, age + middle) < price else (low, middle)
    return high
