"""What a cycle gathers, and what it comes to. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from watcher.model import SECOND, Micros, TaskId
from watcher.monite.errors import InvalidPage, MoniteError, PageTokenRejected
from watcher.polling.recorder import Recorded
from watcher.state.coverage import Interval
from watcher.state.scope import ScopeState


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle did; ``lag`` is the seconds since the oldest instant not covered.

    ``wait`` is the seconds after its beginning at which the next cycle is worth its requests, ``again`` the
    requests that went into second looks, ``late`` the seconds by which rows came late that had not been there
    when their window was first read.
    """

    plan: str
    requests: int
    lower_bound: int
    recorded: Recorded
    in_flight: int
    lag: float
    wait: float
    again: int = 0
    late: tuple[float, ...] = ()
    failures: tuple[MoniteError, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything planned was read."""
        return not self.failures


@dataclass(slots=True)
class Tally:
    """What a cycle has gathered so far: the scope's state, what was recorded, the requests for second looks.

    ``shown`` is what fresh windows have read, or were to.
    """

    state: ScopeState
    again: int = 0
    recorded: Recorded = field(default_factory=Recorded)
    late: list[float] = field(default_factory=list)
    seen: set[TaskId] = field(default_factory=set)
    absent: set[TaskId] = field(default_factory=set)
    failures: list[MoniteError] = field(default_factory=list)
    shown: list[Interval] = field(default_factory=list)

    @property
    def api_failing(self) -> bool:
        """Whether some failure would only be met again by the cycle's other reads."""
        return any(not isinstance(each, InvalidPage | PageTokenRejected) for each in self.failures)


def lag(state: ScopeState, now: Micros) -> float:
    """Seconds since the oldest instant that is not covered."""
    if state.start is None:
        return 0.0
    return max(0.0, (now - state.coverage.watermark(Micros(state.start.cover_from))) / SECOND)
