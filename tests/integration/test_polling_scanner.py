"""Cycles of one scope on a real store: what is told, what is asked, what a failure leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from redis.asyncio import Redis

from tests.fakes import EagerClock
from tests.unit.polling.api import (
    Api,
    Asked,
    in_turn,
    invalid,
    life,
    rate_limited,
    unavailable,
    where,
)
from tests.unit.polling.daemon import KEYS, Daemon, policy
from tests.unit.state.key_table import is_known
from watcher.model import SECOND, EntityId, Micros, Scope, Task, TaskId, Weight, from_seconds
from watcher.monite.errors import MoniteError, PageTokenRejected, Unauthorized
from watcher.polling.absences import ABSENCES, Absences
from watcher.polling.diff import Rules
from watcher.polling.policy import LOOKBACK
from watcher.polling.recorder import ConflictError, Publication
from watcher.state.coverage import Coverage
from watcher.state.lease import LeaseLostError
from watcher.state.records import Known, Start
from watcher.state.store import Change, Commit, Outcome, Store

T0 = 1_800_000_000.0
"""When the daemon first starts; the server's clock is read to the second, so this is a whole one."""
HOUR = 3600.0
NEVER = T0 + 1000 * HOUR


@pytest.fixture
def clock() -> EagerClock:
    return EagerClock(T0)


@pytest.fixture
def api(clock: EagerClock) -> Api:
    return Api(clock)


@pytest.fixture
async def daemon(redis: Redis, api: Api, clock: EagerClock) -> AsyncIterator[Daemon]:
    daemon = Daemon(redis, api, clock)
    await daemon.begin()
    yield daemon
    names = [name.decode() if isinstance(name, bytes) else name for name in await redis.keys()]
    assert [name for name in names if not is_known(name, KEYS)] == []


def at(seconds: float) -> Micros:
    return from_seconds(T0 + seconds)


def covers(coverage: Coverage, low: float, high: float) -> bool:
    return coverage.gaps(at(low), at(high)) == ()


def asked_by_id(asked: Asked) -> bool:
    return bool(asked.query.id_in)


def wide(asked: Asked) -> bool:
    return asked.window is not None


