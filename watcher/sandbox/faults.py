"""The faults that the simulated API can have, each with its own probability, and none unless asked for.

Faults of an answer are drawn for each request and change what one client sees once. Faults of a task are
drawn for each task and change what every client sees. ``USUAL_FAULTS`` is what ``--faults`` switches on:
everything from which a correct watcher recovers without a transition missing or told twice. Two are left out,
because what they do cannot be told from outside: a task that is deleted before it has ended has no end to be
seen, and a terminal status that changes again may be overwritten between two looks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

from watcher.sandbox.draws import draws


class Fault(StrEnum):
    """What can go wrong with one answer; the values are the names of the fields of `Faults`."""

    RESET = "reset"
    SERVER_ERROR = "server_error"
    HTML_PAGE = "html_page"
    THROTTLED = "throttled"
    SLOW = "slow"
    TRUNCATED = "truncated"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - the name of a fault, not a secret
    REJECTED_PAGE_TOKEN = "rejected_page_token"  # noqa: S105 - as above
    MALFORMED = "malformed"
    ODD_FIELDS = "odd_fields"
    MISSING_ROWS = "missing_rows"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities from 0 to 1 of each fault, and how long those with a length last, in seconds.

    Of an answer:
        reset: the connection is reset before anything is answered; a POST has had no effect.
        server_error: 500, 502 or 503 with a JSON body in one of the API's shapes, or with an HTML page.
        html_page: 200 with an HTML page, as a captive portal or a proxy would answer.
        throttled: 429 with ``Retry-After``; begins a burst of ``throttle_seconds`` in which all get it.
        slow: the answer comes after ``slow_seconds``, longer than clients wait.
        truncated: ``content-length`` promises more than is sent before the connection is closed.
        expired_token: 401, or as a sister product does 400, "The token has been expired."
        rejected_page_token: 400 in the middle of a listing.
        malformed: a listing or a task with a required field missing or of the wrong type.
        odd_fields: unknown fields are added, fields that are null are left out, the time stamps are written
            with ``Z`` or without an offset.
        missing_rows: about half of the rows asked for by ``id__in`` are missing.
        stale: the answer is from a copy of the data that is up to ``stale_seconds`` old.

    Of a task:
        late: the row becomes visible only 1 to 10 s after it was created (at a visibility scale of 1).
        canceled: the status is the undocumented ``canceled`` for the last part of the processing.
        deleted: the row is gone one to three minutes after it had ended and could be seen.
        deleted_unfinished: the row is gone before it has ended.
        revised: 2 to 20 s after it ended, success turns into error or the other way round.

    ``one_field_cursor``: pages in order of ``created_at`` go on after the last row's time stamp, so that rows
    of the same instant at the edge of a page are skipped (an older page of the documentation says so).

    Raises ValueError when a probability is outside 0 to 1 or a length is negative.
    """

    reset: float = 0.0
    server_error: float = 0.0
    html_page: float = 0.0
    throttled: float = 0.0
    slow: float = 0.0
    truncated: float = 0.0
    expired_token: float = 0.0
    rejected_page_token: float = 0.0
    malformed: float = 0.0
    odd_fields: float = 0.0
    missing_rows: float = 0.0
    stale: float = 0.0
    late: float = 0.0
    canceled: float = 0.0
    deleted: float = 0.0
    deleted_unfinished: float = 0.0
    revised: float = 0.0
    one_field_cursor: bool = False
    throttle_seconds: float = 2.0
    slow_seconds: float = 15.0
    stale_seconds: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_seconds"):
                if not 0 <= value < float("inf"):
                    raise ValueError(f"{field.name} must be a length in seconds, not {value}")
            elif not 0 <= value <= 1:
                raise ValueError(f"{field.name} must be a probability from 0 to 1, not {value}")


NO_FAULTS: Final = Faults()

USUAL_FAULTS: Final = Faults(
    reset=0.01,
    server_error=0.03,
    html_page=0.01,
    throttled=0.003,
    slow=0.002,
    truncated=0.01,
    expired_token=0.01,
    rejected_page_token=0.03,
    malformed=0.01,
    odd_fields=0.1,
    missing_rows=0.03,
    stale=0.05,
    late=0.02,
    canceled=0.02,
    deleted=0.02,
    one_field_cursor=True,
)
"""What ``--faults`` switches on."""


def strike(faults: Faults, seed: int, request: int) -> frozenset[Fault]:
    """The faults that the ``request``-th answer has. Each has its own draw: changing one changes no other."""
    first, second = draws(seed, "answer", request), draws(seed, "answer-more", request)
    return frozenset(
        fault
        for fault, draw in zip(Fault, first + second, strict=False)
        if draw < getattr(faults, fault.value)
    )


def with_fault(faults: Faults, text: str) -> Faults:
    """The faults with one changed by ``name=value``, such as ``stale=0.2`` or ``slow_seconds=5``.

    Raises ValueError, saying what is wrong, when there is no such fault or no such value.
    """
    name, _, value = text.partition("=")
    names = {field.name for field in fields(Faults)}
    if name not in names:
        raise ValueError(f"there is no fault {name!r}; there are {', '.join(sorted(names))}")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} needs a number, such as {name}=0.1") from None
    changes: dict[str, Any] = {name: number > 0 if name == "one_field_cursor" else number}
    return replace(faults, **changes)
