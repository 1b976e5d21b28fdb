"""What a backfill makes of the rows it reads: it tells what was never told. Pure.

What is remembered is compared with what was read, as ever. What is not remembered is news, except where its
record has been forgotten: then it is taken as told if polling, or an earlier backfill, must have told it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from watcher.model import DOCUMENTED, PROCESSING, SECOND, Micros, Task, Transition, kind_of
from watcher.polling.diff import Decision, Reason, Rules, decide
from watcher.polling.planner import memory
from watcher.polling.widths import NARROWEST, narrower, next_width
from watcher.state.backfill import Job, Progress
from watcher.state.coverage import Interval
from watcher.state.records import Known
from watcher.state.scope import ScopeState

MOST_PAGES: Final = 10
"""Pages of one window at most: it is written in one step, so that none of it can be told twice."""
MARGIN: Final = 600 * SECOND
"""How soon records that are about to be forgotten count as forgotten: reading and writing take their time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What must have been told, of tasks that are no longer remembered. ``forgotten`` is where those end."""

    state: ScopeState
    forgotten: Micros

    def before(self, task: Task) -> bool:
        """Whether a task without a record is one that was told and then forgotten.

        Polling told what it covered, except what had ended before the first run, and what was in flight then.
        """
        state, start = self.state, self.state.start
        if task.created_at >= self.forgotten or start is None:
            return False
        if state.backfilled.holds(task.created_at):
            return True
        ended_since = task.updated_at >= start.started_at
        if state.coverage.holds(task.created_at):
            return ended_since or task.created_at >= start.publish_since
        return state.adopted and ended_since and task.created_at < start.started_at


def told(state: ScopeState, horizon: int) -> Told:
    """What must have been told. Raises ``ValueError`` for a scope without a start."""
    return Told(state, max(state.forgotten, Micros(forgotten_soon(state, horizon) + MARGIN)))


def forgotten_soon(state: ScopeState, horizon: int) -> Micros:
    """The instant before which records may be forgotten at any time. ``horizon`` is in microseconds.

    Raises:
        ValueError: the scope has no start.
    """
    if state.start is None:
        raise ValueError("a scope forgets only once it has a start")
    return Micros(state.coverage.watermark(Micros(state.start.cover_from)) - memory(horizon))


def judge(task: Task, known: Known | None, already: Told, rules: Rules, now: Micros) -> Decision | None:
    """What a row says that was never told; None where it is taken as told and no longer remembered."""
    if known is None:
        if already.before(task):
            return None
        return decide(
            task, None, replace(rules, start=msgspec.structs.replace(rules.start, publish_since=0)), now
        )
    decision = decide(task, known, rules, now)
    kept = decision.known
    kind = kind_of(task.status)
    wanted = task.status in rules.kinds or task.status not in DOCUMENTED
    if decision.reason is not Reason.UNCHANGED or task.status == PROCESSING or not wanted:
        return decision
    if kind in kept.published:
        return decision
    adopted = Transition(task, kind, None, kept.revision)
    return Decision(
        Known(kept.status, kept.revision, kept.updated_at, kept.published | {kind}),
        decision.in_flight,
        (*decision.transitions, adopted),
        Reason.CHANGED,
    )


def window(job: Job) -> Interval:
    """What to read next of a job that is not done."""
    low = job.progress.at
    return Interval(Micros(low), Micros(min(job.request.high, low + job.progress.width)))


def too_wide(interval: Interval, pages: int) -> bool:
    """Whether a window has more pages than are written in one step, and can be made narrower."""
    return pages >= MOST_PAGES and interval.span > NARROWEST


def read_completely(job: Job, interval: Interval, *, rows: int, requests: int, published: int) -> Progress:
    """The progress once a window has been read to its end."""
    was = job.progress
    moved = msgspec.structs.replace(
        was,
        at=interval.high,
        width=next_width(was.width, interval.span, rows),
        rows=was.rows + rows,
        requests=was.requests + requests,
        published=was.published + published,
        trouble="",
    )
    return _next_scope(job, moved) if interval.high >= job.request.high else moved


def read_in_vain(job: Job, interval: Interval, *, requests: int) -> Progress:
    """The progress after a window that was too wide to be read: the next one is half as wide."""
    was = job.progress
    width = narrower(was.width, interval.span)
    return msgspec.structs.replace(was, width=width, requests=was.requests + requests, trouble="")


def refused(job: Job, requests: int) -> Progress:
    """The progress after the API refused the scope: on to the next one."""
    was = job.progress
    return _next_scope(
        job,
        msgspec.structs.replace(was, requests=was.requests + requests, refused=was.refused + 1, trouble=""),
    )


def in_trouble(job: Job, reason: str, requests: int) -> Progress:
    """The progress after a request that failed and is to be made again."""
    return msgspec.structs.replace(job.progress, requests=job.progress.requests + requests, trouble=reason)


def _next_scope(job: Job, progress: Progress) -> Progress:
    return msgspec.structs.replace(progress, place=progress.place + 1, at=job.request.low)
