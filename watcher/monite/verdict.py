"""What an answer other than 2xx means for the request that got it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict

from watcher.model import EntityId, Scope
from watcher.monite.errors import (
    MoniteError,
    PageTokenRejected,
    RateLimited,
    Rejected,
    ScopeRejected,
    Unauthorized,
    Unavailable,
)
from watcher.monite.headers import Head
from watcher.monite.messages import error_message, says_token_expired
from watcher.monite.query import Params

DEFAULT_RETRY_AFTER: Final = 1.0
"""Seconds to wait after a 429 that names none; the API counts by the second."""

EXHAUSTED_PAUSE: Final = 1.0
"""Seconds without requests once the API says that none remain: its limiter counts by the second."""

RESERVE: Final = 1 / 8
"""Share of the API's limit that is left to the customer's own traffic, which has the same limit.

When less remains, requests pause: the longer, the less it is. The watcher's default rate alone leaves more.
"""

USUAL_LIMIT: Final = 30
"""Requests per second that the API allows a client by default, where an answer does not say."""

PASSING: Final = frozenset({408, 425})
"""4xx that blame the moment, not the request: Request Timeout, Too Early."""

Kind = Literal["tasks", "task", "entities", "token"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API, apart from how it is sent.

    ``entity_id`` is sent as ``x-monite-entity-id``; ``token`` is the access token, None for a request that
    gets one; ``page_token`` is the one among ``params``, if any; ``content`` is a JSON body.
    """

    kind: Kind
    path: str
    params: Params = field(default_factory=list, repr=False)
    entity_id: EntityId | None = None
    token: str | None = field(default=None, repr=False)
    page_token: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def method(self) -> str:
        """GET, or POST for what has a body."""
        return "GET" if self.content is None else "POST"

    @property
    def scope(self) -> str | None:
        """Key of the scope that it concerns; None if it concerns all of them."""
        return Scope(self.entity_id).key if self.kind in ("tasks", "task") else None

    @property
    def unspeakable(self) -> tuple[str, ...]:
        """What no message may repeat."""
        return tuple(text for text in (self.token, self.page_token, *self.secrets) if text)


class _Facts(TypedDict):
    status: int
    request_id: str | None
    process_time: str | None


def wait_after(head: Head) -> float | None:
    """For how many seconds from this answer on the API wants no further request; None if it doesn't say."""
    if head.status == 429:
        return DEFAULT_RETRY_AFTER if head.retry_after is None else head.retry_after
    if head.retry_after is not None and not head.good:
        return head.retry_after
    if head.remaining is None:
        return None
    lacking = 1 - head.remaining / (RESERVE * (head.limit or USUAL_LIMIT))
    return EXHAUSTED_PAUSE * lacking if lacking > 0 else None


def judge(call: Call, head: Head, body: bytes) -> MoniteError:
    """The error that an answer other than 2xx amounts to."""
    status = head.status
    said = error_message(status, body, call.unspeakable)
    text = f"{call.method} {call.path}: {status} {said}"
    facts = _Facts(status=status, request_id=head.request_id, process_time=head.process_time)
    if status == 429:
        return RateLimited(text, retry_after=wait_after(head) or 0.0, **facts)
    if status >= 500 or status in PASSING:
        return Unavailable(text, reason="server_error", retry_after=head.retry_after, **facts)
    if status < 400:
        target = f" to {head.moved_to}" if head.moved_to else ""
        return Unavailable(f"{text}{target}: redirects are not followed", reason="redirect", **facts)
    return _refusal(call, status, said)(text, **facts)


def _refusal(call: Call, status: int, said: str) -> type[MoniteError]:
    """The class of a 4xx that will not pass by itself."""
    if call.kind == "token":
        return Rejected if status == 404 else Unauthorized
    if status == 401 or (status == 400 and says_token_expired(said)):
        return Unauthorized
    if status == 403 and call.kind != "entities":
        return ScopeRejected
    if call.page_token is not None:
        return PageTokenRejected
    if status == 404 and call.entity_id is not None:
        return ScopeRejected
    return Rejected
