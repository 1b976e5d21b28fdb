"""One cycle of one scope: load what is known, plan, read, record. Returns what it did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from watcher.model import PROCESSING, SECOND, Micros, TaskId
from watcher.monite.errors import InvalidPage, MoniteError, PageTokenRejected
from watcher.monite.query import TaskQuery
from watcher.polling import ladder
from watcher.polling.diff import Rules
from watcher.polling.planner import (
    FIRST_WIDTH,
    Adoption,
    Policy,
    Read,
    Situation,
    Window,
    leftovers,
    lower_bound,
    narrower,
    next_width,
    plan,
)
from watcher.polling.reader import Reader
from watcher.polling.recorder import Recorded, Recorder
from watcher.state.records import Start
from watcher.state.scope import ScopeState
from watcher.state.store import Store

StartMode = Literal["baseline", "all"] | Micros

ABSENCES: Final = 3
"""Cycles in which a task must be missing before it is said to have vanished: one absence proves nothing."""
LOOKBACK: Final = 600.0
"""Seconds before a first run that are read too: what may have ended while the first listing was under way."""
PARALLEL: Final = 4
"""Requests by id of one scope under way at once."""
RATE_MEMORY: Final = 0.2
"""Weight of the newest cycle in the moving average of the arrival rate."""


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How to poll; spans are in seconds, ``kinds`` are event types without their prefix."""

    start: StartMode
    kinds: frozenset[str]
    interval: float = 5.0
    horizon: float = 86_400.0
    stalled_after: float = 300.0
    overlap: float = 30.0
    requests_per_second: float = 24.0

    @property
    def planning(self) -> Policy:
        """The planner's part. The past may have half of the budget while there is some to catch up with."""
        return Policy(
            overlap=round(self.overlap * SECOND),
            horizon=round(self.horizon * SECOND),
            allowance=max(1, round(self.requests_per_second * self.interval / 20)),
        )


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle did; ``lag`` is the seconds since the oldest instant not covered."""

    plan: str
    requests: int
    lower_bound: int
    recorded: Recorded
    in_flight: int
    lag: float
    failures: tuple[MoniteError, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything planned was read."""
        return not self.failures


