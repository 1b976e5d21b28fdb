"""``POST /hints`` and ``POST /hooks/monite``: words that a task is worth a look, put on the stream of hints.

Any replica takes them; the one that holds the lease of the task's scope acts on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
import structlog
from aiohttp import web
from pydantic import SecretStr

from watcher.clock import Clock
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.model import Hint, HintSource
from watcher.monite.hooks import SIGNATURE_HEADER, HookFormatError, SignatureRefused, decode_hook, verify
from watcher.ops.access import Access, unauthorized
from watcher.state.hints import HintStream

MOST_IDS: Final = 1000
"""Task ids that one request may hold."""
LARGEST_HINTS: Final = 64 * 1024
"""Bytes of a body of ``/hints``; a thousand ids take 40,000."""
LARGEST_HOOK: Final = 1024 * 1024
"""Bytes of a webhook's body, which may hold the whole task with what was recognised."""
PATIENCE: Final = 5.0
"""Seconds that a body, or the store, may take."""

log = structlog.get_logger()


class _Body(msgspec.Struct):
    task_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_IDS)]
    entity_id: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


class HintIntake:
    """Takes hints over HTTP. ``monite_secret`` is the signing secret of Monite's webhook subscription."""

    def __init__(
        self,
        stream: HintStream,
        access: Access,
        monite_secret: SecretStr | None,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._stream = stream
        self._access = access
        self._secret = monite_secret
        self._clock = clock
        self._metrics = metrics
        self._refusing_hooks = False

    @property
    def routes(self) -> tuple[web.RouteDef, ...]:
        """What to add to a listener."""
        return (web.post("/hints", self._hints), web.post("/hooks/monite", self._monite))

    async def _hints(self, request: web.Request) -> web.Response:
        try:
            self._access.check(request)
            body = await _read(request, LARGEST_HINTS)
            hints = _hints_of(body)
        except web.HTTPError:
            self._refused("http")
            raise
        await self._append(hints)
        return web.json_response({"accepted": len(hints)}, status=202)

    async def _monite(self, request: web.Request) -> web.Response:
        try:
            hint = await self._hook(request)
        except web.HTTPError as refusal:
            self._refused("monite")
            # Nobody here sees the answer, so the log says it, but once: it goes on until somebody mends it.
            say = log.debug if self._refusing_hooks else log.warning
            say("hook.refused", status=refusal.status, reason=refusal.text)
            self._refusing_hooks = True
            raise
        self._refusing_hooks = False
        await self._append([] if hint is None else [hint])
        # Monite documents 200 as the answer that it takes for success; not everywhere any 2xx.
        return web.json_response({"accepted": 0 if hint is None else 1})

    async def _hook(self, request: web.Request) -> Hint | None:
        if self._secret is None and not self._access.loopback:
            # A hint spends a request of the budget: strangers may not give any.
            raise unauthorized(
                "WATCHER_HOOKS__MONITE_SECRET is not set, and this listener is not on loopback"
            )
        body = await _read(request, LARGEST_HOOK)
        try:
            if self._secret is not None:
                signature = request.headers.get(SIGNATURE_HEADER)
                verify(signature, body, self._secret.get_secret_value(), self._clock.time())
            return decode_hook(body)
        except SignatureRefused as error:
            raise web.HTTPUnauthorized(text=str(error)) from None
        except HookFormatError as error:
            raise web.HTTPBadRequest(text=str(error)) from None

    async def _append(self, hints: Sequence[Hint]) -> None:
        if not hints:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._stream.append(hints)
        except StoreUnavailable:
            raise web.HTTPServiceUnavailable(text="the store is away; try again") from None
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="the store does not answer; try again") from None

    def _refused(self, source: HintSource) -> None:
        self._metrics.hints.labels(source=source, outcome="refused").inc()


def _hints_of(body: bytes) -> list[Hint]:
    try:
        given = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec tells where it failed and what it wanted, not what it found.
        raise web.HTTPBadRequest(text=f"the body does not fit: {error}") from None
    hints: dict[Hint, None] = {}
    for place, task_id in enumerate(given.task_ids):
        try:
            hints[Hint.of(task_id, given.entity_id, "http")] = None
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error} (at task_ids[{place}])") from None
    return list(hints)


async def _read(request: web.Request, largest: int) -> bytes:
    """The JSON body, whole.

    Only JSON is taken: a page in a browser on this machine cannot send that to another origin unasked.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="the body must be application/json")
    parts = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.content.iter_any():
                parts += part
                if len(parts) > largest:
                    break
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(text="the body is not encoded as its header says") from None
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {PATIENCE:g} s") from None
    if len(parts) > largest:
        raise web.HTTPRequestEntityTooLarge(
            largest, len(parts), text=f"the body is larger than {largest} bytes"
        )
    return bytes(parts)
