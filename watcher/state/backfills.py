"""Asking for a backfill, and calling one off. Both raise ``StoreError`` when the store is away or not ours."""

from __future__ import annotations

from redis.asyncio import Redis

from watcher.state.backfill import Job, decode
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors


async def ask(redis: Redis, keys: Keys, job: Job) -> Job:
    """Ask a shard for a job, unless one is under way there; the one that then is to be done."""
    step = redis.register_script(script(__package__, "ask"))
    with store_errors():
        while True:
            was = await redis.hmget(keys.backfill, "request", "progress")
            held = decode(*was)
            if held is not None and not held.done:
                return held
            args = [*(each or b"" for each in was), job.request.encode(), job.progress.encode()]
            if await step(keys=[keys.backfill], args=args):
                return job


async def call_off(redis: Redis, keys: Keys) -> None:
    """Forget a shard's job; what it has published stays published."""
    with store_errors():
        await redis.unlink(keys.backfill)
