"""Which replicas live, kept in the store: each says so again and again, and is forgotten when it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from watcher.fleet.sharing import LIFE, Fleet, Member
from watcher.state.keys import Keys
from watcher.state.lease import break_leases, holder_of, new_nonce
from watcher.state.lua import script
from watcher.state.store import store_errors


class Doing(msgspec.Struct, frozen=True):
    """What a replica does: its release, the shards it polls, and its attempts at webhooks under way.

    ``able``: it reaches the API, as far as it knows.
    """

    version: str
    shards: tuple[int, ...] = ()
    sending: int = 0
    able: bool = True


class Replica(msgspec.Struct, frozen=True):
    """A replica that lives: host and process, since when (unix seconds), and what it last said that it does."""

    name: str
    since: float
    doing: Doing | None


class Registry:
    """This replica's entry, and the others'. Every method raises ``StoreUnavailable`` when the store is away."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = [keys.replicas, keys.replica_terms, keys.replica_doing]
        self._beat = redis.register_script(script(__package__, "beat"))
        self._leave = redis.register_script(script(__package__, "leave"))
        self.replica: Final = new_nonce()

    async def beat(self, doing: Doing) -> Fleet:
        """Say that this replica lives for a while; all that do."""
        args: list[str | int | bytes] = [self.replica, round(LIFE * 1000), msgspec.json.encode(doing)]
        with store_errors():
            now, *answer = await self._beat(keys=self._keys, args=args)
        members = (
            Member(name.decode(), float(joined) / 1000, able=told is None or told.able)
            for name, joined, told in ((name, joined, _doing(text)) for name, joined, text in answer)
        )
        return Fleet(self.replica, float(now) / 1000, tuple(members))

    async def leave(self) -> None:
        """Be forgotten at once."""
        with store_errors():
            await self._leave(keys=self._keys, args=[self.replica])


async def forget_the_dead(redis: Redis, shards: Sequence[Keys]) -> None:
    """Forget all replicas and free their leases in these shards: they are known to be dead, so nobody need wait.

    Raises ``StoreUnavailable``.
    """
    keys = shards[0]
    await break_leases(redis, shards)
    with store_errors():
        await redis.delete(keys.replicas, keys.replica_terms, keys.replica_doing)


async def read_replicas(redis: Redis, keys: Keys) -> tuple[Replica, ...]:
    """The replicas that live, the eldest first. Raises ``StoreUnavailable``."""
    read = redis.register_script(script(__package__, "living"))
    with store_errors():
        found = await read(keys=[keys.replicas, keys.replica_terms, keys.replica_doing])
    return tuple(
        Replica(holder_of(name.decode()), float(joined) / 1000, _doing(told)) for name, joined, told in found
    )


def _doing(told: Any) -> Doing | None:
    """What a replica said; None where another release says it otherwise."""
    try:
        return msgspec.json.decode(told or b"", type=Doing)
    except msgspec.DecodeError:
        return None
