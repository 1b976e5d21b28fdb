"""What can go wrong between the watcher and the API. The type says whether asking again may help.

    MoniteError
    ├── Unavailable          transport, time-out, 5xx, redirect, no JSON       again, with backoff
    ├── RateLimited          429                                               again, after ``retry_after``
    ├── InvalidPage          an answer that does not validate                  again; nothing of it is used
    ├── PageTokenRejected    4xx for a request that carried a page token       start the listing over
    ├── Unauthorized         credentials or token refused, renewal included    a person must mend it
    ├── ScopeRejected        the tasks of this entity may not, or no longer, be read
    └── Rejected             any other 4xx: what was asked is wrong

A message never holds a token, a secret or anything of a row. Every failed request is counted once, by its
``reason``, in ``watcher_upstream_errors_total``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from watcher.errors import WatcherError

Reason = Literal[
    "timeout",
    "transport",
    "server_error",
    "redirect",
    "not_json",
    "too_large",
    "rate_limited",
    "invalid_page",
    "page_token",
    "unauthorized",
    "scope_rejected",
    "rejected",
]
"""The closed set of metric labels."""


class MoniteError(WatcherError):
    """A request to the API that failed.

    ``reason`` is the metric label, ``status`` the HTTP status (None when no answer came), ``request_id`` and
    ``process_time`` the API's ``x-request-id`` and ``x-process-time``, which its support asks for.
    """

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later without anybody mending anything."""

    reason: Reason

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        process_time: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.process_time = process_time

    @property
    def fields(self) -> dict[str, str | int]:
        """What a log line says of this failure; holds only what is known."""
        known = {
            "reason": self.reason,
            "error": str(self),
            "status": self.status,
            "request_id": self.request_id,
            "process_time": self.process_time,
        }
        return {name: value for name, value in known.items() if value is not None}


class Unavailable(MoniteError):  # noqa: N818 - says a state, not a fault of the caller
    """The API gave no usable answer. ``retry_after`` is its own wish in seconds, if it stated one."""

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["timeout", "transport", "server_error", "redirect", "not_json", "too_large"],
        retry_after: float | None = None,
        status: int | None = None,
        request_id: str | None = None,
        process_time: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, process_time=process_time)
        self.reason = reason
        self.retry_after = retry_after


class RateLimited(MoniteError):  # noqa: N818 - says a state, not a fault of the caller
    """Too many requests; nothing is sent for ``retry_after`` seconds, which the budget already sees to."""

    retryable = True
    reason = "rate_limited"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        status: int | None = None,
        request_id: str | None = None,
        process_time: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, process_time=process_time)
        self.retry_after = retry_after


class InvalidPage(MoniteError):  # noqa: N818 - says what came, not a fault of the caller
    """An answer of the right kind whose content breaks the schema; nothing of it was used."""

    retryable = True
    reason = "invalid_page"


class PageTokenRejected(MoniteError):  # noqa: N818 - says what happened, as its siblings do
    """The page token is no longer good; the listing starts over from its query, or from half its range."""

    reason = "page_token"


class Unauthorized(MoniteError):  # noqa: N818 - named after the HTTP status
    """The API refuses the credentials, or a token that was new."""

    reason = "unauthorized"


class ScopeRejected(MoniteError):  # noqa: N818 - says what happened, as its siblings do
    """The tasks of this scope may not be read (403), or its entity is gone (404). Other scopes go on."""

    reason = "scope_rejected"


class Rejected(MoniteError):  # noqa: N818 - says what happened, as its siblings do
    """The API refuses the request for another reason; its message says which."""

    reason = "rejected"
