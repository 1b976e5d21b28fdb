"""A webhook receiver as a subscriber would write it: verifies signatures with the standardwebhooks library."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from watcher.clock import Clock
from watcher.demo.truth import Arrived
from watcher.model import from_seconds


class Receiver:
    """Listens on a free loopback port while entered, and notes what arrives.

    ``unwell`` is asked before each answer: when it says yes the receiver answers 503 instead of taking the
    event, as an endpoint in trouble does.
    """

    def __init__(self, secret: str, arrived: Arrived, clock: Clock, unwell: Callable[[], bool]) -> None:
        self._verifier = Webhook(secret)
        self._arrived = arrived
        self._clock = clock
        self._unwell = unwell
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/ocr", self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/ocr"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._verifier.verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            self._arrived.bad_signatures += 1
            return web.Response(status=401)
        if self._unwell():
            self._arrived.refused += 1
            return web.Response(status=503)
        event_id = request.headers["webhook-id"]
        self._arrived.deliveries[event_id] += 1
        self._arrived.delivered_at.setdefault(event_id, from_seconds(self._clock.time()))
        return web.Response(status=204)
