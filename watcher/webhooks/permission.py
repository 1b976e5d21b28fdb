"""Asks an endpoint whether it may be sent to, where its settings name the origin that asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, assert_never

import structlog

from watcher.clock import Clock
from watcher.settings import Endpoint
from watcher.webhooks.handshake import (
    Granted,
    Refused,
    Unanswered,
    Verdict,
    ask_again_after,
    judge,
    question,
    slowest,
)
from watcher.webhooks.sender import HttpSender, Sender
from watcher.webhooks.unanswered import why_unanswered

_LOOK_SECONDS: Final = 1.0
"""Between two looks at whether an endpoint is still paused or held: so long it is sent nothing after that has ended."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Learned:
    """What an endpoint has said so far, asked at ``url`` for ``origin``: ``rate`` is what it allows; None: any."""

    url: str
    origin: str | None
    granted: bool
    rate: float | None = None
    verdict: Verdict | None = None


class Permission:
    """Whether an endpoint may be sent to, and how fast: by its settings and, if they name an origin, its own word.

    ``note`` is given why nothing may be sent, or an empty text, whenever that was learned. ``silent`` says whether the
    endpoint is paused, or held since it asked for that: then it is not asked either. ``jitter`` gives a fraction from
    0 to 1, anew each time. What was learned ``earlier`` holds on, if it was at the same place and for the same origin.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sender: Sender,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        note: Callable[[str], Awaitable[None]],
        silent: Callable[[], Awaitable[bool]],
        earlier: Learned | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._note = note
        self._silent = silent
        at, origin = endpoint.url, endpoint.origin
        same = earlier is not None and (earlier.url, earlier.origin) == (at, origin)
        self.learned = earlier if earlier and same else Learned(at, origin, granted=origin is None)

    @property
    def granted(self) -> bool:
        """Whether it may be sent to."""
        return self.learned.granted

    def rate(self) -> float | None:
        """Deliveries a second at most; None: as many as there are."""
        return slowest(self._endpoint.rate, self.learned.rate)

    async def run(self, changed: Callable[[], None]) -> None:
        """Ask until permitted, then once a day; ``changed`` is called after each answer. Without an origin, it ends."""
        origin = self._endpoint.origin
        if origin is None:
            await self._note("")
            return
        failures = 0
        while True:
            while await self._silent():
                await self._clock.sleep(_LOOK_SECONDS)
            reply = await self._sender.ask(question(origin, self._endpoint.rate))
            verdict = judge(reply, origin)
            failures = 0 if isinstance(verdict, Granted) else failures + 1
            wait = ask_again_after(
                verdict,
                failures=failures,
                jitter=self._jitter(),
                retry_after=reply.attempt.retry_after,
                now=self._clock.time(),
            )
            self._take(verdict, wait)
            changed()
            await self._note("" if isinstance(verdict, Granted) or self.granted else verdict.why)
            await self._clock.sleep(wait)

    def _take(self, verdict: Verdict, wait: float) -> None:
        """Keep what it says, and say it if it is news."""
        news = verdict != self.learned.verdict
        self.learned = replace(self.learned, verdict=verdict)
        # What is said already stays for those who look closer.
        log = partial(_log.warning if news else _log.debug, endpoint=self._endpoint.name)
        match verdict:
            case Granted(rate):
                self.learned = replace(self.learned, granted=True, rate=rate)
                if news:
                    _log.info("endpoint.permitted", endpoint=self._endpoint.name, rate=self.rate())
            case Refused(why):
                self.learned = replace(self.learned, granted=False)
                log("endpoint.not_permitted", why=why, retry_in=round(wait, 1))
            case Unanswered(why):
                log("endpoint.permission_unanswered", why=why, sends=self.granted, retry_in=round(wait, 1))
            case _:
                assert_never(verdict)


async def ask_once(endpoint: Endpoint, origin: str, clock: Clock) -> Verdict:
    """Ask an endpoint now, past its lane. Where no answer comes, it is said in words why.

    Raises:
        ConfigurationError: the endpoint's certificate file cannot be used.
    """
    sender = HttpSender(endpoint, clock)
    try:
        reply = await sender.ask(question(origin, endpoint.rate))
        verdict = judge(reply, origin)
        why = why_unanswered(reply.attempt.reason, sender.cause, endpoint)
        return Unanswered(f"{verdict.why}: {why}") if why and isinstance(verdict, Unanswered) else verdict
    finally:
        await sender.close()
