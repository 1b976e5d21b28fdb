"""``watcher backfill``: read a past range again, and publish what was never published."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from redis.asyncio import Redis
from rich.console import Console

from watcher.cli.backfill_view import Totals, shown
from watcher.cli.common import all_keys, console, event_loop, open_store
from watcher.cli.times import instant
from watcher.clock import SystemClock
from watcher.derived import budget_of, policy_of, publication_of
from watcher.errors import ConfigurationError, StoreError, StoreUnavailable, WatcherError
from watcher.metrics import Metrics
from watcher.model import Micros, Scope, from_seconds
from watcher.monite.opened import open_api
from watcher.ops.status import read_status
from watcher.polling.backfiller import rehearse
from watcher.polling.means import Means
from watcher.polling.widths import FIRST_WIDTH
from watcher.settings import Settings, load_settings
from watcher.state.backfill import Job, Request, begun
from watcher.state.backfills import ask, call_off
from watcher.state.keys import Keys
from watcher.state.store import Store

SHARE: Final = 0.1
"""Part of the request budget that a backfill takes unless told otherwise: what polling does not plan with."""
LOOK: Final = 0.25
"""Seconds between two looks at how far it has come."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; ``rate`` is in requests a second."""

    low: Micros
    high: Micros
    until_now: bool
    scopes: tuple[str, ...]
    rate: float

    def request(self, scopes: Sequence[Scope], among: int) -> Request:
        """The request for the scopes of one shard ``among`` so many that work at the same time."""
        keys = tuple(scope.key for scope in scopes)
        return Request(self.low, self.high, keys, self.rate / among, self.until_now)


def backfill(
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Begin with tasks created then: an ISO time, UTC unless it says otherwise."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="End before tasks created then; now unless given.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="An entity's id, or - for what belongs to none; all that are watched unless given."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second at most; a tenth of the budget unless given.", min=0.01),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be published; write nothing.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Call off the backfill that is under way.")] = False,
) -> None:
    """Read the tasks created in a past range again, and publish the ends that were never published.

    The daemon does the work, within the request budget, and goes on when this command is interrupted; the same
    command then shows it again.
    """
    settings = load_settings(need_api=dry_run)
    if stop:
        event_loop(_stop(settings))
        return
    now = from_seconds(SystemClock().time())
    asked = read_words(now, settings.monite.requests_per_second, since, until, tuple(scope or ()), rate)
    out = console()
    try:
        totals = event_loop((_dry_run if dry_run else _run)(settings, asked, out))
    except KeyboardInterrupt:
        if not dry_run:
            out.print("The daemon goes on. The same command shows it again; --stop calls it off.")
        raise
    out.print(totals.summary(dry_run=dry_run))
    raise typer.Exit(1 if totals.refused else 0)


def read_words(
    now: Micros,
    budget: float,
    since: str | None,
    until: str | None,
    scopes: tuple[str, ...],
    rate: float | None,
) -> Asked:
    """What the command line asks for, with a request budget of so many requests a second.

    Raises:
        ConfigurationError: what is wrong with it.
    """
    if since is None:
        raise ConfigurationError(["--from: say where to begin, such as 2026-11-23T04:00:00Z"])
    low = instant("--from", since)
    high = min(now, instant("--to", until)) if until else now
    if low >= high:
        raise ConfigurationError([f"--from: {since} is not before {until if high < now else 'now'}"])
    pace = budget * SHARE if rate is None else rate
    if not math.isfinite(pace):
        raise ConfigurationError([f"--rate: {pace} is not a number of requests a second, such as 2"])
    return Asked(low, high, high == now, scopes, pace)


async def _run(settings: Settings, asked: Asked, out: Console) -> Totals:
    """Ask the holders of the leases to do it, and look on."""
    async with open_store(settings) as redis:
        found = await _scopes(settings, redis, asked.scopes)
        wanted = {
            keys: begun(asked.request(scopes, len(found)), FIRST_WIDTH) for keys, scopes in found.items()
        }
        jobs = await ask_all(redis, wanted)
        for keys, job in jobs.items():
            if job.progress != wanted[keys].progress:
                out.print(
                    f"goes on where it stopped: {job.share_done:.0%} of shard {keys.shard} is done, "
                    f"at {job.request.rate:g} requests a second"
                )
        await _say_who_works(redis, settings, out)
        return await shown(_followed(redis, jobs), out)


