"""The lease on a real server: one holder, random nonces, real expiry; waits happen on the tests' clock."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.fakes import FakeClock
from watcher.errors import StoreUnavailable
from watcher.state.keys import Keys
from watcher.state.lease import (
    PATIENCE,
    TERM,
    Lease,
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
