"""The lease on a real server: one holder, random nonces, real expiry; waits happen on the tests' clock."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from tests.fakes import FakeClock, settle
from tests.unit.state.heard_clock import HeardClock
from watcher.errors import StoreError, StoreUnavailable
from watcher.metrics import Metrics
from watcher.state.connection import connect
from watcher.state.embedded import EmbeddedServer
from watcher.state.keys import Keys
from watcher.state.lease import (
    PATIENCE,
    RENEWAL,
    RETRY,
    TERM,
    Leadership,
    Lease,
    LeaseLostError,
    break_leases,
    holder_of,
)

KEYS = Keys("t")


class TestLease:
    async def test_the_first_takes_it_and_the_next_does_not(self, redis: Redis) -> None:
        one, other = (Lease(redis, KEYS, FakeClock()) for _ in range(2))
        assert await one.acquire()
        assert one.held
        assert not await other.acquire()
        assert not other.held
        assert await redis.get(KEYS.lease) == one.nonce.encode()

    async def test_it_expires_by_itself(self, redis: Redis) -> None:
        lease = Lease(redis, KEYS, FakeClock())
        await lease.acquire()
        assert TERM * 1000 - 5000 < await redis.pttl(KEYS.lease) <= TERM * 1000

    async def test_every_term_has_a_nonce_of_its_own(self, redis: Redis) -> None:
        lease = Lease(redis, KEYS, FakeClock())
        nonces = []
        for _ in range(3):
            await lease.acquire()
            nonces.append(lease.nonce)
            await lease.release()
        assert len(set(nonces)) == 3
        assert len({holder_of(nonce) for nonce in nonces}) == 1
        assert all(len(nonce.rpartition("/")[2]) == 32 for nonce in nonces)

    async def test_renewed_it_lasts_another_term(self, redis: Redis) -> None:
        clock = FakeClock()
        lease = Lease(redis, KEYS, clock)
        await lease.acquire()
        await redis.pexpire(KEYS.lease, 5000)
        clock.move(PATIENCE - 1)
        assert await lease.renew()
        assert await redis.pttl(KEYS.lease) > 5000
        clock.move(PATIENCE - 1)
        assert lease.held

    async def test_a_holder_that_could_not_renew_stops_before_it_can_have_lapsed(self, redis: Redis) -> None:
        clock = FakeClock()
        lease = Lease(redis, KEYS, clock)
        await lease.acquire()
        clock.move(PATIENCE - 0.001)
        assert lease.held
        clock.move(0.001)
        assert not lease.held
        assert PATIENCE < TERM

    async def test_once_lapsed_it_is_not_renewed_and_another_takes_it(self, redis: Redis) -> None:
        one, other = (Lease(redis, KEYS, FakeClock()) for _ in range(2))
        await one.acquire()
        await redis.pexpire(KEYS.lease, 0)
        assert not await one.renew()
        assert await redis.exists(KEYS.lease) == 0
        assert await other.acquire()
        assert not await one.renew()
        assert await redis.get(KEYS.lease) == other.nonce.encode()

    async def test_released_it_is_free_at_once(self, redis: Redis) -> None:
        one, other = (Lease(redis, KEYS, FakeClock()) for _ in range(2))
        await one.acquire()
        await one.release()
        assert not one.held
        assert await other.acquire()

    async def test_nobody_releases_what_is_anothers(self, redis: Redis) -> None:
        one, other = (Lease(redis, KEYS, FakeClock()) for _ in range(2))
        await one.acquire()
        await redis.pexpire(KEYS.lease, 0)
        await other.acquire()
        await one.release()
        assert await redis.get(KEYS.lease) == other.nonce.encode()
        assert other.held

    async def test_one_that_never_held_it_neither_renews_nor_releases(self, redis: Redis) -> None:
        lease = Lease(redis, KEYS, FakeClock())
        assert not await lease.renew()
        await lease.release()
        assert not lease.held

    async def test_shards_have_leases_of_their_own(self, redis: Redis) -> None:
        leases = [Lease(redis, Keys("t", shard, 2), FakeClock()) for shard in range(2)]
        assert [await lease.acquire() for lease in leases] == [True, True]

    async def test_leases_of_the_dead_can_be_broken(self, redis: Redis) -> None:
        shards = [Keys("t", shard, 2) for shard in range(2)]
        dead = [Lease(redis, keys, FakeClock()) for keys in shards]
        living = [Lease(redis, keys, FakeClock()) for keys in shards]
        for lease in dead:
            await lease.acquire()
        await break_leases(redis, shards)
        assert [await lease.acquire() for lease in living] == [True, True]
        assert [await lease.renew() for lease in dead] == [False, False]

    async def test_a_store_that_is_away_is_said_to_be_away(self) -> None:
        nowhere = Redis.from_url("unix:///nowhere/at/all", retry=Retry(NoBackoff(), 0))
        lease = Lease(nowhere, KEYS, FakeClock())
        for asking in (lease.acquire(), lease.renew(), lease.release(), break_leases(nowhere, [KEYS])):
            with pytest.raises(StoreUnavailable):
                await asking
        await nowhere.aclose()

    def test_the_holder_is_read_from_the_nonce(self) -> None:
        assert holder_of("host/12/abcd") == "host/12"
        assert holder_of("abcd") == "abcd"


class Office:
    """One process's leadership, and the work that it runs: which waits until told how to end."""

    def __init__(self, redis: Redis) -> None:
        self.clock = HeardClock()
        self.metrics = Metrics()
        self.lease = Lease(redis, KEYS, self.clock)
        self.leadership = Leadership(self.lease, self.clock, self.metrics, shard=0)
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

    def open(self, redis: Redis) -> Office:
        office = Office(redis)
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

    leadership = Leadership(Lease(redis, KEYS, clock), clock, Metrics(), 0)
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
