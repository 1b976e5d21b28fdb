"""Open files: each connection is one, and many systems give a process 256 or 1024 unless it asks for more."""

from __future__ import annotations

import resource


def make_room(wanted: int) -> int | None:
    """Have this process allowed so many open files. Returns how many it may have where those are fewer, else None."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _within(wanted, soft):
        return None
    allowed = wanted if _within(wanted, hard) else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # macOS has a limit of its own below the one that it names
        return soft
    return None if allowed == wanted else allowed


def _within(wanted: int, limit: int) -> bool:
    return limit == resource.RLIM_INFINITY or wanted <= limit
