"""Times as people write them on the command line."""

from __future__ import annotations

from datetime import datetime

from watcher.errors import ConfigurationError
from watcher.model import Micros, from_datetime


def instant(option: str, text: str) -> Micros:
    """The instant that a person wrote after an option, in UTC unless it says otherwise.

    Raises:
        ConfigurationError: it is no time.
    """
    try:
        # What the API cannot have been asked for; years of less than four digits would not even be times to it.
        return max(Micros(0), from_datetime(datetime.fromisoformat(text)))
    except ValueError:
        fault = f"{option}: {text!r} is not a time; write it like 2026-11-23T04:00:00Z"
        raise ConfigurationError([fault]) from None