async def ask_all(redis: Redis, wanted: Mapping[Keys, Job]) -> dict[Keys, Job]:
    """Ask every shard for its job; those that are then to be done.

    Raises:
        WatcherError: another job is under way in some shard. Then none is asked.
    """
    for keys, job in wanted.items():
        held = await Store(redis, keys).backfill()
        if held is not None and not held.done:
            _refuse_another(held, job)
    jobs = {keys: await ask(redis, keys, job) for keys, job in wanted.items()}
    for keys, job in jobs.items():
        _refuse_another(job, wanted[keys])  # somebody else was as quick
    return jobs


def _refuse_another(held: Job, wanted: Job) -> None:
    if not held.request.same_as(wanted.request):
        raise WatcherError(
            "another backfill is under way: wait for it, or end it with `watcher backfill --stop`"
        )


async def _followed(redis: Redis, jobs: dict[Keys, Job]) -> AsyncIterator[Totals]:
    yield Totals.of(jobs.values())
    while not all(job.done for job in jobs.values()):
        await asyncio.sleep(LOOK)
        for keys, job in jobs.items():
            found = await Store(redis, keys).backfill()
            if found is None or found.request != job.request:
                raise WatcherError("the backfill was called off; what it has published stays published")
            jobs[keys] = found
        yield Totals.of(jobs.values())


async def _say_who_works(redis: Redis, settings: Settings, out: Console) -> None:
    now = from_seconds(SystemClock().time())
    status = await read_status(redis, all_keys(settings), [], now)
    for shard in status.shards:
        if shard.holder is None:
            out.print(f"nobody polls shard {shard.shard}: the backfill waits for a daemon (`watcher run`)")


async def _dry_run(settings: Settings, asked: Asked, out: Console) -> Totals:
    """Read the same as the daemon would, out of the same budget; it begins anew each time."""
    clock, metrics = SystemClock(), Metrics()
    async with (
        open_store(settings) as redis,
        open_api(settings.monite, budget_of(settings, redis, clock), clock, metrics) as client,
    ):
        jobs = {
            keys: begun(asked.request(scopes, 1), FIRST_WIDTH)
            for keys, scopes in (await _scopes(settings, redis, asked.scopes)).items()
        }

        async def rehearsed() -> AsyncIterator[Totals]:
            yield Totals.of(jobs.values())
            for keys, job in list(jobs.items()):
                means = Means(
                    source=client,
                    store=Store(redis, keys),
                    policy=policy_of(settings),
                    publication=publication_of(settings),
                    clock=clock,
                    metrics=metrics,
                    jitter=random.random,
                )
                async for jobs[keys] in rehearse(job, means):
                    yield Totals.of(jobs.values())

        return await shown(rehearsed(), out)


async def _scopes(settings: Settings, redis: Redis, named: tuple[str, ...]) -> dict[Keys, list[Scope]]:
    """The scopes to read, by shard: those that are watched, or of them the ones named."""
    entities = settings.monite.entities
    listed = None if entities == "all" else {Scope(entity).key for entity in entities} or {"-"}
    found: dict[Keys, list[Scope]] = {}
    for keys in all_keys(settings):
        store = Store(redis, keys)
        for scope in await store.scopes():
            watched = listed is None or scope.key in listed
            if watched and (not named or scope.key in named) and (await store.load(scope)).start is not None:
                found.setdefault(keys, []).append(scope)
    if unknown := set(named) - {scope.key for scopes in found.values() for scope in scopes}:
        raise ConfigurationError(
            [f"--scope: {name} is not watched; see `watcher status`" for name in sorted(unknown)]
        )
    if not found:
        raise WatcherError("no scope has been watched yet: run `watcher run`")
    return found


async def _stop(settings: Settings) -> None:
    stopped = False
    async with open_store(settings) as redis:
        for keys in all_keys(settings):
            try:
                job = await Store(redis, keys).backfill()
            except StoreUnavailable:
                raise
            except StoreError:
                told = "called off what could not be read"
            else:
                if job is None or job.done:
                    continue
                told = f"called off at {job.share_done:.0%}; {job.progress.published} events were published"
            await call_off(redis, keys)
            print(told)
            stopped = True
    if not stopped:
        print("no backfill is under way")
