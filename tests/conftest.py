from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# No deadline: how long an example takes says more of the machine's load than of the code.
settings.register_profile("watcher", deadline=None)
# The same examples in every run of CI: a new one is found at a desk, where somebody can look at it.
settings.register_profile("ci", deadline=None, derandomize=True)
# For hours: ten thousand worlds, each another in every run.
settings.register_profile("soak", deadline=None, max_examples=5000)
settings.load_profile("ci" if "CI" in os.environ else "watcher")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What is under test configures the log of the whole process, on streams that end with the test."""
    loggers = [logging.getLogger(name) for name in (None, "httpx", "httpcore", "aiohttp.access", "apprise")]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
        logger.handlers.clear()
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
