"""Leadership on a real server: as many shards as fall to a replica, taken over, handed over, given up."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from tests.fakes import FakeClock, settle
from tests.unit.state.heard_clock import HeardClock
from watcher.errors import StoreError, StoreUnavailable
from watcher.fleet.leadership import LEFT, RETRY, Leadership, Quota
from watcher.metrics import Metrics
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import PATIENCE, RENEWAL, Lease, LeaseLostError

pytestmark = pytest.mark.every_server

KEYS = Keys("t")


class Office:
    """One process's leadership, and the work that it runs: which waits until told how to end."""

    def __init__(self, redis: Redis, limit: int) -> None:
        self.clock = HeardClock()
        self.metrics = Metrics()
        self.quota = Quota(limit)
        self.quota.known.set()
        self.lease = Lease(redis, KEYS, self.clock)
        self.leadership = Leadership(self.lease, self.quota, self.clock, self.metrics, shard=0)
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work(self, nonce: str) -> None:
        self.begun.put_nowait(nonce)
        try:
            await self.failure
        finally:
            self.ended.put_nowait(nonce)

    def fail(self, error: Exception) -> None:
        failing, self.failure = self.failure, asyncio.get_running_loop().create_future()
        failing.set_exception(error)

    @property
    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("watcher_lease_held", {"shard": "0"})