class TestFirstRun:
    """Five tasks: ended long ago, ended just before, at work for long, at work, ended after the start."""

    @pytest.fixture(autouse=True)
    def tasks(self, api: Api) -> None:
        api.add(
            life("ancient", T0 - 90 * HOUR, (T0 - 89 * HOUR, "success")),
            life("recent", T0 - 100, (T0 - 1, "error")),
            life("long", T0 - 2 * HOUR, (T0 + 20, "success")),
            life("short", T0 - 5, (T0 + 3, "success")),
            life("new", T0 + 1, (T0 + 12, "error")),
        )

    async def test_a_baseline_tells_only_of_what_ends_from_then_on(self, daemon: Daemon) -> None:
        await daemon.cycle()
        assert await daemon.told() == [("long", "stalled")]
        await daemon.cycles(6)
        assert (await daemon.told())[1:] == [("short", "success"), ("new", "error"), ("long", "success")]

    async def test_all_tells_of_everything(self, daemon: Daemon) -> None:
        daemon.policy = policy("all")
        await daemon.begin()
        await daemon.cycles(30)
        assert sorted(await daemon.told()) == [
            ("ancient", "success"),
            ("long", "stalled"),
            ("long", "success"),
            ("new", "error"),
            ("recent", "error"),
            ("short", "success"),
        ]
        assert covers((await daemon.state()).coverage, -90 * HOUR, 149)

    async def test_a_time_tells_of_what_was_created_since(self, daemon: Daemon) -> None:
        daemon.policy = policy(at(-100))
        await daemon.begin()
        await daemon.cycles(8)
        assert ("recent", "error") in await daemon.told()
        assert not [event for event in await daemon.events() if event.subject == "ancient"]

    async def test_a_time_just_after_leaves_it_out(self, daemon: Daemon) -> None:
        daemon.policy = policy(at(-99))
        await daemon.begin()
        await daemon.cycles(8)
        assert not [event for event in await daemon.events() if event.subject == "recent"]

    async def test_a_baseline_covers_from_a_little_before_it(self, daemon: Daemon) -> None:
        await daemon.cycles(1)
        state = await daemon.state()
        assert state.start is not None
        assert (state.start.started_at, state.start.cover_from) == (at(5), at(5 - LOOKBACK))
        assert state.adopted
        assert covers(state.coverage, 5 - LOOKBACK, 5)
        assert set(state.in_flight) == {"long", "new"}

    async def test_an_empty_api_is_a_first_run_too(self, daemon: Daemon, api: Api) -> None:
        api.lives.clear()
        cycle = await daemon.cycle()
        assert cycle.complete
        assert (await daemon.state()).adopted
        assert await daemon.told() == []

    async def test_the_rule_is_fixed_by_the_first_run(self, daemon: Daemon) -> None:
        await daemon.cycles(1)
        daemon.policy = policy("all")
        await daemon.begin()
        await daemon.cycles(8)
        assert not [event for event in await daemon.events() if event.subject in ("ancient", "recent")]

    async def test_a_first_run_that_fails_begins_again(self, daemon: Daemon, api: Api) -> None:
        api.fault = lambda _: unavailable()
        cycle = await daemon.cycle()
        assert not cycle.complete
        assert (await daemon.state()).start is None
        api.fault = None
        await daemon.cycles(1, every=HOUR)
        state = await daemon.state()
        assert state.start is not None
        assert state.start.started_at > at(HOUR - 5)

    async def test_answers_that_do_not_tell_the_time_are_said_to_and_tried_again(
        self, daemon: Daemon, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(api.server_clock, "note", lambda *_: None)
            cycle = await daemon.cycle()
        assert [str(failure) for failure in cycle.failures] == [
            "the API's answers have no Date: something before it must have taken them off"
        ]
        assert (await daemon.state()).start is None
        assert (await daemon.cycle(5)).complete


class TestEvents:
    async def test_an_end_is_told_once_however_often_it_is_read(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 12, "success")))
        await daemon.cycles(60)
        (event,) = await daemon.events()
        (data,) = await daemon.data()
        assert (event.subject, event.type, event.time) == ("t", "ocr_task.success", data.updated_at)
        assert (data.status, data.previous_status, data.revision) == ("success", "processing", 0)
        assert data.detected_at > data.updated_at > data.created_at

    async def test_of_an_entity_they_name_it(self, daemon: Daemon, api: Api) -> None:
        daemon.scope = Scope(EntityId("9d2b"))
        await daemon.begin()
        await daemon.cycle()
        api.add(life("theirs", T0 + 1, (T0 + 2, "success")), scope=daemon.scope)
        api.add(life("nobodys", T0 + 1, (T0 + 2, "success")))
        await daemon.cycles(3)
        assert [(data.task_id, data.entity_id) for data in await daemon.data()] == [("theirs", "9d2b")]
        assert {asked.scope for asked in api.asked} == {daemon.scope}

    async def test_scopes_share_the_stream_and_nothing_else(self, daemon: Daemon, api: Api) -> None:
        entity = Scope(EntityId("9d2b"))
        other = Daemon(daemon.redis, api, daemon.clock, scope=entity)
        for each in (daemon, other):
            await each.begin()
            await each.cycle()
            api.add(life("same", T0 + 1, (T0 + 2, "success")), scope=each.scope)
        for each in (daemon, other):
            await each.begin()
            await each.cycle(5)
        first, second = await daemon.events()
        assert first.id != second.id
        assert [data.entity_id for data in await daemon.data()] == [None, "9d2b"]

    async def test_recognised_data_is_there_only_when_asked_for(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("thin", T0 + 1, (T0 + 2, "success")))
        await daemon.cycles(1)
        daemon.publication = Publication("t", "https://api.example/v1/ocr_tasks", recognized_data=True)
        await daemon.begin()
        api.add(life("thick", T0 + 6, (T0 + 7, "success")))
        await daemon.cycles(1)
        thin, thick = await daemon.events()
        assert b"total_amount" not in thin.data
        assert b'"recognized_data":{"total_amount": 1.10}' in thick.data

    async def test_document_types_that_are_not_watched_are_not_told(self, daemon: Daemon, api: Api) -> None:
        """A task of which no type is known, such as one that failed, is told in any case."""
        daemon.publication = Publication(
            "t", "https://api.example", recognized_data=False, document_types=frozenset({"receipt"})
        )
        await daemon.begin()
        await daemon.cycle()
        for kind in ("receipt", "invoice", None):
            api.add(life(str(kind), T0 + 1, (T0 + 12, "success" if kind else "error"), document_type=kind))
        await daemon.cycles(1)
        assert set((await daemon.state()).in_flight) == {"receipt", "None"}
        await daemon.cycles(3)
        assert sorted(await daemon.told()) == [("None", "error"), ("receipt", "success")]

    async def test_one_that_turns_out_not_to_be_watched_is_let_go(self, daemon: Daemon, api: Api) -> None:
        daemon.publication = Publication(
            "t", "https://api.example", recognized_data=False, document_types=frozenset({"receipt"})
        )
        await daemon.begin()
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 60, "success"), document_type=None))
        await daemon.cycles(1)
        assert set((await daemon.state()).in_flight) == {"t"}
        api.lives[daemon.scope] = [life("t", T0 + 1, (T0 + 60, "success"), document_type="invoice")]
        await daemon.cycles(1)
        assert (await daemon.state()).in_flight == {}
        await daemon.cycles(20)
        assert await daemon.told() == []

    async def test_a_stalled_task_is_told_once_and_its_end_after_all(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 400, "error")))
        await daemon.cycles(59)  # up to 295 s
        assert await daemon.told() == []
        await daemon.cycles(10)
        assert await daemon.told() == [("t", "stalled")]
        await daemon.begin()
        await daemon.cycles(20)
        assert await daemon.told() == [("t", "stalled"), ("t", "error")]

    async def test_an_undocumented_status_is_told_and_then_the_end(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 12, "on|hold"), (T0 + 200, "success")))
        await daemon.cycles(50)
        assert await daemon.told() == [("t", "on_hold"), ("t", "success")]
        assert [data.status for data in await daemon.data()] == ["on|hold", "success"]
        assert [data.unknown_status for data in await daemon.data()] == [True, False]

    async def test_a_task_at_work_again_is_told_again_with_the_next_revision(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 8, "success"), (T0 + 18, "processing"), (T0 + 50, "success")))
        await daemon.cycles(20)
        assert [(data.status, data.revision) for data in await daemon.data()] == [
            ("success", 0),
            ("success", 1),
        ]
        one, two = await daemon.events()
        assert one.id != two.id

    async def test_a_late_row_is_found_by_the_overlap_or_a_rung(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(
            life("in_time", T0 + 10, (T0 + 11, "success")),
            life("by_20_s", T0 + 10, (T0 + 11, "success"), late=20),
            life("by_100_s", T0 + 10, (T0 + 11, "success"), late=100),
            life("by_400_s", T0 + 10, (T0 + 11, "error"), late=400),
        )
        await daemon.cycles(300)
        assert [subject for subject, _ in await daemon.told()] == [
            "in_time",
            "by_20_s",
            "by_100_s",
            "by_400_s",
        ]


class TestRecording:
    """What reaches the store of a page, by the commits themselves."""

    @pytest.fixture
    async def commits(self, daemon: Daemon, redis: Redis) -> list[Commit]:
        commits: list[Commit] = []

        class Listening(Store):
            async def commit(self, commit: Commit, nonce: str) -> Outcome:
                commits.append(commit)
                return await super().commit(commit, nonce)

        daemon.store = Listening(redis, KEYS)
        await daemon.begin()
        return commits

    async def test_of_rows_that_say_nothing_new_nothing_is_written(
        self, daemon: Daemon, api: Api, commits: list[Commit]
    ) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 2, "success")), life("u", T0 + 1))
        await daemon.cycles(1)
        assert [len(commit.changes) for commit in commits if commit.changes] == [2]
        del commits[:]
        cycles = await daemon.cycles(3)
        assert all(not commit.changes and not commit.flight and not commit.entries for commit in commits)
        assert len(commits) == sum(cycle.requests for cycle in cycles) >= 3

    async def test_of_a_task_that_a_page_holds_twice_the_newest_row_counts(
        self, daemon: Daemon, commits: list[Commit]
    ) -> None:
        state = await daemon.state()
        start = Start(at(0), at(0), at(0))
        rows = [
            Task(TaskId("t"), status, at(1), at(updated))
            for status, updated in (("processing", 1), ("error", 9), ("success", 5))
        ]
        rules = Rules(start, frozenset({"success", "error"}), 300 * SECOND)
        for order in (rows, rows[::-1]):
            await daemon.recorder.record(order, rules, at(10), state, state)
        assert await daemon.told() == [("t", "error")]
        assert len(commits) == 2


