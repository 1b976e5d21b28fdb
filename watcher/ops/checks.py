"""The checks of ``watcher check``: each tries the real thing once and says what it found. No secret is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from watcher.alerts.notifier import check_urls
from watcher.clock import SystemClock
from watcher.errors import StoreBusy, StoreError, StoreUnavailable, WatcherError
from watcher.metrics import Metrics
from watcher.model import Scope
from watcher.monite.budget import Budget
from watcher.monite.errors import MoniteError, Reason
from watcher.monite.opened import open_api
from watcher.monite.query import EntityQuery, TaskQuery
from watcher.ops.reach import CheckError, reach
from watcher.settings import MoniteSettings, Settings
from watcher.state.connection import connect
from watcher.state.durability import weaknesses
from watcher.state.embedded import EmbeddedServer
from watcher.state.format import readable
from watcher.state.inspection import inspect
from watcher.state.layout import shards_of
from watcher.state.release import release
from watcher.state.spread import fitting
from watcher.state.writing import try_write


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``doubt`` marks what works and may cost something all the same."""

    name: str
    good: bool
    text: str
    doubt: bool = False


async def run_checks(settings: Settings, show: Callable[[Finding], None]) -> list[Finding]:
    """Run every check in turn, showing each finding as it comes."""
    checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("API", lambda: _api(settings)),
        ("store", lambda: _store(settings)),
        *(
            (f"endpoint {endpoint.name}", lambda endpoint=endpoint: reach(endpoint, SystemClock()))
            for endpoint in settings.webhooks
        ),
    ]
    if settings.alerts.urls:
        checks.append(("alerts", lambda: _alerts(settings)))
    findings = []
    for name, look in checks:
        try:
            finding = Finding(name, True, await look())
        except WatcherError as error:
            finding = Finding(name, False, str(error))
        show(finding)
        findings.append(finding)
        if name == "store" and finding.good:
            for more in await _durability(settings):
                show(more)
                findings.append(more)
    return findings


async def _durability(settings: Settings) -> list[Finding]:
    """What the store's own settings put at risk, or make impossible. An embedded one's are the watcher's."""
    wanted = settings.redis
    if wanted.url is None:
        return []
    async with aclosing(connect(wanted.url.get_secret_value())) as redis:
        try:
            readings = await inspect(redis)
        except StoreError as error:
            return [Finding("store", True, f"its settings could not be checked: {error}", doubt=True)]
    found = weaknesses(readings, failover=wanted.survives_a_server, wait_replicas=wanted.wait_replicas)
    return [
        Finding("store", not weakness.fatal, str(weakness), doubt=not weakness.fatal) for weakness in found
    ]


async def _api(settings: Settings) -> str:
    """Authenticate and list once."""
    try:
        return await _listed(settings)
    except MoniteError as error:
        blamed = _blamed(error.reason, settings.monite)
        raise CheckError(f"{error}; see {blamed}" if blamed else str(error)) from error


def _blamed(reason: Reason, wanted: MoniteSettings) -> str:
    """The settings that may be why; none where the API itself is in trouble."""
    token = "WATCHER_MONITE__TOKEN"  # noqa: S105 - a setting's name
    credentials = token if wanted.token else "WATCHER_MONITE__CLIENT_ID and WATCHER_MONITE__CLIENT_SECRET"
    match reason:
        case "unauthorized":
            return credentials
        case "scope_rejected":
            return "WATCHER_MONITE__ENTITIES" if wanted.entities else credentials
        case "rejected":
            return "WATCHER_MONITE__BASE_URL and WATCHER_MONITE__API_VERSION"
        case "transport" | "timeout" | "redirect" | "not_json" | "invalid_page":
            return "WATCHER_MONITE__BASE_URL"
        case _:
            return ""


async def _listed(settings: Settings) -> str:
    clock = SystemClock()
    wanted = settings.monite
    budget = Budget(wanted.requests_per_second, clock)
    async with open_api(wanted, budget, clock, Metrics()) as client:
        await client.authenticate()
        if wanted.entities == "all":
            page = await client.list_entities(EntityQuery(limit=1))
            return f"{wanted.base_url} authenticates and lists entities ({len(page.entities) or 'none yet'})"
        scopes = [Scope(entity) for entity in wanted.entities] or [Scope()]
        for scope in scopes:
            await client.list_tasks(scope, TaskQuery(limit=1))
        return f"{wanted.base_url} authenticates and lists tasks of {len(scopes)} scope(s)"


async def _store(settings: Settings) -> str:
    """Reach the store; an embedded one is started for a moment unless a daemon runs it already."""
    wanted = settings.redis
    if wanted.url is not None:
        try:
            return await _answers(wanted.url.get_secret_value(), settings)
        except StoreUnavailable as error:
            raise CheckError(f"{error}; see WATCHER_REDIS__URL") from error
    server = EmbeddedServer(wanted.data_dir, wanted.port)
    try:
        await server.start()
    except StoreBusy:
        return f"embedded in {wanted.data_dir}, run by a daemon: {await _answers(server.url, settings)}"
    try:
        return f"embedded in {wanted.data_dir}: {await _answers(server.url, settings)}"
    finally:
        await server.stop()


async def _answers(url: str, settings: Settings) -> str:
    namespace, shards = settings.redis.namespace, settings.redis.shards
    async with aclosing(connect(url)) as redis:
        answering = await release(redis)
        await fitting(redis, namespace, shards)
        await readable(redis, shards_of(namespace, shards))
        try:
            await try_write(redis, shards_of(namespace, shards))
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise CheckError(f"{answering} answers, but {error}") from error
    return f"{answering} answers and takes writes"


async def _alerts(settings: Settings) -> str:
    """See that Apprise can use every URL; nothing is sent."""
    urls = [url.get_secret_value() for url in settings.alerts.urls]
    if faults := await asyncio.to_thread(check_urls, urls):
        raise CheckError("; ".join(faults))
    return f"Apprise takes {len(urls)} URL(s); nothing was sent"