class Offices:
    """Starts offices, and closes them all at the end."""

    def __init__(self) -> None:
        self._running: list[asyncio.Task[None]] = []

    def open(self, redis: Redis, limit: int = 1) -> Office:
        office = Office(redis, limit)
        self._running.append(asyncio.create_task(office.leadership.run(office.work)))
        return office

    async def close(self, number: int = -1) -> None:
        """Stop as a signal does."""
        running = self._running.pop(number)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def outcome(self) -> BaseException | None:
        """What the last one ended with."""
        running = self._running.pop()
        await asyncio.wait([running])
        return running.exception()

    async def close_all(self) -> None:
        while self._running:
            await self.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """As the daemon connects: whoever waits for it can be stopped."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def offices() -> AsyncIterator[Offices]:
    offices = Offices()
    yield offices
    await offices.close_all()


class TestLeadership:
    async def test_work_runs_under_the_leases_nonce(self, redis: Redis, offices: Offices) -> None:
        office = offices.open(redis)
        nonce = await office.begun.get()
        assert await redis.get(KEYS.lease) == nonce.encode()
        assert office.leadership.held
        assert office.gauge == 1

    async def test_it_is_renewed_for_as_long_as_the_work_lasts(self, redis: Redis, offices: Offices) -> None:
        office = offices.open(redis)
        nonce = await office.begun.get()
        for _ in range(5):
            await redis.pexpire(KEYS.lease, 5000)
            await office.clock.wait_out(RENEWAL)
        assert await office.clock.waits.get() == RENEWAL
        assert await redis.pttl(KEYS.lease) > 5000
        assert await redis.get(KEYS.lease) == nonce.encode()
        assert office.ended.empty()

    async def test_a_clean_stop_hands_over_at_once(self, redis: Redis, offices: Offices) -> None:
        first = offices.open(redis)
        await first.begun.get()
        second = offices.open(redis)
        assert await second.clock.waits.get() == RETRY
        assert second.gauge == 0
        await offices.close(0)
        assert await first.ended.get() == first.lease.nonce
        assert first.gauge == 0
        await second.clock.advance(RETRY)
        assert await redis.get(KEYS.lease) == (await second.begun.get()).encode()
        assert second.gauge == 1

    async def test_while_another_holds_it_nothing_runs_and_it_is_said_once(
        self, redis: Redis, offices: Offices
    ) -> None:
        await redis.set(KEYS.lease, "another")
        with capture_logs() as logs:
            office = offices.open(redis)
            for _ in range(3):
                await office.clock.wait_out(RETRY)
            assert await office.clock.waits.get() == RETRY
        assert office.begun.empty()
        assert not office.leadership.held
        assert [line["event"] for line in logs] == ["lease.waiting"]

    async def test_a_dead_holders_work_is_taken_over_once_its_lease_has_lapsed(
        self, redis: Redis, offices: Offices
    ) -> None:
        await redis.set(KEYS.lease, "dead", px=15_000)
        office = offices.open(redis)
        await office.clock.wait_out(RETRY)
        await redis.pexpire(KEYS.lease, 0)
        await office.clock.wait_out(RETRY)
        await office.begun.get()

    async def test_work_ends_when_the_lease_is_found_to_be_anothers(
        self, redis: Redis, offices: Offices
    ) -> None:
        office = offices.open(redis)
        nonce = await office.begun.get()
        await redis.set(KEYS.lease, "another")
        with capture_logs() as logs:
            await office.clock.wait_out(RENEWAL)
            assert await office.ended.get() == nonce
            assert await office.clock.waits.get() == RETRY
        assert await redis.get(KEYS.lease) == b"another"
        assert office.gauge == 0
        assert not office.leadership.held
        assert ("lease.ended", "lost") in [(line["event"], line.get("reason")) for line in logs]

    @pytest.mark.parametrize("error", [LeaseLostError(), StoreUnavailable("the store: gone")])
    async def test_work_that_lost_its_lease_or_store_begins_again_under_a_new_nonce(
        self, redis: Redis, offices: Offices, error: Exception
    ) -> None:
        office = offices.open(redis)
        first = await office.begun.get()
        office.fail(error)
        await office.ended.get()
        await office.clock.wait_out(RETRY)
        second = await office.begun.get()
        assert first != second
        assert await redis.get(KEYS.lease) == second.encode()

    @pytest.mark.parametrize("error", [LeaseLostError(), StoreUnavailable("the store: gone")])
    async def test_the_same_where_the_work_is_itself_a_group(
        self, redis: Redis, offices: Offices, error: Exception
    ) -> None:
        office = offices.open(redis)
        await office.begun.get()
        office.fail(ExceptionGroup("scopes", [ExceptionGroup("scope", [error])]))
        await office.clock.wait_out(RETRY)
        await office.begun.get()

    async def test_any_other_failure_ends_it_and_gives_the_lease_up(
        self, redis: Redis, offices: Offices
    ) -> None:
        office = offices.open(redis)
        await office.begun.get()
        office.fail(StoreError("what is this"))
        failure = await offices.outcome()
        assert isinstance(failure, ExceptionGroup)
        assert failure.subgroup(StoreError) is not None
        assert await redis.exists(KEYS.lease) == 0
        assert office.gauge == 0


class TestQuota:
    async def test_what_falls_to_another_is_left_to_it(self, redis: Redis, offices: Offices) -> None:
        satisfied = offices.open(redis, limit=0)
        for _ in range(LEFT - 2):
            await satisfied.clock.wait_out(RETRY)
        assert await satisfied.clock.waits.get() == RETRY
        assert await redis.exists(KEYS.lease) == 0
        wanting = offices.open(redis, limit=1)
        await wanting.begun.get()
        assert satisfied.begun.empty()
        assert (satisfied.quota.taken, wanting.quota.taken) == (0, 1)

    async def test_what_nobody_takes_is_taken_by_one_that_has_its_part(
        self, redis: Redis, offices: Offices
    ) -> None:
        satisfied = offices.open(redis, limit=0)
        for _ in range(LEFT - 1):
            await satisfied.clock.wait_out(RETRY)
        await satisfied.begun.get()
        assert satisfied.quota.taken == 1
        assert satisfied.quota.exceeded_at == satisfied.clock.monotonic()

    async def test_whoever_has_its_part_asks_who_lives_before_it_leaves_a_free_lease(
        self, redis: Redis, offices: Offices
    ) -> None:
        await redis.set(KEYS.lease, "another")
        satisfied = offices.open(redis, limit=0)
        asked = 0

        async def refresh() -> None:
            nonlocal asked
            asked += 1
            satisfied.quota.limit = 1  # the other one is gone

        satisfied.quota.refresh = refresh
        assert await satisfied.clock.waits.get() == RETRY
        assert asked == 0
        await redis.delete(KEYS.lease)
        await satisfied.clock.advance(RETRY)
        await satisfied.begun.get()
        assert (asked, satisfied.quota.taken) == (1, 1)
        assert satisfied.quota.exceeded_at < 0

    async def test_a_lease_that_is_about_to_lapse_is_looked_at_just_then(
        self, redis: Redis, offices: Offices
    ) -> None:
        await redis.set(KEYS.lease, "dead", px=100)
        office = offices.open(redis)
        left = await office.clock.waits.get()
        assert 0 < left <= 0.1

    async def test_looks_that_find_a_holder_begin_the_count_anew(
        self, redis: Redis, offices: Offices
    ) -> None:
        satisfied = offices.open(redis, limit=0)
        await satisfied.clock.wait_out(RETRY)
        assert await satisfied.clock.waits.get() == RETRY
        await redis.set(KEYS.lease, "another")
        await satisfied.clock.advance(RETRY)
        assert await satisfied.clock.waits.get() == RETRY
        await redis.delete(KEYS.lease)
        for _ in range(LEFT - 1):
            await satisfied.clock.advance(RETRY)
            assert await satisfied.clock.waits.get() == RETRY
        assert satisfied.begun.empty()

    async def test_what_is_given_up_ends_cleanly_and_is_free_at_once(
        self, redis: Redis, offices: Offices
    ) -> None:
        office = offices.open(redis)
        nonce = await office.begun.get()
        office.quota.limit = 0
        with capture_logs() as logs:
            office.leadership.give_up()
            assert await office.ended.get() == nonce
            while await office.clock.waits.get() != RETRY:
                pass
        assert await redis.exists(KEYS.lease) == 0
        assert (office.quota.taken, office.gauge) == (0, 0)
        assert ("lease.ended", "shared") in [(line["event"], line.get("reason")) for line in logs]

    async def test_a_lease_that_was_not_got_does_not_count(self, redis: Redis, offices: Offices) -> None:
        await redis.set(KEYS.lease, "another")
        office = offices.open(redis)
        assert await office.clock.waits.get() == RETRY
        assert office.quota.taken == 0

    @pytest.mark.parametrize("another_is_quicker", [True, False])
    async def test_while_one_is_being_taken_the_next_waits_for_what_becomes_of_it(
        self, redis: Redis, another_is_quicker: bool
    ) -> None:
        """The leases of one that died lapse together, and those who live all reach for the first."""
        tried, decided = asyncio.Event(), asyncio.Event()

        class Contested(Lease):
            async def acquire(self) -> bool:
                tried.set()
                await decided.wait()
                return await super().acquire()

        begun: asyncio.Queue[int] = asyncio.Queue()
        quota, clock, metrics = Quota(limit=1), HeardClock(), Metrics()
        quota.known.set()

        async def poll(shard: int, lease: Lease) -> None:
            async def work(_: str) -> None:
                begun.put_nowait(shard)
                await asyncio.get_running_loop().create_future()

            await Leadership(lease, quota, clock, metrics, shard).run(work)

        keys = [Keys("t", shard, 2) for shard in range(2)]
        async with asyncio.TaskGroup() as group:
            polling = [group.create_task(poll(0, Contested(redis, keys[0], clock)))]
            await tried.wait()
            polling.append(group.create_task(poll(1, Lease(redis, keys[1], clock))))
            await settle()
            if another_is_quicker:
                await redis.set(keys[0].lease, "a quicker one's")
            decided.set()
            assert await begun.get() == (1 if another_is_quicker else 0)
            await settle()
            assert clock.monotonic() == 0
            assert quota.taken == 1
            assert await redis.exists(keys[1].lease) == another_is_quicker
            for each in polling:
                each.cancel()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="w-"))  # short: the socket lies in it
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[EmbeddedServer]:
    """A server that a test may take away."""
    server = EmbeddedServer(data_dir)
    await server.start()
    yield server
    await server.stop()


class TestStoreAway:
    @pytest.fixture
    async def client(self, server: EmbeddedServer) -> AsyncIterator[Redis]:
        """Tells at once that the server is away, where the daemon's tries again for a second."""
        client = connect(server.url)
        client.connection_pool.connection_kwargs["retry"] = Retry(NoBackoff(), 0)
        yield client
        await client.aclose()

    async def test_the_work_is_stopped_before_the_lease_may_have_lapsed_and_begins_again(
        self, server: EmbeddedServer, client: Redis, offices: Offices
    ) -> None:
        office = offices.open(client)
        first = await office.begun.get()
        await server.stop()
        with capture_logs() as logs:
            await office.clock.wait_out(RENEWAL)
            assert await office.clock.waits.get() == RENEWAL
            assert office.ended.empty(), "one renewal may fail"
            await office.clock.advance(RENEWAL)
            assert await office.ended.get() == first
            assert office.clock.monotonic() <= PATIENCE
            for _ in range(3):
                await office.clock.wait_out(RETRY)
        said = [line["event"] for line in logs]
        assert said.count("lease.left_to_lapse") == 1
        assert said.count("store.unavailable") == 1
        assert office.gauge == 0
        await server.start()
        await client.pexpire(KEYS.lease, 0)  # what was acknowledged is still there: it lapses
        await office.clock.wait_out(RETRY)
        assert await office.begun.get() != first

    async def test_a_store_that_is_away_at_the_start_is_waited_for(
        self, server: EmbeddedServer, client: Redis, offices: Offices
    ) -> None:
        await server.stop()
        with capture_logs() as logs:
            office = offices.open(client)
            for _ in range(3):
                await office.clock.wait_out(RETRY)
        assert [line["event"] for line in logs].count("store.unavailable") == 1
        await server.start()
        await office.clock.wait_out(RETRY)
        await office.begun.get()

    async def test_a_store_that_is_full_gives_no_lease_and_is_said_to_be(
        self, client: Redis, offices: Offices
    ) -> None:
        await client.config_set("maxmemory", 1)
        office = offices.open(client)
        for _ in range(2):
            await office.clock.wait_out(RETRY)
        assert "maxmemory" in str(office.leadership.trouble)
        await client.config_set("maxmemory", 0)
        await office.clock.wait_out(RETRY)
        await office.begun.get()
        assert office.leadership.trouble is None

    async def test_why_a_write_failed_is_said_at_once_until_the_lease_is_held_again(
        self, client: Redis, offices: Offices
    ) -> None:
        office = offices.open(client)
        nonce = await office.begun.get()
        admin: Any = client
        await admin.replicaof("127.0.0.1", 1)
        with capture_logs() as logs:
            office.fail(StoreUnavailable("the store: read only"))
            await office.ended.get()
            for _ in range(3):  # its own lease stands in the way, and can be read
                await office.clock.wait_out(RETRY)
                assert office.leadership.trouble == "the store: read only"
        assert "lease.left_to_lapse" in [line["event"] for line in logs]
        assert (office.leadership.held, office.leadership.nonce) == (False, nonce)
        await admin.replicaof("NO", "ONE")
        await client.pexpire(KEYS.lease, 0)
        await office.clock.wait_out(RETRY)
        await office.begun.get()
        assert office.leadership.trouble is None


async def test_a_stop_while_the_lease_is_being_lost_is_not_forgotten(redis: Redis) -> None:
    """Before Python 3.13 a group that fails and is cancelled tells of the failure alone."""
    clock, begun, ending, release = FakeClock(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(nonce: str) -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ending.set()
            await release.wait()

    quota = Quota(1)
    quota.known.set()
    leadership = Leadership(Lease(redis, KEYS, clock), quota, clock, Metrics(), 0)
    leading = asyncio.create_task(leadership.run(work))
    await begun.wait()
    await redis.set(KEYS.lease, "another")
    await clock.advance(RENEWAL)
    await ending.wait()
    leading.cancel()
    await settle()
    release.set()
    await asyncio.wait({leading}, timeout=5)
    assert leading.cancelled()
