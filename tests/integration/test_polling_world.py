"""Whole worlds: tasks come, end, come late and come again; the API and the store fail; the daemon is killed.

Whatever happens in between, every end is on the stream in the end, once, and no other event is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.integration.conftest import Server
from tests.simulation import starts_in_a_second
from tests.unit.polling.api import Api, Asked, Life, invalid, life, rate_limited, unavailable
from tests.unit.polling.daemon import KEYS, Daemon, EndingClock, policy, run_until
from tests.unit.state.key_table import is_known
from watcher.errors import StoreUnavailable
from watcher.events.envelope import EventData, read_data
from watcher.model import SECOND, TERMINAL, Micros, Scope, from_seconds, to_iso
from watcher.monite.budget import Budget
from watcher.monite.errors import MoniteError, PageTokenRejected
from watcher.polling.policy import StartMode
from watcher.state.connection import connect
from watcher.state.coverage import Coverage
from watcher.state.records import Start
from watcher.state.store import Commit, Outcome, Store

T0 = 1_800_000_000.0
BUSY = 150.0
"""Seconds in which tasks are created and everything goes wrong."""
HORIZON = 3600.0
PAGE_SIZES = (2, 3, 7, 100)
PAUSE = 200.0
"""Seconds between the cycles of the quiet time after it, and the delay aimed at then: no extra looks."""
QUIET = HORIZON + HORIZON / 2 + 4 * PAUSE
"""Seconds that it lasts: until the last level of the ladder has nothing left to read.

