"""When to look, and at what: requests go where tasks are likely to have ended unseen. Pure.

Every task in flight gathers, from its last sighting on, the delay it would have if it were seen now:
``C(a, d)``, from the survival of tasks of its type. A request is worth sending once what it would see has
gathered ``price`` task-seconds in all. For one task this yields the ages at which to look that a dynamic
programme over inspection ages finds (Lagrangian with the same price); for a steady flow it is even spacing;
with more tasks than a request can ask for, those that have gathered most go first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from watcher.model import SECOND, Micros
from watcher.polling.lifetimes import Survival

MOMENT: Final = 0.02
"""Seconds between two looks at least: what is worth its price only by a hair is not looked for in a circle."""
STEPS: Final = 8
"""Halvings of the wait: to a fiftieth of a second of five."""
FEW: Final = 0.53
"""Part of the target that is aimed at while few are in flight.

So few looks cost next to nothing beside the interval's own, and the survival is only an estimate.
"""
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
    worth: Callable[[float], float], *, price: float, soonest: float, latest: float, moment: float = MOMENT
) -> float:
    """Seconds until a look is worth its price, given what it will be worth after a wait, which grows with it.

    It comes no sooner than ``soonest``, nor than a ``moment`` after the last, and otherwise at the latest at
    ``latest``.
    """
    low = max(soonest, moment)
    if low >= latest or worth(low) >= price:
        return max(soonest, min(low, latest))
    if worth(latest) <= price:
        return latest
    high = latest
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
    """The price in task-seconds at which a task that is alone in flight is seen ``target`` seconds late or less."""
    low, high = 0.0, interval
    for _ in range(16):
        middle = (low + high) / 2
        delay, _ = expected(survival, interval=interval, price=middle)
        low, high = (middle, high) if delay < target else (low, middle)
    return high


def price_of_flow(target: float, arrival_rate: float) -> float:
    """The price at which a steady flow is seen ``target`` seconds late on average, where a look shows all of it.

    Looks every ``2 x target`` seconds do so, and between two of them ``arrival_rate * spacing**2 / 2`` gathers.
    """
    return 2 * target * target * arrival_rate


def both(flow: float, paged: float, *, beyond: float) -> float:
    """The price where a page shows only a part of what is in flight, and a share of it lies ``beyond``.

    ``flow`` is the price for looks that show everything, ``paged`` that of a page of tasks each looked at alone.
    As a task is late both because looks are spaced and because it is not shown at each, the price is such that
    both delays together keep to the target.
    """
    return flow * paged / max(paged + beyond * flow, 1e-12)


def _wait(survival: Survival, age: float, interval: float, price: float) -> float:
    if survival.unseen(age, age + interval) <= price:
        return interval
    low, high = 0.0, interval
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if survival.unseen(age, age + middle) < price else (low, middle)
    return high