class TestVanished:
    async def test_only_the_third_absence_in_a_row_is_told(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, absent=[(T0 + 60, NEVER)]))
        await daemon.cycles(11)  # gone before the last of these began? No: T0 + 55
        for _ in range(ABSENCES - 1):
            await daemon.cycles(1)
            assert await daemon.told() == []
        await daemon.cycles(1)
        assert await daemon.told() == [("t", "vanished")]
        assert (await daemon.state()).in_flight == {}
        assert daemon.scanner._absences == Absences(5 * SECOND), "nothing is left of it in memory"
        await daemon.cycles(50)
        assert await daemon.told() == [("t", "vanished")]

    async def test_one_that_is_back_in_between_starts_the_count_again(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 200, "success"), absent=[(T0 + 60, T0 + 69), (T0 + 74, T0 + 83)]))
        await daemon.cycles(50)
        assert await daemon.told() == [("t", "success")]

    async def test_one_that_is_back_after_all_starts_the_count_again_too(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, absent=[(T0 + 40, T0 + 90), (T0 + 400, T0 + 409)]))
        await daemon.cycles(70)
        assert set((await daemon.state()).in_flight) == {"t"}, "the ladder has found it again"
        await daemon.cycles(30)
        assert set((await daemon.state()).in_flight) == {"t"}
        assert await daemon.told() == [("t", "vanished"), ("t", "stalled")]

    async def test_a_restart_starts_the_count_again(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, absent=[(T0 + 60, NEVER)]))
        await daemon.cycles(13)
        await daemon.begin()
        await daemon.cycles(2)
        assert await daemon.told() == []
        await daemon.cycles(1)
        assert await daemon.told() == [("t", "vanished")]

    async def test_an_answer_that_failed_is_no_absence(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 300, "success")))
        await daemon.cycles(11)
        api.fault = where(asked_by_id, [invalid() for _ in range(30)])
        for _ in range(10):
            await daemon.cycle(5)
        await daemon.cycles(50)
        assert await daemon.told() == [("t", "success")]

    async def test_one_that_returns_and_ends_is_told(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 100, "success"), absent=[(T0 + 40, T0 + 90)]))
        await daemon.cycles(130)
        assert await daemon.told() == [("t", "vanished"), ("t", "success")]


