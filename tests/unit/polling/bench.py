"""An inspector of hinted tasks with everything around it, on a real store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from tests.fakes import FakeClock
from tests.unit.polling.api import Api
from watcher.events.envelope import from_fields
from watcher.metrics import Metrics
from watcher.model import Hint, Micros, Scope, Task, TaskId, from_seconds
from watcher.polling.board import ScopeReport
from watcher.polling.diff import Rules
from watcher.polling.inspector import Inspector
from watcher.polling.policy import PollPolicy
from watcher.polling.reader import Reader
from watcher.polling.recorder import Publication, Recorded, Recorder
from watcher.state.keys import Keys
from watcher.state.records import Start
from watcher.state.scope import ScopeState
from watcher.state.store import Store

T0 = 1_800_000_000.0
KEYS = Keys("t")
KINDS = frozenset({"processing", "success", "error", "stalled"})
NONCE = "host/1/nonce"


@dataclass
class Turnstile:
    """An allowance that lets everybody through and counts them."""

    passed: int = 0

    async def acquire(self) -> None:
        self.passed += 1


@dataclass
class Bench:
    """An inspector with everything around it."""

    redis: Redis
    clock: FakeClock
    scope: Scope = field(default_factory=Scope)
    metrics: Metrics = field(default_factory=Metrics)
    report: ScopeReport = field(default_factory=ScopeReport)
    allowance: Turnstile = field(default_factory=Turnstile)
    heard: list[tuple[list[str], Recorded]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = Api(self.clock)
        self.store = Store(self.redis, KEYS)
        self.recorder = Recorder(
            self.scope,
            NONCE,
            store=self.store,
            publication=Publication("t", "https://api.example/v1/ocr_tasks", recognized_data=False),
            clock=self.clock,
            metrics=self.metrics,
            ended=self._end,
        )
        self.inspector = Inspector(
            reader=Reader(self.scope, self.api, self.clock, self.metrics, lambda: 0.5),
            recorder=self.recorder,
            store=self.store,
            policy=PollPolicy("baseline", KINDS),
            clock=self.clock,
            metrics=self.metrics,
            report=self.report,
            heard=self._hear,
        )

    def _end(self, created: Mapping[TaskId, Micros]) -> None:
        self.ends += created
        self.inspector.ended(created)

    def _hear(self, tasks: Sequence[Task], recorded: Recorded, now: Micros) -> None:
        assert now <= self.api.now()
        self.heard.append(([task.id for task in tasks], recorded))

    async def begin(self) -> None:
        """What a scope's first cycle does: it fixes the start."""
        await self.redis.set(KEYS.lease, NONCE)
        now = self.api.now()
        begun = ScopeState(start=Start(now, now, now))
        await self.recorder.record((), self.rules, now, ScopeState(), begun)

    @property
    def rules(self) -> Rules:
        start = from_seconds(T0)
        return Rules(Start(start, start, start), KINDS, 300_000_000)

    def hint(self, *names: str) -> bool:
        return self.inspector.take([Hint(TaskId(name), self.scope, "http") for name in names])

    async def look(self) -> None:
        await self.inspector.look(self.allowance)

    async def told(self) -> list[tuple[str, str]]:
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.redis.xrange(KEYS.events))
        events = [from_fields(fields) for _, fields in entries]
        return [(event.subject, event.type.removeprefix("ocr_task.")) for event in events]

    async def in_flight(self) -> set[str]:
        return set((await self.store.load(self.scope)).in_flight)

    def counted(self) -> dict[str, float]:
        """How many hints have come to each end."""
        (family,) = self.metrics.hints.collect()
        return {
            sample.labels["outcome"]: sample.value
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["source"] == "http"
        }
