"""Where the embedded store lives inside the data directory, and how it is reached."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

from watcher.errors import ConfigurationError

SOCKET_PATH_LIMIT: Final = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a unix socket may have: ``sun_path`` less its closing zero."""


class Place:
    """The store's own directory and what is in it.

    It is a directory inside the data directory and not that one itself: the data directory may be a mounted
    volume or another user's, whose permissions are not the daemon's to change.
    """

    def __init__(self, data_dir: Path) -> None:
        # Absolute, but with symbolic links kept: a short link is the way out of a path that is too long.
        self.data_dir = data_dir.expanduser().absolute()
        self.store = self.data_dir / "store"
        self.socket = self.store / "valkey.sock"
        self.log = self.store / "valkey.log"
        self.config = self.store / "valkey.conf"
        self.append_only = self.store / "appendonlydir"

    @property
    def url(self) -> str:
        """The URL of the server that runs here, if one does."""
        return "unix://" + quote(str(self.socket))

    def prepare(self) -> None:
        """Make the directory, readable by this user alone.

        Raises ConfigurationError where the socket's path would be too long or the directory is another user's, and
        OSError where it cannot be made.
        """
        length = len(os.fsencode(self.socket))
        if length > SOCKET_PATH_LIMIT:
            raise ConfigurationError(
                [
                    f"WATCHER_REDIS__DATA_DIR: is too long: the store's socket {self.socket} has {length} bytes "
                    f"and this system allows {SOCKET_PATH_LIMIT}; choose a shorter path or a symbolic link to it"
                ]
            )
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self.store.lstat()
        if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.geteuid():
            raise ConfigurationError(
                [
                    f"WATCHER_REDIS__DATA_DIR: {self.store} belongs to user {owner.st_uid} or is a link, and the "
                    f"watcher runs as user {os.geteuid()}; run it as the owner, or give another directory"
                ]
            )
        self.store.chmod(0o700)

    def clear(self) -> None:
        """Remove what a server leaves behind when killed at a rewrite; only for who knows that none runs."""
        for unfinished in self.store.glob("temp-*"):
            unfinished.unlink(missing_ok=True)


def embedded_url(data_dir: Path) -> str:
    """The URL of the store that a daemon with this data directory runs, for other commands."""
    return Place(data_dir).url
