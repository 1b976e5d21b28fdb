"""The errors that a person is told about. Each message names what is wrong and how to mend it.

    WatcherError
    ├── ConfigurationError     exit 2: wrong settings or usage, one line per fault
    └── StoreError             the store's trouble, with its mending
        ├── StoreUnavailable       passing: try again
        └── StoreBusy              another daemon holds this data directory

Errors of the API are drawn in ``watcher.monite.errors``.
"""

from __future__ import annotations

from collections.abc import Sequence


class WatcherError(Exception):
    """Anything that the watcher says to a person in one line, without a traceback."""


class ConfigurationError(WatcherError):
    """Settings or usage that cannot work; ``faults`` has one line for each thing to mend."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class StoreError(WatcherError):
    """The store cannot be used as it is."""


class StoreUnavailable(StoreError):  # noqa: N818 - says a state, not a fault of the caller
    """The store does not answer, or answers that it cannot work now; what was asked may be asked again."""


class StoreBusy(StoreError):  # noqa: N818 - as above
    """Another daemon holds the embedded store's data directory."""
