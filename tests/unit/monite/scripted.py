"""A client whose every answer the test has written down, on a clock that the test moves."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.fakes import FakeClock
from watcher.metrics import Metrics
from watcher.monite.budget import Budget
from watcher.monite.circuit import Circuit
from watcher.monite.exchange import Exchange

BASE = "https://api.example/v1"

Answer = httpx.Response | Exception | Callable[[httpx.Request], Awaitable[httpx.Response]]


def answer(status: int = 200, json: object = None, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"data": []} if json is None else json, headers=names)


def granted(token: str, expires_in: float = 3600) -> httpx.Response:
    return answer(json={"access_token": token, "expires_in": expires_in, "token_type": "Bearer"})


class ScriptedApi:
    """Gives the answers in their order and remembers what was asked, and when."""

    def __init__(self, *answers: Answer, rate: float = 10, **options: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.budget = Budget(rate, self.clock)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._handle), base_url=BASE)
        self.exchange = Exchange(
            self.http,
            self.budget,
            Circuit(self.clock, self.metrics, lambda: 0.5),
            self.clock,
            self.metrics,
            **{"api_version": "2024-05-25", "timeout_seconds": 10, **options},
        )

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(self.clock.monotonic())
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, httpx.Response) else await given(request)

    @property
    def tokens(self) -> list[str | None]:
        """The access token that each request carried."""
        return [request.headers.get("authorization") for request in self.requests]

    @property
    def paths(self) -> list[str]:
        return [request.url.path.removeprefix("/v1") for request in self.requests]

    def errors(self) -> dict[str, float]:
        """Failed requests by their reason, as counted."""
        (metric,) = self.metrics.upstream_errors.collect()
        return {
            sample.labels["reason"]: sample.value
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
