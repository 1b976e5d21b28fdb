"""Polling on a simulated clock: the real scanner, planner, coverage, ladder and diff; API and store in memory.

Hours pass in seconds. The store in memory keeps what a commit says, whole; the real one is tested elsewhere.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, cast

import msgspec

from tests.fakes import EagerClock, FakeClock
from watcher.clock import Clock
from watcher.metrics import Metrics
from watcher.model import SECOND, SUCCESS, TERMINAL, Micros, Scope, Task, TaskId, from_datetime, from_seconds
from watcher.monite.budget import Budget
from watcher.monite.query import TaskQuery
from watcher.monite.wire import TaskPage
from watcher.polling.cycle import Cycle
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy
from watcher.polling.reader import Reader, TaskSource
from watcher.polling.recorder import Publication, Recorder
from watcher.polling.scanner import Scanner
from watcher.polling.schedule import REBUILD, Schedule
from watcher.state.records import Known
from watcher.state.scope import ScopeState
from watcher.state.store import Commit, Outcome, Store

LATE: Final = 60.0
"""Seconds after which late rows appear."""

_METRICS: Final = Metrics()

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
    def late(self) -> bool:
        """Whether it appears a minute late."""
        return self.visible_at - self.created_at >= LATE * SECOND

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
                LATE if luck < late else draw.uniform(0, 2) if luck < late + 0.029 else draw.uniform(0, 0.02)
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
    """What a run came to, between its warming up and the end of arrivals.

    Delays are in seconds, from when an end could first be read: an end that is not yet visible is nobody's to
    see. ``delay`` is the mean over rows that appeared within seconds, ``late_delay`` that over the ``late`` ones.
    ``requests`` is what was sent a second, of which ``again`` read older windows again. ``missed`` rows were
    never told, ``twice`` told events.
    """

    delay: float
    p95: float
    tasks: int
    late: int
    late_delay: float
    requests: float
    again: float
    per_cycle: float
    in_flight: float
    missed: int
    twice: int
    most_in_a_second: int

    @property
    def mean_delay(self) -> float:
        """Of all rows, late or not."""
        return (self.delay * self.tasks + self.late_delay * self.late) / (self.tasks + self.late)


@dataclass(frozen=True, slots=True)
class World:
    """Rows arriving at ``rate`` a second for ``seconds``, of which the first ``warm`` do not count.

    What comes late may then take up to ``drain`` seconds more.
    """

    rate: float
    lifetime: Lifetime
    seconds: float
    warm: float
    drain: float
    late: float = 0.001
    seed: int = 1

    def api(self, clock: FakeClock, requests_per_second: float) -> SimulatedApi:
        """The API at the beginning."""
        return SimulatedApi.arriving(
            clock,
            Budget(requests_per_second, clock),
            rate=self.rate,
            lifetime=self.lifetime,
            seconds=self.seconds,
            late=self.late,
            seed=self.seed,
        )


def starts_in_a_second(starts: Sequence[float]) -> int:
    """The most requests in any second, wherever it begins."""
    return max((bisect_left(starts, at + 1.0) - place for place, at in enumerate(starts)), default=0)


class Watched:
    """One scope watched by the real scanner, on a simulated clock."""

    def __init__(
        self,
        source: TaskSource,
        clock: Clock,
        policy: PollPolicy,
        schedule: Schedule,
        pacer: Pacer,
        scope: Scope,
    ) -> None:
        self.scope = scope
        self.store = StoreInMemory()
        real = cast("Store", self.store)
        publication = Publication("simulated", "simulated", recognized_data=False)
        self.scanner = Scanner(
            reader=Reader(scope, source, clock, _METRICS, random.Random(1).random),  # noqa: S311
            recorder=Recorder(scope, "n", store=real, publication=publication, clock=clock, metrics=_METRICS),
            store=real,
            policy=policy,
            schedule=schedule,
            pacer=pacer,
        )

    def detected(self) -> tuple[dict[TaskId, Micros], int]:
        """When each end was told, and how many events were told twice."""
        found: dict[TaskId, Micros] = {}
        for entry in self.store.entries:
            data = msgspec.json.decode(entry["data"])
            at = from_datetime(datetime.fromisoformat(data["detected_at"]))
            found.setdefault(TaskId(data["task_id"]), at)
        ids = Counter(str(entry["id"]) for entry in self.store.entries)
        return found, sum(count - 1 for count in ids.values())


async def simulate(
    world: World,
    *,
    requests_per_second: float,
    interval: float = 5.0,
    target_delay: float = 1.0,
    horizon: float = 120.0,
) -> Measured:
    """Watch a world as one scope."""
    clock = EagerClock()
    began = clock.time()
    api = world.api(clock, requests_per_second)
    schedule = Schedule(target=target_delay, interval=interval)
    policy = PollPolicy("baseline", TERMINAL, interval=interval, target_delay=target_delay, horizon=horizon)
    watched = Watched(api, clock, policy, schedule, Pacer(requests_per_second, interval), Scope())
    cycles: list[Cycle] = []
    rebuilt = began
    while clock.time() < began + world.seconds + world.drain:
        at = clock.time()
        cycle = await watched.scanner.run_once()
        if world.warm <= at - began < world.seconds:
            cycles.append(cycle)
        clock.move(max(0.0, at + cycle.wait - clock.time()))
        if clock.time() - rebuilt > REBUILD:
            schedule.rebuild()
            rebuilt = clock.time()
    detected, twice = watched.detected()
    again, flying = sum(each.again for each in cycles), sum(each.in_flight for each in cycles)
    return measure(
        world, api, detected, began=began, twice=twice, cycles=len(cycles), again=again, flying=flying
    )


def measure(
    world: World,
    api: SimulatedApi,
    detected: Mapping[TaskId, Micros],
    *,
    began: float,
    twice: int = 0,
    again: int = 0,
    cycles: int = 1,
    flying: int = 0,
) -> Measured:
    """What a watcher came to that started at ``began`` and found ends when ``detected`` says."""
    span = world.seconds - world.warm
    since, until = from_seconds(began + world.warm), from_seconds(began + world.seconds)
    counted = [row for row in api.rows if since <= row.observable_at < until]
    delays: dict[bool, list[float]] = {True: [], False: []}
    for row in counted:
        if row.id in detected:
            delays[row.late].append((detected[row.id] - row.observable_at) / SECOND)
    soon, late = sorted(delays[False]), delays[True]
    zero = began - api.clock.time() + api.clock.monotonic()
    first, last = (bisect_left(api.starts, zero + at) for at in (world.warm, world.seconds))
    return Measured(
        delay=sum(soon) / len(soon),
        p95=soon[int(0.95 * len(soon))],
        tasks=len(soon),
        late=len(late),
        late_delay=sum(late) / len(late) if late else 0.0,
        requests=(last - first) / span,
        again=again / span,
        per_cycle=(last - first) / cycles,
        in_flight=flying / cycles,
        missed=len(counted) - len(soon) - len(late),
        twice=twice,
        most_in_a_second=starts_in_a_second(api.starts),
    )
