"""What the API knows to be true, counted against what arrived. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from watcher.model import SECOND, Micros, TaskId
from watcher.sandbox.tasks import SimulatedTask

Key = tuple[TaskId, str]
"""A transition: the task and the status that it ended with."""


@dataclass(frozen=True, slots=True)
class Published:
    """An event of a task's end, as it was found on the stream."""

    event_id: str
    key: Key
    detected_at: Micros


@dataclass(slots=True)
class Arrived:
    """What was seen so far: entries on the stream, and deliveries by event id with the moment of the first."""

    published: list[Published] = field(default_factory=list)
    delivered_at: dict[str, Micros] = field(default_factory=dict)
    deliveries: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    bad_signatures: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The truth table; delays are in seconds, None where nothing was delayed."""

    ended: int
    published: int
    delivered: int
    missing: int
    duplicates: int
    delivered_again: int
    refused: int
    bad_signatures: int
    detection: tuple[float, float] | None
    delivery: tuple[float, float] | None

    @property
    def good(self) -> bool:
        """Whether everything arrived, everything once, and every signature was right."""
        return not (self.missing or self.duplicates or self.bad_signatures)


def ended_by(tasks: Iterable[SimulatedTask], cutoff: Micros) -> dict[Key, Micros]:
    """When each task ended that had ended, and could be seen to have, by an instant."""
    return {
        (task.id, task.outcome): task.ended_at
        for task in tasks
        if task.observable_at is not None and task.ended_at <= cutoff
    }


def missing(expected: Mapping[Key, Micros], arrived: Arrived) -> set[Key]:
    """What ended and is not on the stream, or is there and was not delivered."""
    through = {each.key for each in arrived.published if each.event_id in arrived.delivered_at}
    return set(expected) - through


def summarise(expected: Mapping[Key, Micros], arrived: Arrived) -> Summary:
    """Count what was expected against what arrived."""
    counted = [each for each in arrived.published if each.key in expected]
    first = {each.key: each for each in reversed(counted)}
    ids = {each.event_id for each in counted}
    return Summary(
        ended=len(expected),
        published=len(first),
        delivered=len(ids & arrived.delivered_at.keys()),
        missing=len(missing(expected, arrived)),
        duplicates=len(counted) - len(first),
        delivered_again=sum(arrived.deliveries[event_id] - 1 for event_id in ids & arrived.deliveries.keys()),
        refused=arrived.refused,
        bad_signatures=arrived.bad_signatures,
        detection=_percentiles([(each.detected_at - expected[each.key]) / SECOND for each in first.values()]),
        delivery=_percentiles(
            [
                (arrived.delivered_at[each.event_id] - expected[each.key]) / SECOND
                for each in first.values()
                if each.event_id in arrived.delivered_at
            ]
        ),
    )


_SHARES: Final = (0.5, 0.95)


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """The median and the 95th percentile, each a value that occurred."""
    if not values:
        return None
    ranked = sorted(values)
    median, high = (ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in _SHARES)
    return median, high