class TestAsking:
    async def test_a_quiet_cycle_is_one_request(self, daemon: Daemon) -> None:
        await daemon.cycle()
        cycles = await daemon.cycles(20)
        assert [cycle.requests for cycle in cycles] == [1] * 20
        assert {cycle.plan for cycle in cycles} == {"A"}

    async def test_what_a_window_has_shown_is_not_asked_for_again(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 3, (T0 + 20, "success")))
        cycles = await daemon.cycles(4)
        assert cycles[1].in_flight == 1
        assert not any(map(asked_by_id, api.asked))

    async def test_what_is_in_flight_beyond_the_window_is_asked_for_by_the_hundred(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycle()
        api.add(*[life(f"t{number}", T0 + 1) for number in range(150)])
        await daemon.cycles(5, every=300)
        del api.asked[:]
        (cycle,) = await daemon.cycles(1)
        assert [len(asked.query.id_in) for asked in api.asked if asked_by_id(asked)] == [100, 50]
        assert cycle.requests == 3
        assert cycle.in_flight == 150

    async def test_a_look_does_not_wait_for_the_past(self, daemon: Daemon, api: Api) -> None:
        """What an absence has left to be read has time."""
        api.add(life("t", T0 + 1))
        await daemon.cycles(3, every=300)
        del api.asked[:]
        await daemon.cycle(20 * HOUR)
        assert [asked_by_id(asked) for asked in api.asked[:3]] == [False, True, False]

    async def test_what_ends_in_several_batches_is_counted_whole(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(*[life(f"t{number}", T0 + 1, (T0 + 1502, "success")) for number in range(350)])
        await daemon.cycles(5, every=300)
        cycle = await daemon.cycle(5)
        assert len(cycle.recorded.ended) == cycle.recorded.events == 350

    async def test_an_answer_by_id_may_have_several_pages(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.page_size = 2
        api.add(*[life(f"t{number}", T0 + 1, (T0 + 1500, "success")) for number in range(5)])
        await daemon.cycles(3, every=300)
        await daemon.cycles(8)
        assert {kind for _, kind in await daemon.told()} == {"stalled"}
        await daemon.cycles(2, every=300)
        assert sum(kind == "success" for _, kind in await daemon.told()) == 5

    async def test_all_pages_of_a_window_are_read(self, daemon: Daemon, api: Api) -> None:
        api.page_size = 2
        await daemon.cycle()
        api.add(*[life(f"t{number}", T0 + 1, (T0 + 2, "success")) for number in range(7)])
        (cycle,) = await daemon.cycles(1)
        assert cycle.requests == 4
        assert len(await daemon.told()) == 7
        assert len(cycle.recorded.first_seen) == len(cycle.recorded.ended) == cycle.recorded.events == 7

    async def test_after_hours_away_the_newest_is_read_first(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycles(3)
        api.add(
            *[
                life(f"h{hour:02}", T0 + hour * HOUR, (T0 + hour * HOUR + 10, "success"))
                for hour in range(1, 20)
            ]
        )
        await daemon.begin()
        del api.asked[:]
        first = await daemon.cycle(20 * HOUR)
        assert first.lag > 19 * HOUR
        assert (await daemon.told())[0][0] == "h19"
        cycles = await daemon.cycles(7)
        assert len(await daemon.told()) == 19
        assert cycles[-1].lag < 2
        # A window of the past shows several, in the order of their ids. Second looks begin at the old end and
        # find some of that out of turn. Whatever ended in the last hours is told before all that is older.
        order = [int(subject[1:]) for subject, _ in await daemon.told()]
        assert order[:1] == [19]
        assert max(order.index(hour) for hour in range(16, 20)) < min(order.index(h) for h in range(1, 8))

    async def test_rows_late_at_a_stop_are_found_after_any_absence(self, daemon: Daemon, api: Api) -> None:
        """They were not yet to be seen in the last cycle before it; after it nothing but the gap is read."""
        await daemon.cycles(3)
        api.add(life("t", T0 + 14, (T0 + 14.5, "success"), late=3))
        await daemon.begin()
        await daemon.cycle(100 * HOUR)
        await daemon.cycles(60)
        assert await daemon.told() == [("t", "success")]

    async def test_coverage_is_what_was_read_and_the_lag_its_age(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        cycles = await daemon.cycles(4)
        assert all(cycle.lag < 2 for cycle in cycles)
        api.fault = lambda _: unavailable()
        assert (await daemon.cycle(60)).lag > 60
        api.fault = None
        assert (await daemon.cycle(5)).lag < 2


class TestFailures:
    async def test_an_invalid_page_is_read_again_within_the_cycle(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 2, "success")))
        api.fault = in_turn(invalid(), invalid())
        cycle = await daemon.cycle(5)
        assert cycle.complete
        assert cycle.requests == 3
        assert await daemon.told() == [("t", "success")]

    async def test_a_window_with_a_page_that_stays_invalid_stays_a_gap_and_all_else_is_read(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycle()
        api.add(life("old", T0 + 1, (T0 + 44, "success")))
        await daemon.cycles(8)  # by now it is beyond the window
        before = (await daemon.state()).coverage
        api.fault = where(wide, [invalid(), invalid(), invalid()])
        cycle = await daemon.cycle(5)
        assert [failure.reason for failure in cycle.failures] == ["invalid_page"]
        assert await daemon.told() == [("old", "success")], "what is asked for by id still is"
        assert (await daemon.state()).coverage == before
        assert (await daemon.cycle(5)).complete
        assert covers((await daemon.state()).coverage, -500, 48)

    async def test_pages_before_a_failing_one_count_but_cover_nothing(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.page_size = 2
        api.add(*[life(f"t{number}", T0 + 1, (T0 + 2, "success")) for number in range(5)])
        before = (await daemon.state()).coverage
        api.fault = in_turn(None, invalid(), invalid(), invalid())
        await daemon.cycle(5)
        assert [subject for subject, _ in await daemon.told()] == ["t0", "t1"]
        assert (await daemon.state()).coverage == before
        await daemon.cycle(5)
        assert [subject for subject, _ in await daemon.told()] == ["t0", "t1", "t2", "t3", "t4"]

    async def test_a_rejected_page_token_halves_the_windows_of_the_past(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycles(2)
        api.page_size = 2
        api.add(*[life(f"t{n}", T0 + 600 * n, (T0 + 600 * n + 9, "success")) for n in range(1, 72)])

        def short_lived_tokens(asked: Asked) -> MoniteError | None:
            window = asked.window
            wide = window is not None and window.high - window.low > HOUR * 1e6 / 2
            return PageTokenRejected("token has run out", status=400) if asked.later_page and wide else None

        api.fault = short_lived_tokens
        first = await daemon.cycle(12 * HOUR)
        assert {failure.reason for failure in first.failures} == {"page_token"}
        for _ in range(24):
            cycle = await daemon.cycle(5)
        assert len({subject for subject, _ in await daemon.told()}) == 71
        assert len(await daemon.told()) == 71
        assert cycle.lag < 2

    async def test_a_refusal_ends_the_cycle_at_once(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1))
        await daemon.cycles(9)
        del api.asked[:]
        api.fault = lambda _: Unauthorized("no", status=401)
        cycle = await daemon.cycle(5)
        assert [failure.reason for failure in cycle.failures] == ["unauthorized"]
        assert len(api.asked) == cycle.requests == 1

    async def test_an_api_that_is_away_is_not_asked_the_rest(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1))
        await daemon.cycles(9)
        del api.asked[:]
        api.fault = lambda _: unavailable()
        cycle = await daemon.cycle(5)
        assert len(api.asked) == cycle.requests == 3
        assert len(cycle.failures) == 1

    async def test_nor_the_rest_of_the_windows(self, daemon: Daemon, api: Api) -> None:
        await daemon.cycles(2)
        del api.asked[:]
        api.fault = lambda _: unavailable()
        cycle = await daemon.cycle(20 * HOUR)
        assert len(api.asked) == cycle.requests == 3
        assert len(cycle.failures) == 1

    async def test_a_rate_limit_is_met_again_without_a_pause_of_its_own(
        self, daemon: Daemon, api: Api, clock: EagerClock
    ) -> None:
        await daemon.cycle()
        api.fault = in_turn(rate_limited())
        assert (await daemon.cycle(5)).complete
        assert clock.slept == []

    async def test_an_api_that_is_away_for_hours_costs_nothing_but_time(
        self, daemon: Daemon, api: Api
    ) -> None:
        await daemon.cycles(2)
        api.add(
            life("before", T0 + 9, (T0 + 2 * HOUR, "success")),
            life("during", T0 + HOUR, (T0 + HOUR + 12, "error")),
            life("into", T0 + 4 * HOUR - 5, (T0 + 4 * HOUR + 20, "success")),
        )
        api.fault = lambda _: unavailable()
        for _ in range(24):
            await daemon.cycle(600)
        api.fault = None
        await daemon.cycles(10)
        assert sorted(await daemon.told()) == [
            ("before", "success"),
            ("during", "error"),
            ("into", "success"),
        ]


async def test_a_scope_that_turns_out_busy_is_looked_at_sooner_from_then_on(daemon: Daemon, api: Api) -> None:
    """Not only after the next look, which among thousands of scopes is minutes away."""
    daemon.scanner._pacer.elsewhere = Weight(traffic=100.0, scopes=10_000)
    idle = (await daemon.cycles(4, every=300))[-1]
    now = daemon.clock.time()
    api.add(*[life(f"t{number}", now + number, (now + number + 10, "success")) for number in range(250)])
    (busy,) = await daemon.cycles(1, every=300)
    assert busy.wait < idle.wait / 3


class TestFence:
    async def test_another_holder_stops_the_cycle(self, daemon: Daemon, redis: Redis, api: Api) -> None:
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 2, "success")))
        await redis.set(KEYS.lease, "another")
        with pytest.raises(LeaseLostError):
            await daemon.cycle(5)
        assert await daemon.told() == []

    async def test_also_between_the_window_and_the_ids(self, daemon: Daemon, redis: Redis, api: Api) -> None:
        """The requests by id run side by side; the caller hears of it as of any other."""
        await daemon.cycle()
        api.add(*[life(f"t{number}", T0 + 1, (T0 + 1506, "success")) for number in range(250)])
        await daemon.cycles(5, every=300)
        before = await daemon.told()

        async def steal(asked: Asked) -> None:
            if asked_by_id(asked):
                await redis.set(KEYS.lease, "another")

        api.meanwhile = steal
        with pytest.raises(LeaseLostError):
            await daemon.cycle(5)
        assert await daemon.told() == before

    async def test_two_holders_never_tell_the_same_twice(
        self, daemon: Daemon, redis: Redis, api: Api
    ) -> None:
        """The old one has its page in hand when the new one takes over."""
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 2, "success")))
        new = Daemon(redis, api, daemon.clock)

        async def take_over(_: Asked) -> None:
            api.meanwhile = None
            await new.begin()
            await new.cycle()

        api.meanwhile = take_over
        with pytest.raises(LeaseLostError):
            await daemon.cycle(5)
        assert await new.told() == [("t", "success")]
        await new.cycles(2)
        assert await new.told() == [("t", "success")]

    async def test_progress_moved_by_another_is_a_conflict_and_is_loaded_again(
        self, daemon: Daemon, redis: Redis, api: Api
    ) -> None:
        await daemon.cycles(2)

        async def reset(_: Asked) -> None:
            api.meanwhile = None
            await Store(redis, KEYS).reset(daemon.scope)

        api.meanwhile = reset
        with pytest.raises(ConflictError):
            await daemon.cycle(5)
        assert (await daemon.state()).start is None
        assert (await daemon.cycle(5)).complete
        state = await daemon.state()
        assert state.start is not None
        assert state.start.started_at > at(19)

    async def test_a_reader_of_the_same_tasks_is_no_conflict(
        self, daemon: Daemon, redis: Redis, api: Api
    ) -> None:
        """Another step of the same holder moved a record in between: what it says now is decided anew."""
        await daemon.cycle()
        api.add(life("t", T0 + 1, (T0 + 2, "success")))
        store = Store(redis, KEYS)
        told_first = Known("success", 0, at(2), frozenset({"success"}))

        class Raced(Store):
            async def known(self, scope: Scope, created: Mapping[TaskId, Micros]) -> dict[TaskId, Known]:
                found = await super().known(scope, created)
                if created and not found:
                    change = Change(TaskId("t"), at(1), None, told_first)
                    assert await store.commit(Commit(scope, [change]), daemon.nonce) is Outcome.APPLIED
                return found

        nonce, daemon.store = daemon.nonce, Raced(redis, KEYS)
        await daemon.begin()
        assert nonce != daemon.nonce
        await daemon.cycle(5)
        assert await daemon.told() == []
        assert await store.known(daemon.scope, {TaskId("t"): at(1)}) == {TaskId("t"): told_first}


class TestFlushed:
    async def test_a_store_that_was_emptied_is_a_first_run_again(
        self, daemon: Daemon, redis: Redis, api: Api
    ) -> None:
        await daemon.cycle()
        api.add(
            *[life(f"t{number}", T0 + 1, (T0 + 10, "success")) for number in range(50)],
            life("open", T0 + 1, (T0 + 60, "error")),
        )
        await daemon.cycles(4)
        assert len(await daemon.told()) == 50
        await redis.flushall()
        with pytest.raises(LeaseLostError):
            await daemon.cycle(5)
        await daemon.begin()
        await daemon.cycles(20)
        assert await daemon.told() == [("open", "error")]

    async def test_what_is_derived_again_carries_the_same_id(
        self, daemon: Daemon, redis: Redis, api: Api
    ) -> None:
        daemon.policy = policy("all")
        await daemon.begin()
        api.add(life("t", T0 - 50, (T0 - 40, "success")))
        await daemon.cycles(2)
        (first,) = await daemon.events()
        await redis.flushall()
        await daemon.begin()
        await daemon.cycles(2)
        (second,) = await daemon.events()
        assert first.id == second.id
