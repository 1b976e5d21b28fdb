import asyncio
from collections.abc import Iterable

import pytest
from structlog.testing import capture_logs

from tests.fakes import FakeClock, settle
from watcher.errors import StoreUnavailable
from watcher.metrics import Metrics
from watcher.monite.breaker import FIRST, THRESHOLD
from watcher.monite.circuit import Circuit
from watcher.monite.errors import (
    InvalidPage,
    PageTokenRejected,
    RateLimited,
    Rejected,
    ScopeRejected,
    Unauthorized,
    Unavailable,
)


def unavailable() -> Unavailable:
    return Unavailable("bad gateway", reason="server_error", status=502, request_id="r-1")


class Line:
    """A circuit, and requests through it that end as the test says."""

    def __init__(self, jitter: float = 1.0) -> None:
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.circuit = Circuit(self.clock, self.metrics, lambda: jitter)
        self.under_way: dict[str, asyncio.Future[None]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, scope: str | None, failure: Exception | None = None) -> None:
        """A request that is over at once."""
        async with self.circuit.request(scope):
            if failure is not None:
                raise failure

    async def fail(self, scopes: Iterable[str | None]) -> None:
        for scope in scopes:
            with pytest.raises(Unavailable):
                await self.ask(scope, unavailable())

    def begin(self, name: str) -> None:
        """A request that ends when told."""

        async def run() -> None:
            async with self.circuit.request(name):
                self.under_way[name] = asyncio.get_running_loop().create_future()
                try:
                    await self.under_way[name]
                finally:
                    del self.under_way[name]

        self.tasks[name] = asyncio.create_task(run())

    async def end(self, name: str, failure: Exception | None = None) -> None:
        future = self.under_way[name]
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
        await asyncio.wait([self.tasks.pop(name)])
        await settle()

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    @property
    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value("watcher_breaker_open")


async def test_while_the_api_answers_nothing_is_held_back() -> None:
    line = Line()
    for number in range(40):
        line.begin(f"s{number}")
    await settle(100)
    assert len(line.under_way) == 40
    assert line.gauge == 0
    await line.stop()


async def test_one_request_tries_while_the_others_wait_and_then_all_go_in_their_order() -> None:
    line = Line()
    await line.fail("ab" * 2 + "a")
    assert line.gauge == 1
    for name in "wxyz":
        line.begin(name)
    await line.clock.advance(FIRST - 0.01)
    assert not line.under_way
    await line.clock.advance(0.01)
    assert list(line.under_way) == ["w"]
    await line.clock.advance(100)
    assert list(line.under_way) == ["w"], "it has all the time that it needs"
    await line.end("w", unavailable())
    await line.clock.advance(2 * FIRST - 0.01)
    assert not line.under_way
    await line.clock.advance(0.01)
    assert list(line.under_way) == ["x"], "another scope's turn"
    assert line.gauge == 1
    await line.end("x")
    assert list(line.under_way) == ["y", "z"]
    assert line.gauge == 0
    await line.stop()


@pytest.mark.parametrize(
    "failure",
    [
        Rejected("no", status=400),
        ScopeRejected("gone", status=404),
        Unauthorized("who", status=401),
        PageTokenRejected("old", status=400),
        InvalidPage("odd"),
        RateLimited("slow down", retry_after=1.0, status=429),
        StoreUnavailable("the store: gone"),
        asyncio.CancelledError(),
    ],
)
async def test_only_an_outage_counts(failure: Exception) -> None:
    line = Line()
    for scope in ("a", "b", None) * THRESHOLD:
        with pytest.raises(type(failure)):
            await line.ask(scope, failure)
    assert line.gauge == 0
    await line.ask("a")


@pytest.mark.parametrize(
    ("failure", "closes"),
    [
        (None, True),
        (Rejected("no", status=400), True),
        (ScopeRejected("gone", status=404), True),
        (InvalidPage("odd"), True),
        (RateLimited("slow down", retry_after=1.0, status=429), False),
        (StoreUnavailable("the store: gone"), False),
        (unavailable(), False),
    ],
)
async def test_what_closes_it_is_an_answer(failure: Exception | None, closes: bool) -> None:
    line = Line(jitter=0.0)
    await line.fail("ab" * 2 + "a")
    line.begin("x")
    await settle()
    await line.end("x", failure)
    assert line.gauge == (0 if closes else 1)
    line.begin("y")
    await settle()
    assert list(line.under_way) == ["y"], "and another may try at once"
    await line.stop()


async def test_one_that_is_cancelled_lets_another_try() -> None:
    line = Line()
    await line.fail("ab" * 2 + "a")
    for name in "wxyz":
        line.begin(name)
    await settle()
    line.tasks.pop("w").cancel()  # while it waits for the moment
    line.tasks.pop("y").cancel()  # while it waits behind the others
    await line.clock.advance(FIRST)
    assert list(line.under_way) == ["x"]
    line.tasks.pop("x").cancel()  # while it tries
    line.begin("new")  # comes before the next has noticed, and does not overtake it
    await settle()
    assert list(line.under_way) == ["z"]
    await line.end("z")
    assert list(line.under_way) == ["new"]
    assert line.gauge == 0
    await line.stop()


async def test_what_began_before_is_no_answer_to_whether_it_is_over() -> None:
    line = Line()
    line.begin("early")
    await settle()
    await line.fail("ab" * 2 + "a")
    await line.end("early")
    line.begin("x")
    await settle()
    assert not line.under_way
    assert line.gauge == 1
    await line.stop()


async def test_it_is_said_once_and_so_is_its_end() -> None:
    line = Line()
    with capture_logs() as logs:
        await line.fail("ab" * 2)
        assert not line.circuit.is_open
        await line.fail("a")
        assert line.circuit.is_open
        for name, outcome in (("w", unavailable()), ("x", unavailable()), ("y", None)):
            line.begin(name)
            await line.clock.advance(10)
            await line.end(name, outcome)
    assert not line.circuit.is_open
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("breaker.opened", "warning"),
        ("breaker.closed", "info"),
    ]
    assert (logs[0]["reason"], logs[0]["request_id"], logs[0]["failures"]) == (
        "server_error",
        "r-1",
        THRESHOLD,
    )
    assert (logs[1]["seconds"], logs[1]["probes"]) == (30.0, 3)