A row is read again at the age of the horizon, and later by the level's window, a quarter of it. As the share for
second looks pays for little while so little is asked, the level is another quarter behind before it presses.
"""


@dataclass(frozen=True, slots=True)
class Spell:
    """How a task lives, in tenths of seconds. ``again`` is a second spell of work after its first end."""

    born: int
    works: int | None
    ends: str
    late: int = 0
    again: tuple[int, int, str] | None = None

    def life(self, number: int) -> Life:
        born = T0 + self.born / 10
        changes: list[tuple[float, str]] = []
        if self.works is not None:
            changes.append((born + self.works / 10, self.ends))
            if self.again is not None:
                rests, works, ends = self.again
                changes.append((changes[0][0] + rests / 10, "processing"))
                changes.append((changes[1][0] + works / 10, ends))
        # Ids that say nothing of the order of creation, as the API's.
        return life(f"{number * 37 % 101:03}", born, *changes, late=self.late / 10)


@dataclass(frozen=True, slots=True)
class World:
    """Tasks, and what goes wrong at which request and which commit. ``away`` is in seconds, for one crash."""

    spells: list[Spell]
    start: str = "baseline"
    page_size: int = 100
    requests: dict[int, str] = field(default_factory=dict)
    commits: dict[int, str] = field(default_factory=dict)
    away: float = 0.0
    requests_per_second: int = 24

    @property
    def mode(self) -> StartMode:
        return from_seconds(T0 - 20) if self.start == "time" else "all" if self.start == "all" else "baseline"


class Killed(Exception):  # noqa: N818 - says what happened to the process
    """kill -9."""


class Witness(Store):
    """A store that fails as told, and that hears of nothing being called covered which was not read."""

    def __init__(self, redis: Redis, api: Api, wrong: dict[int, str]) -> None:
        super().__init__(redis, KEYS)
        self._api = api
        self._wrong = wrong
        self._commits = 0

    async def commit(self, commit: Commit, nonce: str) -> Outcome:
        self._commits += 1
        wrong = self._wrong.get(self._commits)
        if commit.after is not None:
            read = Coverage.of(self._api.read.get(commit.scope, ()))
            for claimed in commit.after.coverage.intervals:
                assert read.gaps(claimed.low, claimed.high) == ()
        if wrong == "away":
            raise StoreUnavailable("the store: away")
        outcome = await super().commit(commit, nonce)
        if wrong == "answer lost":
            raise StoreUnavailable("the store: no answer")
        return outcome


@dataclass
class Trouble:
    """What goes wrong with requests, by their number."""

    wrong: dict[int, str]
    requests: int = 0

    def __call__(self, asked: Asked) -> MoniteError | None:
        self.requests += 1
        match self.wrong.get(self.requests):
            case "killed":
                raise Killed
            case "unavailable":
                return unavailable()
            case "invalid":
                return invalid()
            case "rate limited":
                return rate_limited()
            case "token":
                return PageTokenRejected("run out", status=400) if asked.later_page else None
        return None


async def lived(redis: Redis, world: World) -> Daemon:
    """Let it all happen."""
    await redis.flushall()
    clock = EndingClock(T0)
    api = Api(clock, world.page_size, budget=Budget(world.requests_per_second, clock))
    api.add(*[spell.life(number) for number, spell in enumerate(world.spells)])
    api.fault = Trouble(world.requests)
    store = Witness(redis, api, world.commits)
    daemon = Daemon(
        redis,
        api,
        clock,
        policy(world.mode, horizon=HORIZON),
        store=store,
        requests_per_second=world.requests_per_second,
    )
    away = world.away
    for until, interval in ((T0 + BUSY, 5.0), (T0 + BUSY + world.away + QUIET, PAUSE)):
        target = 1.0 if interval < PAUSE else PAUSE
        daemon.policy = policy(world.mode, horizon=HORIZON, interval=interval, target_delay=target)
        while clock.time() < until:
            await daemon.begin()
            try:
                await run_until(daemon, clock, until)
            except Killed:
                clock.move(away)
                away = 0.0
            except StoreUnavailable:
                clock.move(1.0)
    return daemon


def ends_of(task: Life) -> list[tuple[str, str]]:
    return [(status, to_iso(moment)) for moment, status in task.changes if status in TERMINAL]


def judge(task: Life, told: list[EventData], start: Start) -> None:
    """What may and what must be told of one task."""
    ends = [(data.status, data.updated_at) for data in told]
    assert all(end in ends_of(task) for end in ends), "an event tells of what a row said"
    assert ends == sorted(ends, key=lambda end: end[1]), "in order"
    assert len(set(ends)) == len(ends), "once"
    last_change, last_status = task.changes[-1]
    if last_status not in TERMINAL or task.created_at < start.cover_from:
        return
    if task.created_at >= start.publish_since or last_change >= start.started_at:
        # Not by its stamp: where nobody saw it at work again in between, the same end is no news. That holds
        # for an end before watching began, too, of which nothing was told.
        adopted = task.created_at < start.publish_since and any(
            status == last_status and moment < start.started_at for moment, status in task.changes
        )
        if ends or not adopted:
            assert [status for status, _ in ends[-1:]] == [last_status], "the last end is told"
    else:
        assert ends == [], "what had ended before watching began is not told"


@st.composite
def spells(draw: st.DrawFn) -> Spell:
    tenths = st.integers(0, 400) | st.sampled_from([0, 100, 120, 150])
    ends = st.sampled_from(["success", "success", "error"])
    born = draw(st.integers(-40, int(BUSY) - 1).map(lambda second: 10 * second) | st.integers(-3000, 1400))
    works = draw(tenths | st.sampled_from([None, 20_000]))
    late = draw(st.sampled_from([0, 0, 0, 3, 20, 200, 1000, 6000, 20_000]))
    again = draw(st.none() | st.tuples(tenths, tenths, ends))
    return Spell(born, works, draw(ends), late, again)


worlds = partial(
    st.builds,
    World,
    spells=st.lists(spells(), max_size=25),
    start=st.sampled_from(["baseline", "baseline", "all", "time"]),
    requests=st.dictionaries(
        st.integers(1, 80),
        st.sampled_from(["killed", "unavailable", "invalid", "rate limited", "token"]),
        max_size=12,
    ),
    commits=st.dictionaries(st.integers(1, 80), st.sampled_from(["away", "answer lost"]), max_size=4),
    away=st.sampled_from([0.0, 3.0, 40.0, 600.0]),
    requests_per_second=st.sampled_from([3, 24, 24]),
)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@settings(max_examples=settings().max_examples // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
async def test_every_end_is_told_once_whatever_happens(
    redis_server: Server, page_size: int, data: st.DataObject
) -> None:
    world = data.draw(worlds(page_size=st.just(page_size)))
    redis = connect(redis_server.url)
    try:
        with capture_logs():  # thousands of lines
            daemon = await lived(redis, world)
        state = await daemon.state()
        names = await redis.keys()
        events = await daemon.events()
    finally:
        await redis.aclose()
    assert state.start is not None
    assert len({event.id for event in events}) == len(events)
    told: dict[str, list[EventData]] = {}
    for event in events:
        about = read_data(event)
        assert event.subject == about.task_id
        if event.type in ("ocr_task.success", "ocr_task.error"):
            assert event.type == f"ocr_task.{about.status}"
            told.setdefault(about.task_id, []).append(about)
        else:
            assert event.type == "ocr_task.stalled"
    for task in daemon.api.lives.get(Scope(), []):
        judge(task, told.get(task.id, []), state.start)
    assert starts_in_a_second(daemon.api.started) <= world.requests_per_second
    # The last request may have been a look at what is in flight: windows come once an interval.
    end = Micros(daemon.api.asked[-1].at - 1_100_000 - round(PAUSE * SECOND))
    assert state.coverage.gaps(Micros(state.start.cover_from), end) == ()
    at_work = {task.id for task in daemon.api.lives.get(Scope(), []) if task.changes[-1][1] == "processing"}
    assert set(state.in_flight) <= at_work
    assert [name for name in names if not is_known(_text(name), KEYS)] == []


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
