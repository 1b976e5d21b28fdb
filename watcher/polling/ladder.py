"""The ladder: rows that appear late are found by reading older windows again, ever more rarely. Pure.

Level k trails the present by an age that grows from level to level, up to the horizon. Whatever was created
before a level's mark has been read again at that age or later. A level reads once its window fills a page, or
is as wide as its age (the oldest ones sooner, so that less needs to be remembered): each level costs one more
download of every row, in full pages where many arrive, and in the quiet case a few requests an hour. A row
that appears later than it was created by less than a level's age is found by that level. Where so many rows
arrive that the budget's share pays for few levels, they stand further apart: late rows are found later, but
all of them. The last level is read even where the share does not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watcher.model import SECOND, Micros
from watcher.monite.query import MAX_LIMIT
from watcher.state.coverage import Interval

SHARE: Final = 0.1
"""Part of the requests spent that second looks may take."""
FIRST: Final = 64 * SECOND
"""Age of the youngest level."""
RATIO: Final = 4
"""Growth of the age from one level to the next while the share pays for every level."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A window that a level is to read again; its low end is the level's mark.

    It is read by whole pages and may end with the page that reaches ``until``.
    """

    level: int
    window: Interval
    until: Micros


def levels_affordable(arrival_rate: float, spending: float) -> int:
    """How many levels ``SHARE`` of the requests spent a second pays for; at least one.

    Each level downloads every row once more: ``arrival_rate / page`` requests a second.
    """
    if arrival_rate <= 0:
        return 64
    return max(1, int(SHARE * spending * MAX_LIMIT / arrival_rate))


def ages(overlap: int, horizon: int, levels: int) -> tuple[int, ...]:
    """The ages of all levels in microseconds, rising, the last the horizon itself.

    All ages come from one geometric grid, so that a level keeps its mark when others come and go.
    """
    grid: list[int] = []
    age = FIRST
    while age < horizon:
        if age > overlap:
            grid.append(age)
        age *= RATIO
    grid.append(horizon)
    if levels >= len(grid):
        return tuple(grid)
    if levels == 1:
        return (horizon,)
    chosen = {round(place * (len(grid) - 1) / (levels - 1)) for place in range(levels)}
    return tuple(grid[place] for place in sorted(chosen))


def memory(horizon: int) -> int:
    """How far back any level may read, in microseconds: records must be kept for so long."""
    return horizon + 2 * _widest(horizon)


def _widest(horizon: int) -> int:
    return max(1, horizon // RATIO)


def due(
    marks: Mapping[int, Micros],
    *,
    now: Micros,
    begin: Micros,
    ages: Sequence[int],
    horizon: int,
    page: int,
    pages: int,
    most: int,
) -> list[Rung]:
    """The windows to read again now, once they fill a page or are as wide as their age.

    First the level most behind, for its age. A page spans ``page`` microseconds. So many ``pages`` are enough, if
    there are as many full ones, or as many as what presses (see ``pressing``) takes; but not more than reach over a
    span of ``most``.

    A level's number is its age in seconds. ``marks`` holds how far each has come. Nothing is read before
    ``begin``, where coverage does or, later, where records may have been forgotten: their tasks would be told a
    second time. What lies further back than ``memory`` is passed over.
    """
    found: list[tuple[float, Rung]] = []
    for age in ages:
        level = age // SECOND
        low = max(begin, marks.get(level, begin), Micros(now - age - 2 * _widest(horizon)))
        high = Micros(now - age)
        pressed = high - low - _widest(horizon) if age == horizon else 0
        if high - low >= min(age, _widest(horizon), page):
            full = min(pages, (high - low) // page)
            enough = min(most, max(0, (full - 1) * page, pressed))
            rung = Rung(level, Interval(low, high), Micros(low + enough))
            found.append(((high - low) / min(age, _widest(horizon)), rung))
    return [rung for _, rung in sorted(found, key=lambda each: each[0], reverse=True)]


def pressing(rung: Rung, *, now: Micros, horizon: int) -> bool:
    """Whether the last level has fallen so far behind that it must be read, whatever may be spent.

    What it does not reach in time nobody reads again.
    """
    return rung.level == horizon // SECOND and now - horizon - rung.window.low > _widest(horizon)


def climbed(marks: Mapping[int, Micros], rung: Rung) -> dict[int, Micros]:
    """The marks after a rung has been read completely."""
    return {**marks, rung.level: rung.window.high}
