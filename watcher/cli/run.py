"""``watcher run``: the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

import structlog

from watcher import __version__, logs, steps
from watcher.alerts.notifier import check_urls
from watcher.app import App
from watcher.cli.common import event_loop
from watcher.clock import SystemClock
from watcher.derived import doubts
from watcher.descriptors import make_room
from watcher.errors import ConfigurationError
from watcher.model import from_seconds
from watcher.settings import Settings, load_settings
from watcher.state.connection import MOST_CONNECTIONS

FORCED: Final = 1
"""Exit code after a second signal: what was under way was not finished."""

_OTHER_FILES: Final = 200
"""Room for the API, the listener and its callers, logs and libraries."""

log = structlog.get_logger()


def run() -> None:
    """Run the daemon: poll, diff, publish, deliver, alert, serve health.

    SIGTERM stops it cleanly; SIGHUP reads the endpoints' settings again.
    """
    _arm(os.environ.get(steps.DIE_AT, ""))
    settings = load_settings(need_api=True)
    if faults := check_urls([url.get_secret_value() for url in settings.alerts.urls]):
        raise ConfigurationError(faults)
    _log_as(settings)
    for doubt in doubts(settings, from_seconds(SystemClock().time())):
        log.warning("settings.doubtful", doubt=doubt)
    _make_room(settings)
    event_loop(_serve(App(settings), settings))


def _arm(where: str) -> None:
    try:
        steps.arm(where)
    except ValueError as error:
        known = f"a step from {min(steps.Step)} to {max(steps.Step)} and how many times, such as 6:1"
        raise ConfigurationError(
            [f"{steps.DIE_AT}: {where[:80]!r} is no step; give {known}, or nothing"]
        ) from error


def _log_as(settings: Settings, *more: str) -> None:
    """Log as these settings say, with their secrets, and more, masked."""
    logs.configure(settings.log.level, settings.log.format, secrets=(*settings.secret_values(), *more))


def _make_room(settings: Settings) -> None:
    """A lane that has no file for a connection fails, though its endpoint is well, and so does everything else."""
    wanted = sum(endpoint.concurrency for endpoint in settings.webhooks) + MOST_CONNECTIONS + _OTHER_FILES
    allowed = make_room(wanted)
    if allowed is not None:
        log.warning(
            "files.few",
            allowed=allowed,
            wanted=wanted,
            mend="raise the limit of open files (ulimit -Hn, LimitNOFILE=), or lower the endpoints' concurrency",
        )


async def _serve(app: App, settings: Settings) -> None:
    stop = asyncio.Event()

    def on_signal(name: str) -> None:
        if stop.is_set():
            log.warning("daemon.forced", signal=name)
            logs.flush()
            # The embedded store ends with its parent; everything acknowledged is on disk.
            os._exit(FORCED)
        log.info("daemon.stopping", signal=name)
        stop.set()

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, on_signal, each.name)
    reloads: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = loop.create_task(_reload(app, settings), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    log.info("daemon.starting", version=__version__, pid=os.getpid())
    await app.run(stop)
    log.info("daemon.stopped")


async def _reload(app: App, running: Settings) -> None:
    """Take over the endpoints as they are set now; where they cannot be, all stays as it was.

    The log goes on as the ``running`` settings say, whose secrets stay secrets.
    """
    try:
        settings = load_settings(need_api=True)
        _log_as(running, *settings.secret_values())
        await app.reload(settings)
    except ConfigurationError as error:
        for fault in error.faults:
            log.error("settings.refused", fault=fault)
