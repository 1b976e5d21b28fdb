"""How one notifier stands: what it has not been told, and when to try again if it fails. Pure.

``now`` is in seconds on a clock that never steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from watcher.alerts.grouping import Group, Kind, Occurrence, Series

BACKOFF_FIRST: Final = 5.0
BACKOFF_LONGEST: Final = 300.0
"""Seconds between a failed notification and the next attempt: they double from the first to the longest."""

PATIENCE: Final = 3600.0
"""Seconds that a failing notifier holds back acknowledgements while another one works.

Longer, and a URL that is broken for good would keep the stream from ever being trimmed, and have everything told
to the healthy ones again after each restart. What it has missed it is still told in one message when it works
again, but only by a process that lasts until then.
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """One notifier's state. Each has its own, so that a broken one makes the others neither wait nor repeat."""

    series: Mapping[Kind, Series] = field(default_factory=lambda: dict.fromkeys(Kind, Series()))
    failures: int = 0
    failed_at: float = 0.0
    failing_since: float | None = None

    def add(self, one: Occurrence, now: float) -> Channel:
        """With one more to tell of."""
        return self._with(one.kind, self.series[one.kind].add(one, now))

    def due(self, now: float) -> tuple[Group, ...]:
        """The groups to notify of at this moment, at most one of each kind."""
        if self.failures and now < self.failed_at + backoff(self.failures):
            return ()
        groups = (series.due(now) for series in self.series.values())
        return tuple(group for group in groups if group is not None)

    def told(self, kind: Kind, now: float) -> Channel:
        """After the notification of the group of this kind was accepted."""
        return replace(self._with(kind, self.series[kind].told(now)), failures=0, failing_since=None)

    def failed(self, now: float) -> Channel:
        """After a notification was not accepted. Its group gathers on."""
        since = now if self.failing_since is None else self.failing_since
        return replace(self, failures=self.failures + 1, failed_at=now, failing_since=since)

    def begun_again(self) -> Channel:
        """Without what has gathered, which will be read once more."""
        return replace(self, series={kind: series.begun_again() for kind, series in self.series.items()})

    def first_entry(self) -> str | None:
        """The oldest stream entry that it has not been told of."""
        return _oldest([one.group.first_entry for one in self.series.values() if one.group is not None])

    def given_up(self, now: float) -> bool:
        """Whether it has been failing for longer than others should be held back for."""
        return self.failing_since is not None and now >= self.failing_since + PATIENCE

    def _with(self, kind: Kind, series: Series) -> Channel:
        return replace(self, series={**self.series, kind: series})


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(BACKOFF_LONGEST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 16))


def first_untold(channels: list[Channel], now: float) -> str | None:
    """The oldest stream entry that must stay pending; None where everything read has been told.

    Channels that are given up do not count while there are others.
    """
    counting = [one for one in channels if not one.given_up(now)] or channels
    return _oldest([entry for one in counting if (entry := one.first_entry()) is not None])


def _oldest(entry_ids: list[str]) -> str | None:
    return min(entry_ids, key=_order, default=None)


def _order(entry_id: str) -> tuple[int, int]:
    """A stream id as numbers that sort as the stream does."""
    milliseconds, sequence = entry_id.split("-")
    return int(milliseconds), int(sequence)
