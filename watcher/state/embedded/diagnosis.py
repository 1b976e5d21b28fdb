"""Why a server would not start, and what it was trying to say."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Final

from watcher.errors import ConfigurationError, StoreError, WatcherError

_DAMAGED: Final = re.compile(
    r"(?P<aof>Bad file format reading the append only file (?P<name>\S+):)"
    r"|FATAL AOF MANIFEST FILE ERROR"
    r"|Short read or OOM loading DB|Internal error in RDB reading|Wrong RDB checksum|Can't handle RDB format"
    r"|Error reading the RDB base file|Unable to obtain the AOF file|The AOF file \S+ doesn't exist"
)
_NO_PORT: Final = re.compile(
    r"listening socket \S+ (?:bind|listen): (?P<why>.+)\n(?:.*\n)*?.*Failed listening on port"
)
_PASSING: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
)
"""What another try may not meet again; whatever else is wrong with a directory stays so until somebody mends it."""
_LINE_HEAD: Final = re.compile(r"^\d+:\w+ .*? [#*.-] ")
_KEPT: Final = "Nothing in it was changed"


def unusable(error: OSError, store: Path) -> WatcherError:
    """What to tell of a directory in which the store cannot be run."""
    where = f"the embedded store cannot use {error.filename or store} ({error.strerror})"
    if error.errno in _PASSING:
        return StoreError(f"{where}: make room, or point WATCHER_REDIS__DATA_DIR elsewhere")
    return ConfigurationError(
        [f"WATCHER_REDIS__DATA_DIR: {where}; give a directory on a local disk that this user may write"]
    )


def explain(log: str, code: int, *, port: int | None, checker: Path, append_only: Path) -> WatcherError:
    """Why the server ended, in one line, and how to mend it.

    ``log`` is what it wrote since its start, ``code`` its exit code or the negative number of a signal.
    ``checker`` is the server's program under the name that makes it examine an append-only file, and
    ``append_only`` the directory of those files.
    """
    damage = _DAMAGED.search(log)
    if damage and damage["aof"]:
        # Given the manifest instead, the checker of Valkey 9.1 takes a sound base file for a damaged one.
        file = append_only / damage["name"]
        return StoreError(
            f"the embedded store's file {file} is damaged and was not loaded. {_KEPT}: copy {append_only}, "
            f"then cut the file off where the damage begins, with: {checker} --fix {file}"
        )
    if damage:
        return StoreError(
            f"the embedded store's files in {append_only} are damaged and were not loaded ({damage[0]}). "
            f"{_KEPT}: bring that directory back from a backup, or move it away to begin anew"
        )
    if "No space left on device" in log:
        return StoreError(
            f"the disk that holds {append_only.parent} is full: make room or move WATCHER_REDIS__DATA_DIR"
        )
    if refused := _NO_PORT.search(log):
        return ConfigurationError(
            [
                f"WATCHER_REDIS__PORT: the embedded store cannot listen on 127.0.0.1:{port} ({refused['why']}); "
                "stop what uses it, or choose another port"
            ]
        )
    return StoreError(
        f"the embedded server ended with {code} ({_last_line(log)}): see {append_only.parent}/valkey.log, "
        "or set WATCHER_REDIS__URL to a server of your own"
    )


def _last_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return _LINE_HEAD.sub("", lines[-1]) if lines else "it said nothing; is the disk full?"
