"""The daemon's logging for a while: its cost is part of every delivery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from watcher import logs
from watcher.settings import LogSettings


@contextmanager
def logging_as_the_daemon(path: Path, secrets: Sequence[str]) -> Iterator[None]:
    """Log to a file what the daemon logs by default when it has no terminal; all is as before afterwards."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    settings = LogSettings()
    with path.open("w") as stream:
        logs.configure(settings.level, settings.format, stream, secrets)
        try:
            yield
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            structlog.configure(**configuration)
