"""Polling on a simulated clock: the real scanner, planner, coverage, ladder and diff; API and store in memory.

Hours pass in seconds. The store in memory keeps what a commit says, whole; the real one is tested elsewhere.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import msgspec

from tests.fakes import EagerClock, FakeClock
from watcher.metrics import Metrics
from watcher.model import SECOND, SUCCESS, Micros, Scope, Task, TaskId, from_datetime, from_seconds
from watcher.monite.budget import Budget
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage
from watcher.polling.pacer import Pacer
from watcher.polling.reader import Reader
from watcher.polling.recorder import Publication, Recorder
from watcher.polling.scanner import PollPolicy, Scanner
from watcher.polling.schedule import REBUILD, Schedule
from watcher.state.records import Known
from watcher.state.scope import ScopeState
from watcher.state.store import Commit, Outcome, Store

Lifetime = Callable[[random.Random], float]
"""Draws how many seconds a task takes to end."""


def uniform(draw: random.Random) -> float:
    """10 to 15 s, and 2 % of the tasks longer."""
    return draw.uniform(10, 15) if draw.random() > 0.02 else 15 + draw.expovariate(1 / 20)


def mixture(draw: random.Random) -> float:
    """Early failures, a body around 12 s, and a tail."""
    share = draw.random()
    if share < 0.03:
        return draw.uniform(0.3, 3)
    if share < 0.93:
        return min(60.0, max(4.0, draw.lognormvariate(2.485, 0.25)))
    return 15 + draw.expovariate(1 / 20)


@dataclass(frozen=True, slots=True)
class Row:
    """A task's life, in microseconds."""

    created_at: Micros
    id: TaskId
    ended_at: Micros
    visible_at: Micros

    @property
    def observable_at(self) -> Micros:
        """When its end can first be read."""
        return max(self.ended_at, self.visible_at)


