"""One request to the API and its answer: within budget, by a deadline, every failure a ``MoniteError``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final, Protocol, TypeVar

import httpx
import structlog

from watcher.clock import Clock
from watcher.errors import StoreError
from watcher.metrics import Metrics
from watcher.model import from_seconds
from watcher.monite.circuit import Circuit
from watcher.monite.errors import InvalidPage, MoniteError, Unavailable
from watcher.monite.headers import Head, read_head
from watcher.monite.http import MAX_CONNECTIONS, Start, start_of_request
from watcher.monite.messages import clean
from watcher.monite.server_clock import ServerClock
from watcher.monite.verdict import Call, judge, wait_after

T = TypeVar("T")

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of an answer, unpacked. A page of 100 large documents is a few; beyond this something is wrong."""

MAX_ERROR_BODY: Final = 64 * 1024
"""Bytes of an error's body that are read; its message stands at the front."""

_log = structlog.get_logger()


class RequestBudget(Protocol):
    """Says when requests may start. All of it raises ``StoreError`` if it is kept in a store that fails."""

    async def acquire(self) -> Start:
        """Wait until a request may start, and count it."""
        ...

    async def pause_until(self, instant: float) -> None:
        """Start nothing before this instant, in monotonic seconds."""
        ...


class Exchange:
    """Sends requests through ``http`` and reads their answers.

    ``timeout_seconds`` bounds a request from its start to the last byte of its answer; waiting for its turn,
    for the circuit and for the budget is not part of it. At most ``concurrency`` requests are under way;
    ``http`` must have as many connections, or requests that the budget has counted would wait there and then
    start in a crowd.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        budget: RequestBudget,
        circuit: Circuit,
        clock: Clock,
        metrics: Metrics,
        *,
        api_version: str,
        timeout_seconds: float,
        concurrency: int = MAX_CONNECTIONS,
        max_body: int = MAX_BODY,
    ) -> None:
        self.server_clock = ServerClock(clock)
        self._http = http
        self._budget = budget
        self._circuit = circuit
        self._clock = clock
        self._metrics = metrics
        self._api_version = api_version
        self._timeout_seconds = timeout_seconds
        self._turns = asyncio.Semaphore(concurrency)  # wakes its waiters in the order of their coming
        self._max_body = max_body

    @property
    def failing(self) -> bool:
        """Whether the API as a whole gives no usable answer."""
        return self._circuit.is_open

    async def ask(self, call: Call, decode: Callable[[bytes], T]) -> T:
        """Send the request once and decode its answer.

        Raises:
            MoniteError: of any kind; each is counted once.
            StoreError: the budget's store is away.
        """
        try:
            async with self._turns, self._circuit.request(call.scope):
                start = await self._budget.acquire()
                with _told(start):
                    return await self._ask(call, decode)
        except MoniteError as error:
            # That a task is not there is an answer, not a failure.
            if not (call.kind == "task" and error.status == 404):
                self._metrics.upstream_errors.labels(error.reason).inc()
            raise

    async def _ask(self, call: Call, decode: Callable[[bytes], T]) -> T:
        began = self._clock.monotonic()
        head, arrival, body = await self._fetch(call)
        _log.debug(
            "monite.request",
            method=call.method,
            path=call.path,
            status=head.status,
            entity_id=call.entity_id,
            seconds=round(self._clock.monotonic() - began, 6),
            body_bytes=len(body),
            request_id=head.request_id,
            process_time=head.process_time,
        )
        if not head.good:
            raise judge(call, head, body)
        try:
            answer = decode(body)
        except (InvalidPage, Unavailable) as error:
            error.status, error.request_id, error.process_time = (
                head.status,
                head.request_id,
                head.process_time,
            )
            raise
        # Only an answer that makes sense is believed about the time: a gateway's error page may be anybody's.
        if head.date is not None:
            self.server_clock.note(head.date, arrival)
        return answer

    async def _fetch(self, call: Call) -> tuple[Head, float, bytes]:
        """The head, the monotonic instant at which it came, and the body."""
        head: Head | None = None
        arrival = 0.0
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_seconds), self._open(call) as response:
                arrival = self._clock.monotonic()
                head = read_head(response.status_code, response.headers, from_seconds(self._clock.time()))
                await self._heed(head, arrival)
                bound = self._max_body if head.good else MAX_ERROR_BODY
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > bound:
                        break
        except StoreError:
            raise
        # Everything that the transport can raise, not all of which it maps to httpx's own errors: aiohttp's
        # errors, ValueError, zlib's. Their texts and causes may quote the URL or a header, hence "from None".
        except Exception as error:
            # Of an error the status says enough, however its body ends.
            if head is None or head.good:
                raise self._failed(call, head, error) from None
        if head.good and len(body) > self._max_body:
            raise Unavailable(
                f"{call.method} {call.path}: an answer of more than {self._max_body} bytes",
                reason="too_large",
                status=head.status,
                request_id=head.request_id,
                process_time=head.process_time,
            )
        return head, arrival, bytes(body)

    def _open(self, call: Call) -> AbstractAsyncContextManager[httpx.Response]:
        headers = {"x-monite-version": self._api_version}
        if call.token is not None:
            headers["authorization"] = f"Bearer {call.token}"
        if call.entity_id is not None:
            headers["x-monite-entity-id"] = call.entity_id
        if call.content is not None:
            headers["content-type"] = "application/json"
        return self._http.stream(
            call.method, call.path, params=tuple(call.params), headers=headers, content=call.content
        )

    async def _heed(self, head: Head, arrival: float) -> None:
        """Do what the API says of its limits, before anybody else sends a request."""
        wait = wait_after(head)
        if wait is not None:
            await self._budget.pause_until(arrival + wait)

    def _failed(self, call: Call, head: Head | None, error: Exception) -> Unavailable:
        # The transport reports a lost connection as ConnectTimeout; only its cause tells.
        timed_out = isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)
        if timed_out:
            text = f"no complete answer within {self._timeout_seconds:g} s"
        else:
            text = f"{type(error.__cause__ or error).__name__} {error}"
        return Unavailable(
            clean(f"{call.method} {call.path}: {text}", call.unspeakable),
            reason="timeout" if timed_out else "transport",
            status=head.status if head else None,
            request_id=head.request_id if head else None,
            process_time=head.process_time if head else None,
        )


@contextmanager
def _told(start: Start) -> Iterator[None]:
    """Tell it when its request is written."""
    token = start_of_request.set(start)
    try:
        yield
    finally:
        start_of_request.reset(token)
