"""The sandbox's own record of what it was asked, for checks of budgets and for curious people."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import floor
from typing import Final

_KEPT: Final = 1_000_000
"""Requests whose moment is remembered: nine hours at the full rate, 32 MB."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request and how it was answered. ``status`` is 0 when the connection was reset instead."""

    at: float
    kind: str
    method: str
    target: str
    status: int
    rows: int
    faults: tuple[str, ...]


class RequestsServed:
    """Counts requests by kind, by status and by second, each at the moment of its arrival.

    Kinds are ``list``, ``list_ids`` (with ``id__in``), ``get``, ``create``, ``upload``, ``token``,
    ``entities`` and ``other``. Moments are unix seconds on the sandbox's clock.
    """

    def __init__(self) -> None:
        self.total = 0
        self.rows = 0
        self.by_kind: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.per_second: Counter[int] = Counter()
        """Requests in each second of the clock, from its unix time."""
        self._moments: deque[float] = deque(maxlen=_KEPT)

    def arrived(self, kind: str, at: float) -> None:
        """A request has come in."""
        self.total += 1
        self.by_kind[kind] += 1
        self.per_second[floor(at)] += 1
        self._moments.append(at)

    def answered(self, served: Served) -> None:
        """A request has been answered."""
        self.rows += served.rows
        self.by_status[served.status] += 1
        self.by_fault.update(served.faults)

    def most_in(self, seconds: float = 1.0) -> int:
        """The most requests in any window of this length, wherever it begins."""
        return _most_in(self._moments, seconds)


def _most_in(moments: Iterable[float], seconds: float) -> int:
    window: deque[float] = deque()
    most = 0
    for moment in moments:
        window.append(moment)
        while moment - window[0] >= seconds:
            window.popleft()
        most = max(most, len(window))
    return most
