"""A lock that ends with the processes that hold it, however they end."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive ``flock`` on a file, which also carries a word on who holds it.

    The lock belongs to the open file: a child that inherits the descriptor holds it too, until the last of
    them has closed it. The file itself stays: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Take the lock unless somebody has it; raises OSError where the file cannot be opened or locked."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._fd = fd
        return True

    def fileno(self) -> int:
        """The descriptor to hand on to a child; raises RuntimeError while the lock is not held."""
        if self._fd is None:
            raise RuntimeError(f"{self.path} is not held")
        return self._fd

    def note(self, holder: str) -> None:
        """Write down who holds the lock; raises OSError where that cannot be written."""
        os.ftruncate(self.fileno(), 0)
        os.pwrite(self.fileno(), f"{holder}\n".encode(), 0)

    def holder(self) -> str:
        """What the holder noted, if anything."""
        return self.path.read_text(errors="replace").strip()

    def close(self) -> None:
        """Close this process's descriptor; the lock is free unless a child has it as well."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
