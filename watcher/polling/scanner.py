"""One cycle of one scope: load what is known, plan, read, record. Returns what it did and when to look again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from watcher.model import SECOND, Micros, Task, TaskId
from watcher.monite.errors import MoniteError, PageTokenRejected
from watcher.monite.query import TaskQuery
from watcher.polling import ladder
from watcher.polling.absences import Absences
from watcher.polling.cycle import Cycle, Tally, lag
from watcher.polling.diff import Rules
from watcher.polling.experience import Experience
from watcher.polling.flight import PAGE
from watcher.polling.learned import Purse, Thrift
from watcher.polling.listing import after, cut, listing, oldest, reached
from watcher.polling.memory import Memory
from watcher.polling.pacer import Pacer
from watcher.polling.planner import Plan, lower_bound, memory, plan, wait
from watcher.polling.policy import PollPolicy, first_start
from watcher.polling.reader import Reader
from watcher.polling.recorder import Recorded, Recorder
from watcher.polling.schedule import Schedule
from watcher.polling.situation import Adoption, Batch, Situation, Window
from watcher.state.scope import ScopeState
from watcher.state.store import Store

PARALLEL: Final = 4
"""Requests by id of one scope under way at once."""
HISTORY: Final = 0.05
"""Windows of the past that may be read for each request that the pace allows: each is some ten requests."""


class Scanner:
    """Reads one scope, cycle by cycle, and remembers between cycles only what makes the next one cheaper."""

    def __init__(
        self,
        *,
        reader: Reader,
        recorder: Recorder,
        store: Store,
        policy: PollPolicy,
        schedule: Schedule,
        pacer: Pacer,
        hinted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reader = reader
        self._recorder = recorder
        self._store = store
        self._policy = policy
        self._schedule = schedule
        self._pacer = pacer
        self._hinted = hinted
        self._memory = Memory(schedule.survival_of)
        self._thrift = Thrift()
        self._experience = Experience()
        self._purse = Purse()
        self._pace: float | None = None
        self._cycled_at: Micros | None = None
        self._absences = Absences(policy.planning.interval)

    @property
    def memory(self) -> int:
        """How far behind what is covered a cycle may read, in microseconds: records must be kept for so long."""
        return memory(self._policy.planning.horizon)

    def heard(self, tasks: Sequence[Task], recorded: Recorded, now: Micros) -> None:
        """Take in what was read beside the cycles: a look at hinted tasks."""
        self._memory.saw(tasks, now)
        self._schedule.learn(recorded.ended)
        self._experience.heard(len(recorded.first_seen))
        self._absences.seen(task.id for task in tasks)

    async def run_once(self) -> Cycle:
        """One cycle. A failing read leaves its part to the next cycle and does not stop the other reads.

        Raises:
            LeaseLostError: another holds the lease.
            ConflictError: the scope's progress was moved by somebody else; the next cycle loads it anew.
            StoreError: the store is away or holds what is not the watcher's.
        """
        begun_with = self._reader.requests
        state = await self._store.load(self._reader.scope)
        tally = Tally(state)
        try:
            now = await self._begin(tally)
        except MoniteError as error:
            tally.failures.append(error)
            return self._cycle("none", tally, self._reader.requests - begun_with, self._policy.interval)
        self._memory.agree(state.in_flight)
        pace = self._pace or self._pacer.pace(self._reader.scope, self._experience.arrivals)
        seconds = 0.0 if self._cycled_at is None else (now - self._cycled_at) / SECOND
        self._purse = self._purse.earned(pace, seconds=seconds, interval=self._policy.interval)
        made = plan(self._situation(tally.state, now, pace, seconds), self._policy.planning)
        await self._read_all(made, now, tally)
        requests = self._reader.requests - begun_with
        present = requests - tally.again
        self._thrift = self._thrift.spent(present=present, again=tally.again, seconds=seconds)
        self._purse = self._purse.spent(present=present, again=tally.again)
        self._cycled_at = now
        self._schedule.learn(tally.recorded.ended)
        self._pace = pace = self._pacer.pace(self._reader.scope, self._experience.arrivals)
        ahead = self._situation(tally.state, now, pace, 0.0)
        left = self._purse.left(pace, interval=self._policy.interval)
        pause = wait(ahead, self._policy.planning, self._purse.credit, left)
        return self._cycle(made.name, tally, requests, pause)

    def _cycle(self, name: str, tally: Tally, requests: int, pause: float) -> Cycle:
        now = self._reader.now()
        return Cycle(
            plan=name,
            requests=requests,
            lower_bound=lower_bound(len(tally.recorded.ended), 1.0),
            recorded=tally.recorded,
            in_flight=len(self._memory.sightings),
            lag=0.0 if now is None else lag(tally.state, now),
            wait=pause,
            again=tally.again,
            late=tuple(tally.late),
            failures=tuple(tally.failures),
        )

    def _situation(self, state: ScopeState, now: Micros, pace: float, seconds: float) -> Situation:
        rate = self._experience.arrivals.rate
        return Situation(
            state=state,
            now=now,
            sightings=self._memory.sightings,
            typical=self._schedule.survival_of(None),
            arrival_rate=rate,
            price=self._schedule.price(rate),
            allowed=max(1, int(self._purse.credit)),
            overlap=self._experience.overlap(now, self._policy.planning.horizon),
            width=self._experience.width,
            past=max(1.0, pace * seconds * HISTORY),
            second_looks=self._thrift.credit,
            levels=ladder.levels_affordable(rate, self._thrift.spending),
            fresh_at=self._experience.fresh_at,
            hinted=self._hinted(),
        )

    async def _begin(self, tally: Tally) -> Micros:
        """Give the scope a start if it has none; the API's time."""
        now, state = self._reader.now(), tally.state
        if state.start is not None and now is not None:
            return now
        page = await self._reader.page(TaskQuery(sort="created_at", order="asc", limit=1), "start")
        now = self._reader.time_told()
        if state.start is None:
            earliest = page.tasks[0].created_at if page.tasks else now
            begun = replace(state, start=first_start(self._policy, now, earliest))
            await self._recorder.record((), self._rules(begun), now, state, begun)
            tally.state = begun
        return now

    def _rules(self, state: ScopeState) -> Rules:
        if state.start is None:
            raise ValueError("a scope has rules only once it has a start")
        return self._policy.rules(state.start)

    async def _read_all(self, made: Plan, now: Micros, tally: Tally) -> None:
        """Read what was planned, the present first: no look waits for what has time."""
        asked = [read.ids for read in made.reads if isinstance(read, Batch)]
        fresh = [read for read in made.reads if isinstance(read, Window) and read.fresh]
        others = [read for read in made.reads if not isinstance(read, Batch) and read not in fresh]
        for window in fresh:
            await self._list(window, made.name, now, tally)
        await self._ask_by_id(asked + self._not_shown(tally), made.name, now, tally)
        for read in others:
            await self._list(read, made.name, now, tally)

    def _not_shown(self, tally: Tally) -> list[tuple[TaskId, ...]]:
        """What the fresh window was to show and did not, since it failed or the task is gone: asked for by id.

        The longest unseen come first; of more than may be asked side by side the rest is for other cycles.
        """
        missing = sorted(
            (sighting.seen_at, task_id)
            for task_id, sighting in self._memory.sightings.items()
            if task_id not in tally.seen
            and any(window.low <= sighting.created_at < window.high for window in tally.shown)
        )
        ids = [task_id for _, task_id in missing[: PAGE * PARALLEL]]
        return [tuple(ids[at : at + PAGE]) for at in range(0, len(ids), PAGE)]

    async def _list(self, read: Window | Adoption, name: str, now: Micros, tally: Tally) -> None:
        """Read a listing in the way that it asks for, unless the API is failing."""
        if tally.api_failing:
            return
        begun_with = self._reader.requests
        if isinstance(read, Window) and read.until is not None:
            await self._list_in_order(read, read.until, name, now, tally)
        else:
            await self._list_whole(read, name, now, tally)
        if isinstance(read, Window) and read.rung is not None:
            tally.again += self._reader.requests - begun_with

    async def _list_whole(self, read: Window | Adoption, name: str, now: Micros, tally: Tally) -> None:
        """Read a listing to its last page; the state moves in the same step as that page is written."""
        before = tally.state
        done = after(read, before)
        if isinstance(read, Window) and read.fresh:
            tally.shown.append(read.interval)
        rows = 0
        recorded = Recorded()
        try:
            async for page in self._reader.pages(listing(read), name):
                then = done if page.next_token is None else before
                recorded += await self._record(page.tasks, now, tally, before, then)
                rows += len(page.tasks)
        except MoniteError as error:
            tally.failures.append(error)
            if isinstance(error, PageTokenRejected) and isinstance(read, Window):
                self._experience.broke_off(read, now)
            return
        tally.state = done
        if isinstance(read, Window):
            tally.late += self._experience.read(read, rows, recorded.first_seen, before, now)

    async def _list_in_order(
        self, window: Window, until: Micros, name: str, now: Micros, tally: Tally
    ) -> None:
        """Read a window by whole pages, up to the one that reaches an instant; the state moves with each page."""
        while True:
            before = tally.state
            try:
                page = await self._reader.page(oldest(window), name)
                read = reached(window, page.tasks, more=page.next_token is not None)
                done = before if read is None else after(read, before)
                recorded = await self._record(page.tasks, now, tally, before, done)
            except MoniteError as error:
                tally.failures.append(error)
                tally.shown += [window.interval] if window.fresh else []
                return
            low, high = window.interval.low, window.interval.high
            if read is None:
                read = cut(window, low, min(high, Micros(low + self._experience.width)))
                await self._list_whole(read, name, now, tally)
                return
            tally.state = done
            tally.shown += [read.interval] if window.fresh else []
            tally.late += self._experience.read(read, len(page.tasks), recorded.first_seen, before, now)
            if read.interval.high >= min(until, high):
                return
            window = cut(window, read.interval.high, high)

    async def _record(
        self, tasks: tuple[Task, ...], now: Micros, tally: Tally, before: ScopeState, after: ScopeState
    ) -> Recorded:
        recorded = await self._recorder.record(tasks, self._rules(before), now, before, after)
        tally.recorded += recorded  # not in one statement: others add to it meanwhile
        tally.seen.update(task.id for task in tasks)
        self._absences.seen(task.id for task in tasks)
        self._memory.saw(tasks, now)
        return recorded

    async def _ask_by_id(
        self, batches: Sequence[tuple[TaskId, ...]], name: str, now: Micros, tally: Tally
    ) -> None:
        """Ask for tasks by id, and note what is missing from the answers."""
        free = asyncio.Semaphore(PARALLEL)
        state = tally.state

        async def ask(ids: tuple[TaskId, ...]) -> None:
            async with free:
                if tally.api_failing:
                    return
                found: set[TaskId] = set()
                try:
                    async for page in self._reader.pages(TaskQuery(id_in=ids), name):
                        await self._record(page.tasks, now, tally, state, state)
                        found.update(task.id for task in page.tasks)
                except MoniteError as error:
                    tally.failures.append(error)
                else:
                    tally.absent.update(set(ids) - found)

        try:
            async with asyncio.TaskGroup() as group:
                for ids in batches:
                    group.create_task(ask(ids))
        except ExceptionGroup as failed:
            # One of them says enough: the lease or the store is gone for all, or progress was moved for all.
            raise failed.exceptions[0] from None
        await self._count_absences(state, tally, now)

    async def _count_absences(self, state: ScopeState, tally: Tally, now: Micros) -> None:
        """Note who was missing, and record those that have vanished."""
        self._memory.missed(tally.absent, now)
        gone = self._absences.missed(tally.absent, now)
        vanished = {task_id: state.in_flight[task_id] for task_id in gone & state.in_flight.keys()}
        if vanished:
            tally.recorded += await self._recorder.record_vanished(vanished, self._rules(state), state)
            self._absences.seen(vanished)  # told once; should they come back, it begins anew
