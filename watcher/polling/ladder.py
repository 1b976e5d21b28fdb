"""The ladder: rows that appear late are found by reading older windows again, ever more rarely. Pure.

Level k trails the present by an age that grows by ``RATIO`` a level, up to the horizon. Whatever was created
before a level's mark has been read again at that age or later. A level reads once its window is as wide as
its age (the oldest ones sooner, so that less needs to be remembered): each level costs one more download of
every row, and in the quiet case a few requests an hour. A row that appears later than it was created by less
than a level's age is found by that level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from watcher.model import Micros
from watcher.state.coverage import Interval

RATIO: Final = 4
"""Growth of the age from one level to the next: a smaller ratio finds late rows sooner and costs more."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A window that a level is to read again; its low end is the level's mark."""

    level: int
    window: Interval


def ages(overlap: int, horizon: int) -> tuple[int, ...]:
    """The ages of all levels in microseconds, from the first above ``overlap`` to the horizon itself."""
    found: list[int] = []
    age = overlap * RATIO
    while age < horizon:
        found.append(age)
        age *= RATIO
    return (*found, horizon)


def memory(horizon: int) -> int:
    """How far back any level may read, in microseconds: records must be kept for so long."""
    return horizon + 2 * _widest(horizon)


def _widest(horizon: int) -> int:
    return max(1, horizon // RATIO)


def due(
    marks: Mapping[int, Micros], *, now: Micros, begin: Micros, overlap: int, horizon: int, width: int
) -> Iterator[Rung]:
    """The windows to read again now, the youngest level first, none wider than ``width``.

    ``marks`` holds how far each level has come; a level without a mark begins at ``begin``, where coverage
    does. What lies further back than ``memory`` is passed over.
    """
    for level, age in enumerate(ages(overlap, horizon)):
        low = max(marks.get(level, begin), Micros(now - age - 2 * _widest(horizon)))
        high = Micros(now - age)
        if high - low >= min(age, _widest(horizon)):
            yield Rung(level, Interval(low, min(high, Micros(low + width))))


def climbed(marks: Mapping[int, Micros], rung: Rung) -> dict[int, Micros]:
    """The marks after a rung has been read completely."""
    return {**marks, rung.level: rung.window.high}