@dataclass
class SimulatedApi:
    """Tasks arrive at ``rate`` a second; 97 % are visible at once, some within 2 s, ``late`` of them after a minute."""

    clock: FakeClock
    rows: list[Row]
    budget: Budget
    starts: list[float] = field(default_factory=list)
    _tokens: list[tuple[TaskQuery, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._created = [row.created_at for row in self.rows]
        self._by_id = {row.id: row for row in self.rows}

    @classmethod
    def arriving(
        cls,
        clock: FakeClock,
        budget: Budget,
        *,
        rate: float,
        lifetime: Lifetime,
        seconds: float,
        late: float,
        seed: int,
    ) -> SimulatedApi:
        draw = random.Random(seed)  # noqa: S311 - repeatable, and no secret
        rows, at = [], clock.time() - 60
        while at < clock.time() + seconds:
            at += draw.expovariate(rate)
            luck = draw.random()
            lateness = (
                60.0 if luck < late else draw.uniform(0, 2) if luck < late + 0.029 else draw.uniform(0, 0.02)
            )
            created_at = from_seconds(at)
            rows.append(
                Row(
                    created_at,
                    TaskId(f"{draw.getrandbits(64):016x}"),
                    Micros(created_at + round(lifetime(draw) * SECOND)),
                    Micros(created_at + round(lateness * SECOND)),
                )
            )
        return cls(clock, rows, budget)

    @property
    def server_clock(self) -> SimulatedApi:
        return self

    def now(self) -> Micros:
        return from_seconds(self.clock.time())

    async def list_tasks(self, scope: Scope, query: TaskQuery) -> TaskPage:
        await self.budget.acquire()
        self.starts.append(self.clock.monotonic())
        now = self.now()
        first = 0
        if query.pagination_token is not None:
            query, first = self._tokens[int(query.pagination_token)]
        rows = [row for row in self._matching(query, now) if row.visible_at <= now]
        if query.sort == "id":
            rows.sort(key=lambda row: row.id)
        token = None
        if first + query.limit < len(rows):
            token = str(len(self._tokens))
            self._tokens.append((query, first + query.limit))
        page = tuple(_task(row, now) for row in rows[first : first + query.limit])
        return TaskPage(page, token)

    def _matching(self, query: TaskQuery, now: Micros) -> list[Row]:
        if query.id_in:
            return [self._by_id[each] for each in query.id_in if each in self._by_id]
        if query.created_at_gte is not None and query.created_at_lt is not None:
            low, high = (bisect_left(self._created, at) for at in (query.created_at_gte, query.created_at_lt))
            return self.rows[low:high]
        known = self.rows[: bisect_left(self._created, now)]
        return [row for row in known if row.ended_at > now] if query.status else known[:1]


def _task(row: Row, now: Micros) -> Task:
    if row.ended_at <= now:
        return Task(row.id, SUCCESS, row.created_at, row.ended_at, "invoice")
    return Task(row.id, "processing", row.created_at, row.created_at, "invoice")


class StoreInMemory:
    """Keeps what commits say."""

    def __init__(self) -> None:
        self.state = ScopeState()
        self.records: dict[TaskId, Known] = {}
        self.in_flight: dict[TaskId, Micros] = {}
        self.entries: list[Mapping[str, str | bytes]] = []

    async def load(self, scope: Scope) -> ScopeState:
        return replace(self.state, in_flight=dict(self.in_flight))

    async def known(self, scope: Scope, created: Mapping[TaskId, Micros]) -> dict[TaskId, Known]:
        return {each: self.records[each] for each in created if each in self.records}

    async def commit(self, commit: Commit, nonce: str) -> Outcome:
        for change in commit.changes:
            assert self.records.get(change.task_id) == change.before
            self.records[change.task_id] = change.after
        for task_id, created_at in commit.flight.items():
            if created_at is None:
                self.in_flight.pop(task_id, None)
            else:
                self.in_flight[task_id] = created_at
        if commit.after is not None:
            self.state = replace(commit.after, in_flight={})
        self.entries += commit.entries
        return Outcome.APPLIED


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run came to. Delays are in seconds, from when an end could be read; rates are requests a second."""

    delay: float
    p95: float
    requests: float
    again: float
    per_cycle: float
    in_flight: float
    missed: int
    twice: int
    tasks: int
    most_in_a_second: int


def starts_in_a_second(starts: list[float]) -> int:
    """The most requests in any second, wherever it begins."""
    return max((bisect_left(starts, at + 1.0) - place for place, at in enumerate(starts)), default=0)


def measure(
    rows: list[Row], detected: Mapping[TaskId, Micros], since: Micros, until: Micros
) -> tuple[list[float], int]:
    """The sorted delays of the tasks that ended in a span, and how many were missed."""
    counted = [row for row in rows if since <= row.observable_at < until]
    delays = sorted((detected[row.id] - row.observable_at) / SECOND for row in counted if row.id in detected)
    return delays, len(counted) - len(delays)


async def simulate(
    *,
    rate: float,
    lifetime: Lifetime,
    requests_per_second: float,
    interval: float = 5.0,
    target_delay: float = 1.0,
    seconds: float = 400.0,
    warm: float = 150.0,
    horizon: float = 300.0,
    late: float = 0.001,
    seed: int = 1,
) -> Measured:
    """Watch one scope for so many simulated seconds, of which the first ``warm`` do not count."""
    clock = EagerClock()
    budget = Budget(requests_per_second, clock)
    api = SimulatedApi.arriving(
        clock, budget, rate=rate, lifetime=lifetime, seconds=seconds, late=late, seed=seed
    )
    draw = random.Random(seed)  # noqa: S311 - repeatable, and no secret
    store, metrics = StoreInMemory(), Metrics()
    schedule = Schedule(target=target_delay, interval=interval)
    reader = Reader(Scope(), api, clock, metrics, draw.random)
    publication = Publication("simulated", "simulated", recognized_data=False)
    real = cast("Store", store)
    scanner = Scanner(
        reader=reader,
        recorder=Recorder(Scope(), "n", store=real, publication=publication, clock=clock, metrics=metrics),
        store=real,
        policy=PollPolicy(
            "baseline",
            frozenset({"success", "error"}),
            interval=interval,
            target_delay=target_delay,
            horizon=horizon,
        ),
        schedule=schedule,
        pacer=Pacer(requests_per_second),
    )
    began, rebuilt = clock.time(), clock.time()
    spent = again = cycles = flying = 0
    while clock.time() < began + seconds:
        began_cycle = clock.time()
        cycle = await scanner.run_once()
        if clock.time() >= began + warm:
            spent, again, cycles = spent + cycle.requests, again + cycle.again, cycles + 1
            flying += cycle.in_flight
        clock.move(max(0.0, began_cycle + cycle.wait - clock.time()))
        if clock.time() - rebuilt > REBUILD:
            schedule.rebuild()
            rebuilt = clock.time()
    detected, ids = _detected(store)
    # What ended in the last part may still be on its way up the ladder, as far as a minute's lateness needs.
    counted = seconds - warm - min(200.0, seconds / 4)
    delays, missed = measure(
        api.rows, detected, from_seconds(began + warm), from_seconds(began + warm + counted)
    )
    return Measured(
        delay=sum(delays) / len(delays),
        p95=delays[int(0.95 * len(delays))],
        requests=spent / (seconds - warm),
        again=again / (seconds - warm),
        per_cycle=spent / cycles,
        in_flight=flying / cycles,
        missed=missed,
        twice=sum(count - 1 for count in ids.values()),
        tasks=len(delays),
        most_in_a_second=starts_in_a_second(api.starts),
    )


def _detected(store: StoreInMemory) -> tuple[dict[TaskId, Micros], Counter[str]]:
    found: dict[TaskId, Micros] = {}
    ids: Counter[str] = Counter()
    for entry in store.entries:
        data = msgspec.json.decode(entry["data"])
        found.setdefault(TaskId(data["task_id"]), from_datetime(datetime.fromisoformat(data["detected_at"])))
        ids[str(entry["id"])] += 1
    return found, ids
