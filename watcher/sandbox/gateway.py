"""What stands before the API: it counts, limits, lets faults happen, and puts the headers on every answer."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate
from itertools import count
from math import ceil
from typing import Final

from aiohttp import web

from watcher.clock import Clock
from watcher.model import SECOND, Micros, from_seconds
from watcher.sandbox import tokens
from watcher.sandbox.answers import EXPIRED, NOT_FOUND, TOO_MANY, Answer, Refusal, error, html, message
from watcher.sandbox.call import Call, kind_of
from watcher.sandbox.draws import uuid_for
from watcher.sandbox.faults import Fault, Faults, strike
from watcher.sandbox.intake import Intake
from watcher.sandbox.limiter import Allowance, RateLimiter
from watcher.sandbox.listings import Listings
from watcher.sandbox.served import RequestsServed, Served
from watcher.sandbox.world import World

_CLOSE_WITH_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on with no time to linger: closing sends RST instead of FIN."""


class Gateway:
    """Answers every request of the simulated API. ``faults`` may be changed while it runs."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        limiter: RateLimiter,
        token_seconds: int,
        observe: Callable[[Served], None] | None = None,
    ) -> None:
        self.faults: Faults = world.faults
        self.served = RequestsServed()
        self._clock = clock
        self._seed = world.settings.seed
        self._limiter = limiter
        self._listings = Listings(world)
        self._intake = Intake(world, token_seconds)
        self._observe = observe
        self._numbers = count()
        self._throttled_until = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or break the connection where that fault is drawn."""
        number = next(self._numbers)
        arrived, started = self._clock.time(), self._clock.monotonic()
        struck = strike(self.faults, self._seed, number)
        call = Call(request, kind_of(request), number, from_seconds(arrived), self._seed, struck)
        self.served.arrived(call.kind, arrived)
        if call.hit(Fault.RESET):
            self._told(call, arrived, 0)
            return _reset(request)
        allowance = self._limiter.take(_client(request), arrived)
        answer = await self._answer(call, allowance)
        if call.hit(Fault.SLOW):
            await self._clock.sleep(self.faults.slow_seconds)
        headers = self._headers(call, answer, allowance, self._clock.monotonic() - started)
        cut = bool(answer.body) and call.hit(Fault.TRUNCATED)
        self._told(call, arrived, answer.status)
        if cut:
            return await _cut_short(request, answer, headers)
        return web.Response(
            body=answer.body, status=answer.status, content_type=answer.content_type, headers=headers
        )

    async def _answer(self, call: Call, allowance: Allowance) -> Answer:
        try:
            self._pass(call, allowance)
            return await self._operate(call)
        except Refusal as refusal:
            return refusal.answer
        except web.HTTPRequestEntityTooLarge:
            return error(413, "The body is too large.")

    def _pass(self, call: Call, allowance: Allowance) -> None:
        """Raise the `Refusal` with which the gateway itself answers, if it does."""
        if not allowance.granted:
            raise Refusal(message(429, TOO_MANY, retry_after=allowance.reset_seconds))
        now = self._clock.monotonic()
        if now >= self._throttled_until and call.hit(Fault.THROTTLED):
            self._throttled_until = now + self.faults.throttle_seconds
        if now < self._throttled_until:
            raise Refusal(message(429, TOO_MANY, retry_after=ceil(self._throttled_until - now)))
        if call.hit(Fault.SERVER_ERROR):
            raise Refusal(_SERVER_ERRORS[int(call.draw("server_error") * len(_SERVER_ERRORS))])
        if call.hit(Fault.HTML_PAGE):
            raise Refusal(html(200, "Checking your connection"))

    async def _operate(self, call: Call) -> Answer:
        if call.kind == "other":
            return NOT_FOUND
        _check_version(call)
        if call.kind == "token":
            return await self._intake.token(call)
        tokens.check(_token(call.request), call.now / SECOND)
        if call.hit(Fault.EXPIRED_TOKEN):
            raise Refusal(error(401 if call.draw("expired") < 0.5 else 400, EXPIRED))
        match call.kind:
            case "list" | "list_ids":
                return self._listings.tasks(call, self._as_of(call))
            case "get":
                return self._listings.task(call, self._as_of(call))
            case "create":
                return await self._intake.from_url(call)
            case "upload":
                return await self._intake.from_file(call)
            case _:
                return self._listings.entities(call)

    def _as_of(self, call: Call) -> Micros:
        if not call.hit(Fault.STALE):
            return call.now
        return Micros(call.now - round(call.draw("stale") * self.faults.stale_seconds * SECOND))

    def _headers(self, call: Call, answer: Answer, allowance: Allowance, took: float) -> dict[str, str]:
        headers = {
            "Date": formatdate(self._clock.time(), usegmt=True),
            "x-request-id": uuid_for(self._seed, "request", call.number).replace("-", ""),
            "x-process-time": f"{took:.6f}",
        }
        if allowance.limit:
            headers |= {
                "RateLimit-Limit": str(allowance.limit),
                "RateLimit-Remaining": str(allowance.remaining),
                "RateLimit-Reset": str(allowance.reset_seconds),
                "X-RateLimit-Limit-Second": str(allowance.limit),
                "X-RateLimit-Remaining-Second": str(allowance.remaining),
            }
        if answer.retry_after is not None:
            headers["Retry-After"] = str(answer.retry_after)
        return headers

    def _told(self, call: Call, arrived: float, status: int) -> None:
        served = Served(
            at=arrived,
            kind=call.kind,
            method=call.request.method,
            target=call.request.path_qs,
            status=status,
            rows=call.rows,
            faults=tuple(sorted(call.happened)),
        )
        self.served.answered(served)
        if self._observe is not None:
            self._observe(served)


_SERVER_ERRORS: Final = (
    error(500, "Internal server error"),
    error(503, "Service unavailable", "service_unavailable"),
    message(502, "An invalid response was received from the upstream server"),
    message(503, "name resolution failed"),
    html(502, "502 Bad Gateway"),
    html(503, "503 Service Temporarily Unavailable"),
)


def _token(request: web.Request) -> str:
    return tokens.bearer(request.headers.get("Authorization"))


def _client(request: web.Request) -> str:
    """Who the request counts for: the client of its token, or else the address that it comes from."""
    token = _token(request)
    return f"client {tokens.client_of(token)}" if token else f"address {request.remote}"


def _check_version(call: Call) -> None:
    if not call.request.headers.get("x-monite-version"):
        raise Refusal(error(400, "The x-monite-version header is required.", "missing_api_version"))


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:
        # Through a duplicate, because the loop's own socket object may not offer setsockopt (uvloop).
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_WITH_RESET)
        transport.abort()
    return web.Response()  # never sent: the connection is gone


async def _cut_short(request: web.Request, answer: Answer, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    response.force_close()
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
