"""How the scans of all scopes are getting on: what readiness and the gauges are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from watcher.model import Scope
from watcher.polling.hints import HintRecall


@dataclass(slots=True)
class ScopeReport:
    """One scope, as its poller last left it.

    ``completed_at`` is the clock's monotonic seconds of the last complete scan, None before the first. ``pause`` is
    the seconds that were planned then until the next: more than an interval where the budget allows no more.
    ``trouble`` says why the last cycle was not complete. A ``retired`` scope is one that the API refuses; it
    is tried now and then and not counted on. ``lag`` is in seconds. ``recall`` says how complete hints are.
    """

    completed_at: float | None = None
    pause: float = 0.0
    trouble: str | None = None
    retired: bool = False
    in_flight: int = 0
    lag: float = 0.0
    lower_bound: int = 0
    recall: HintRecall = field(default_factory=HintRecall)


@dataclass(slots=True)
class Board:
    """The reports of the scopes that this process polls; empty while it holds no lease.

    ``trouble_discovering`` says why the scopes to watch cannot be listed; None while they can. ``listed``: they
    were, since the lease was taken.
    """

    reports: dict[Scope, ScopeReport] = field(default_factory=dict)
    trouble_discovering: str | None = None
    listed: bool = False

    def report(self, scope: Scope) -> ScopeReport:
        """The scope's report, made on first use."""
        return self.reports.setdefault(scope, ScopeReport())

    @property
    def watched(self) -> list[ScopeReport]:
        """The reports that count for readiness."""
        return [report for report in self.reports.values() if not report.retired]

    def scanned_at(self, now: float) -> float | None:
        """Up to when everything was scanned (monotonic seconds): now, where there is nothing to scan."""
        nothing_to_scan = self.listed and not self.reports and self.trouble_discovering is None
        return now if nothing_to_scan else self.oldest_scan

    @property
    def oldest_scan(self) -> float | None:
        """Monotonic seconds of the scope longest without a complete scan; None if any never had one."""
        scans = [report.completed_at for report in self.watched]
        known = [scan for scan in scans if scan is not None]
        return min(known) if known and len(known) == len(scans) else None

    @property
    def pause(self) -> float:
        """Seconds that are planned from one scan to the next, of the scope that is looked at most rarely."""
        return max((report.pause for report in self.watched), default=0.0)

    @property
    def trouble(self) -> str | None:
        """Why the last cycle of some scope was not complete; None if all were."""
        scanning = next((report.trouble for report in self.watched if report.trouble), None)
        return self.trouble_discovering or scanning


def blind(boards: Iterable[Board]) -> bool:
    """Whether there is something to read, and nothing of it could be read lately."""
    watching = [board for board in boards if board.watched or board.trouble_discovering]
    return bool(watching) and all(report.trouble for board in watching for report in board.watched)
