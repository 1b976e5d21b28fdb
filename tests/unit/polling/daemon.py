"""One scope's polling on a real store, as a process would run it: it can be stopped and begun again."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import cast

from redis.asyncio import Redis

from tests.fakes import EagerClock
from tests.unit.polling.api import Api
from watcher.events.envelope import EventData, from_fields, read_data
from watcher.metrics import Metrics
from watcher.model import Event, Scope
from watcher.polling.board import Board
from watcher.polling.cycle import Cycle
from watcher.polling.means import Tools
from watcher.polling.pacer import Pacer
from watcher.polling.policy import PollPolicy, StartMode
from watcher.polling.reader import Reader
from watcher.polling.recorder import Publication, Recorder
from watcher.polling.scanner import Scanner
from watcher.polling.schedule import Schedule
from watcher.polling.scope_poller import ScopePoller
from watcher.state.keys import Keys
from watcher.state.scope import ScopeState
from watcher.state.store import Store

KEYS = Keys("t")
SOURCE = "https://api.example/v1/ocr_tasks"
DEFAULT = frozenset({"success", "error", "stalled", "vanished"})
REQUESTS_PER_SECOND = 24.0

_nonces = count(1)


def policy(start: StartMode = "baseline", **changes: object) -> PollPolicy:
    return PollPolicy(start, **{"kinds": DEFAULT, **changes})  # type: ignore[arg-type] # each as its field says


@dataclass
class Daemon:
    """What a process makes for one scope. ``begin`` is its start: it knows nothing but what the store does."""

    redis: Redis
    api: Api
    clock: EagerClock
    policy: PollPolicy = field(default_factory=policy)
    scope: Scope = field(default_factory=Scope)
    publication: Publication = field(default_factory=lambda: Publication("t", SOURCE, recognized_data=False))
    store: Store | None = None
    metrics: Metrics = field(default_factory=Metrics)
    board: Board = field(default_factory=Board)
    nonce: str = ""
    requests_per_second: float = REQUESTS_PER_SECOND

    async def begin(self) -> None:
        """Take the lease from whoever had it, and forget what was only in memory."""
        self.nonce = f"host/1/{next(_nonces)}"
        await self.redis.set(KEYS.lease, self.nonce)
        self.api.restart_client()
        store = self.store or Store(self.redis, KEYS)
        schedule = Schedule(target=self.policy.target_delay, interval=self.policy.interval)
        tools = Tools(
            source=self.api,
            store=store,
            policy=self.policy,
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
            jitter=lambda: 0.5,
            schedule=schedule,
            pacer=Pacer(self.requests_per_second),
        )
        self.poller = ScopePoller(self.scope, self.nonce, tools, self.board.report(self.scope))
        self.recorder = Recorder(
            self.scope,
            self.nonce,
            store=store,
            publication=self.publication,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.scanner = Scanner(
            reader=Reader(self.scope, self.api, self.clock, self.metrics, lambda: 0.5),
            recorder=self.recorder,
            store=store,
            policy=self.policy,
            schedule=schedule,
            pacer=Pacer(self.requests_per_second),
        )

    async def cycle(self, after: float = 0.0) -> Cycle:
        """One cycle, so many seconds later."""
        self.clock.move(after)
        return await self.scanner.run_once()

    async def cycles(self, number: int, every: float = 5.0) -> list[Cycle]:
        """So many cycles, each complete."""
        done = [await self.cycle(every) for _ in range(number)]
        assert [cycle.failures for cycle in done if not cycle.complete] == []
        return done

    async def state(self) -> ScopeState:
        return await Store(self.redis, KEYS).load(self.scope)

    async def events(self) -> list[Event]:
        """Everything on the stream."""
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.redis.xrange(KEYS.events))
        return [from_fields(fields) for _, fields in entries]

    async def told(self) -> list[tuple[str, str]]:
        """Task and type of everything on the stream, in its order."""
        return [(event.subject, event.type.removeprefix("ocr_task.")) for event in await self.events()]

    async def data(self) -> list[EventData]:
        return [read_data(event) for event in await self.events()]


class Halted(Exception):  # noqa: N818 - says what happened to the process, which is no error of it
    """The process was ended here."""


class EndingClock(EagerClock):
    """Ends the process instead of letting it wait beyond ``ends_at``, in seconds of its wall time."""

    ends_at = float("inf")

    async def sleep(self, seconds: float) -> None:
        if self.time() + seconds > self.ends_at:
            raise Halted
        await super().sleep(seconds)


async def run_until(daemon: Daemon, clock: EndingClock, instant: float) -> None:
    """Let the poller run, with all its own pauses, until the clock comes to an instant of its wall time."""
    clock.ends_at = instant
    try:
        await daemon.poller.run()
    except Halted:
        clock.move(max(0.0, instant - clock.time()))