class Scanner:
    """Reads one scope, cycle by cycle, and remembers between cycles only what makes the next one cheaper."""

    def __init__(self, *, reader: Reader, recorder: Recorder, store: Store, policy: PollPolicy) -> None:
        self._reader = reader
        self._recorder = recorder
        self._store = store
        self._policy = policy
        self._width = FIRST_WIDTH
        self._arrival_rate = 0.0
        self._scanned_at: Micros | None = None
        self._absences: dict[TaskId, int] = {}

    async def run_once(self) -> Cycle:
        """One cycle. A failing read leaves its part to the next cycle and does not stop the other reads.

        Raises:
            LeaseLostError: another holds the lease.
            ConflictError: the scope's progress was moved by somebody else; the next cycle loads it anew.
            StoreError: the store is away or holds what is not the watcher's.
        """
        spent = self._reader.requests
        state = await self._store.load(self._reader.scope)
        try:
            state, now = await self._begin(state)
        except MoniteError as error:
            requests = self._reader.requests - spent
            return Cycle("none", requests, 1, Recorded(), len(state.in_flight), 0.0, (error,))
        made = plan(Situation(state, now, self._arrival_rate, self._width), self._policy.planning)
        tally = _Tally()
        tracked = state.in_flight
        for read in made.reads:
            if tally.api_failing:
                break
            state = await self._read(read, made.name, state, now, tally)
        await self._ask_by_id(made.name, replace(state, in_flight=tracked), now, tally)
        self._learn(tally.recorded, now)
        return Cycle(
            plan=made.name,
            requests=self._reader.requests - spent,
            lower_bound=lower_bound(tally.recorded.ended, 1.0),
            recorded=tally.recorded,
            in_flight=len(tracked),
            lag=_lag(state, self._reader.now() or now),
            failures=tuple(tally.failures),
        )

    async def _begin(self, state: ScopeState) -> tuple[ScopeState, Micros]:
        """The scope's state with a start, and the API's time."""
        now = self._reader.now()
        if state.start is not None and now is not None:
            return state, now
        page = await self._reader.page(TaskQuery(sort="created_at", order="asc", limit=1), "start")
        now = self._reader.now()
        if now is None:
            raise RuntimeError("the API answered without its time being taken")
        if state.start is None:
            earliest = page.tasks[0].created_at if page.tasks else now
            begun = replace(state, start=first_start(self._policy, now, earliest))
            await self._recorder.record((), self._rules(begun), now, state, begun)
            state = begun
        return state, now

    def _rules(self, state: ScopeState) -> Rules:
        if state.start is None:
            raise ValueError("a scope has rules only once it has a start")
        return Rules(state.start, self._policy.kinds, round(self._policy.stalled_after * SECOND))

    async def _read(self, read: Read, name: str, state: ScopeState, now: Micros, tally: _Tally) -> ScopeState:
        """Read a listing to its last page; the state moves in the same step as that page is written."""
        query, done = _listing(read, state)
        rows = 0
        try:
            async for page in self._reader.pages(query, name):
                after = done if page.next_token is None else state
                tally.recorded += await self._recorder.record(
                    page.tasks, self._rules(state), now, state, after
                )
                tally.seen.update(task.id for task in page.tasks)
                rows += len(page.tasks)
        except MoniteError as error:
            tally.failures.append(error)
            if isinstance(error, PageTokenRejected) and isinstance(read, Window):
                self._width = narrower(self._width, read.interval.span)
            return state
        if isinstance(read, Window) and read.interval.high < now:
            self._width = next_width(self._width, read.interval.span, rows)
        return done

    async def _ask_by_id(self, name: str, state: ScopeState, now: Micros, tally: _Tally) -> None:
        """Ask for what is in flight and was not seen, and note what is missing from the answers."""
        free = asyncio.Semaphore(PARALLEL)

        async def ask(ids: tuple[TaskId, ...]) -> None:
            async with free:
                if tally.api_failing:
                    return
                try:
                    page = await self._reader.page(TaskQuery(id_in=ids), name)
                except MoniteError as error:
                    tally.failures.append(error)
                    return
                tally.recorded += await self._recorder.record(
                    page.tasks, self._rules(state), now, state, state
                )
                found = {task.id for task in page.tasks}
                tally.seen.update(found)
                tally.absent.update(set(ids) - found)

        try:
            async with asyncio.TaskGroup() as group:
                for ids in leftovers(state.in_flight, tally.seen):
                    group.create_task(ask(ids))
        except ExceptionGroup as failed:
            # One of them says enough: the lease or the store is gone for all, or progress was moved for all.
            raise failed.exceptions[0] from None
        await self._count_absences(state, tally)

    async def _count_absences(self, state: ScopeState, tally: _Tally) -> None:
        for task_id in tally.seen & self._absences.keys():
            del self._absences[task_id]
        for task_id in tally.absent:
            self._absences[task_id] = self._absences.get(task_id, 0) + 1
        vanished = {
            task_id: state.in_flight[task_id]
            for task_id in tally.absent
            if self._absences[task_id] >= ABSENCES
        }
        if vanished:
            tally.recorded += await self._recorder.record_vanished(vanished, self._rules(state), state)
            for task_id in vanished:
                del self._absences[task_id]

    def _learn(self, recorded: Recorded, now: Micros) -> None:
        """Follow the arrival rate. The first cycle tells nothing: what it sees came at any time before."""
        if self._scanned_at is not None and now > self._scanned_at:
            rate = recorded.new / ((now - self._scanned_at) / SECOND)
            self._arrival_rate += RATE_MEMORY * (rate - self._arrival_rate)
        self._scanned_at = now


@dataclass(slots=True)
class _Tally:
    """What a cycle has gathered so far."""

    recorded: Recorded = field(default_factory=Recorded)
    seen: set[TaskId] = field(default_factory=set)
    absent: set[TaskId] = field(default_factory=set)
    failures: list[MoniteError] = field(default_factory=list)

    @property
    def api_failing(self) -> bool:
        """Whether some failure would only be met again by the cycle's other reads."""
        return any(not isinstance(each, InvalidPage | PageTokenRejected) for each in self.failures)


def first_start(policy: PollPolicy, now: Micros, earliest: Micros) -> Start:
    """The first-run rule of a scope whose oldest row was created at ``earliest``."""
    match policy.start:
        case "baseline":
            lookback = max(LOOKBACK, policy.stalled_after)
            return Start(now, now, now - round(lookback * SECOND))
        case "all":
            return Start(now, 0, min(earliest, now) - round(policy.overlap * SECOND))
        case since:
            return Start(now, since, min(since, now))


def _listing(read: Read, state: ScopeState) -> tuple[TaskQuery, ScopeState]:
    """What to ask for a read, and the state once its last page has been written."""
    match read:
        case Window(interval, rung):
            query = TaskQuery(created_at_gte=interval.low, created_at_lt=interval.high, sort="id")
            marks = state.ladder if rung is None else ladder.climbed(state.ladder, rung)
            return query, replace(state, coverage=state.coverage.add(interval), ladder=marks)
        case Adoption():
            return TaskQuery(status=PROCESSING, sort="id"), replace(state, adopted=True)


def _lag(state: ScopeState, now: Micros) -> float:
    if state.start is None:
        return 0.0
    return max(0.0, (now - state.coverage.watermark(Micros(state.start.cover_from))) / SECOND)
