"""Asking for a backfill, and calling one off. Both raise ``StoreError`` when the store is away or not ours."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import WatchError

from watcher.state.backfill import Job, decode
from watcher.state.keys import Keys
from watcher.state.store import store_errors


async def ask(redis: Redis, keys: Keys, job: Job) -> Job:
    """Ask a shard for a job, unless one is under way there; the one that then is to be done."""
    with store_errors():
        async with redis.pipeline() as pipe:
            while True:
                await pipe.watch(keys.backfill)
                held = decode(*await pipe.hmget(keys.backfill, "request", "progress"))
                if held is not None and not held.done:
                    return held
                pipe.multi()  # type: ignore[no-untyped-call] # the client's own omission
                pipe.hset(
                    keys.backfill,
                    mapping={"request": job.request.encode(), "progress": job.progress.encode()},
                )
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return job


async def call_off(redis: Redis, keys: Keys) -> None:
    """Forget a shard's job; what it has published stays published."""
    with store_errors():
        await redis.unlink(keys.backfill)
