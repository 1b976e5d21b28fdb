"""The steps on an event's way from the API to an endpoint, numbered so that a test can end the process at each.

What has been done by a step stands in the store, or is done again: so it must not matter where a process ends.
"""

from __future__ import annotations

import os
import signal
from enum import IntEnum
from typing import Final

DIE_AT: Final = "OCR_WATCHER_DIE_AT"
"""Environment variable: ``<step>:<times>`` ends the process by SIGKILL the so-many-th time that it comes to a step."""


class Step(IntEnum):
    """Each is reached when what it says has just been done."""

    PAGE_READ = 1
    TASKS_COMPARED = 2
    PAGE_COMMITTED = 3
    ENTRIES_READ = 4
    ENTRIES_ROUTED = 5
    ENTRIES_ACCEPTED = 6
    DELIVERIES_CLAIMED = 7
    DELIVERY_SIGNED = 8
    DELIVERY_ANSWERED = 9
    OUTCOMES_DECIDED = 10
    OUTCOMES_SETTLED = 11


_deadly: Step | None = None
_left = 0


def reached(step: Step) -> None:
    """Go on, unless the process is to end here."""
    if step is _deadly:
        _end()


def arm(where: str) -> None:
    """Have the process end at a step, given as ``DIE_AT`` says; an empty text disarms.

    Raises:
        ValueError: it is not such a text.
    """
    global _deadly, _left
    step, _, times = where.partition(":")
    _deadly, _left = (Step(int(step)), int(times or 1)) if where else (None, 0)


def _end() -> None:
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
