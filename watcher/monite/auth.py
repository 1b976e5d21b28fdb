"""Where access tokens come from: one that was given, or client credentials that are exchanged for one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from watcher.clock import Clock
from watcher.monite.errors import MoniteError
from watcher.monite.exchange import Exchange
from watcher.monite.verdict import Call
from watcher.monite.wire import decode_token, is_header_safe

LONGEST_MARGIN: Final = 60.0
"""Seconds before its end at which a token is renewed; a short-lived one at four fifths of its life."""


class StaticToken:
    """A token given by the user; once it is refused there is no other. Raises ``ValueError`` if unusable."""

    def __init__(self, token: str) -> None:
        if not is_header_safe(token):
            raise ValueError("the token is not one line of printable characters")
        self._token = token

    async def token(self) -> str:
        """The token."""
        return self._token

    def discard(self, rejected: str) -> bool:
        """Whether there may be another token than the rejected one: no."""
        return rejected != self._token


@dataclass(frozen=True, slots=True)
class _Held:
    """A token in use; instants are monotonic seconds."""

    value: str
    renew_at: float
    ends_at: float


class ClientCredentials:
    """Fetches tokens with ``POST /auth/token`` and renews each ahead of its end.

    However many ask at the same time, one request is made; they share its token, or its failure. If renewing
    fails while the old token is still good, that one is kept and renewal tried again halfway to its end.
    """

    def __init__(self, exchange: Exchange, client_id: str, client_secret: str, clock: Clock) -> None:
        self._exchange = exchange
        self._secret = client_secret
        self._content = msgspec.json.encode(
            {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        )
        self._clock = clock
        self._held: _Held | None = None
        self._fetching = asyncio.Lock()
        self._failures = 0
        self._failure: MoniteError | None = None

    async def token(self) -> str:
        """A token that is good now. Raises ``Unauthorized`` for refused credentials, or why none was got."""
        if (held := self._fresh()) is not None:
            return held
        failures = self._failures
        async with self._fetching:
            if (held := self._fresh()) is not None:
                return held
            if self._failure is not None and self._failures != failures:
                raise self._failure.with_traceback(None)  # of the attempt that this caller waited for
            return await self._renew()

    def discard(self, rejected: str) -> bool:
        """Forget a token that the API refused, unless another has come since; ``token`` gets another."""
        if self._held is not None and self._held.value == rejected:
            self._held = None
        return True

    def _fresh(self) -> str | None:
        held = self._held
        return held.value if held is not None and self._clock.monotonic() < held.renew_at else None

    async def _renew(self) -> str:
        call = Call("token", "/auth/token", content=self._content, secrets=(self._secret,))
        try:
            got = await self._exchange.ask(call, decode_token)
        except MoniteError as error:
            now = self._clock.monotonic()
            if error.retryable and (held := self._held) is not None and now < held.ends_at:
                self._held = _Held(held.value, now + (held.ends_at - now) / 2, held.ends_at)
                return held.value
            self._failures += 1
            self._failure = error
            raise
        now = self._clock.monotonic()
        margin = min(LONGEST_MARGIN, got.lifetime_seconds / 5)
        self._held = _Held(got.value, now + got.lifetime_seconds - margin, now + got.lifetime_seconds)
        return got.value
