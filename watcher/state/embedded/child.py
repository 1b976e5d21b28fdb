"""Run as a script: become another program, bound to the life of the process that asked for it.

    python -I -S child.py PARENT_PID PROGRAM [ARGUMENT...]

So the store's server ends with its daemon, and the demo's daemon with the demo. A script between the two, and not a
``preexec_fn``: code that runs between fork and exec in a process with threads may deadlock. It imports nothing but the
standard library, so it costs some 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process by ``command``, which gets a SIGTERM when ``parent`` dies (Linux only)."""
    os.umask(0o077)  # the program's files are for this user alone
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be watched
        sys.exit(f"who asked for it ended before {command[0]} could start")
    try:
        os.execv(command[0], command)  # noqa: S606 - the caller chose the program; no shell is wanted
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
