"""The simulated API as a server that is entered and left."""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from watcher.clock import Clock
from watcher.errors import ConfigurationError
from watcher.sandbox.call import ROOT
from watcher.sandbox.faults import Faults
from watcher.sandbox.gateway import Gateway
from watcher.sandbox.intake import LARGEST_FILE
from watcher.sandbox.limiter import RateLimiter
from watcher.sandbox.served import RequestsServed, Served
from watcher.sandbox.world import World

_GRACE_SECONDS: Final = 0.5
"""How long answers under way may still take when the sandbox is left; slow ones are cut off."""


class Sandbox:
    """The simulated OCR API on a port of this machine, while it is entered with ``async with``.

    ``world`` says what there is and which faults it has; ``port`` 0 picks a free one. ``requests_per_second``
    is the limit for each client, 0 is none. Tokens last ``token_seconds``. ``observe`` is called with every
    request once it is answered.

    Entering raises `ConfigurationError` when the address cannot be listened on.
    """

    def __init__(
        self,
        world: World,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        requests_per_second: int = 30,
        token_seconds: int = 1800,
        observe: Callable[[Served], None] | None = None,
    ) -> None:
        self.world = world
        self._host = host
        self._port = port
        limiter = RateLimiter(requests_per_second)
        self._gateway = Gateway(world, clock, limiter, token_seconds, observe)
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """The root of the API, such as ``http://127.0.0.1:41234/v1``, for clients on this machine."""
        if self._runner is None:
            raise RuntimeError("the sandbox has an address only while it is entered")
        host, port = self._runner.addresses[0][:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
        return f"http://[{host}]:{port}{ROOT}" if ":" in host else f"http://{host}:{port}{ROOT}"

    @property
    def requests_served(self) -> RequestsServed:
        """What the sandbox was asked so far."""
        return self._gateway.served

    @property
    def faults(self) -> Faults:
        """The faults of answers; those of tasks are the world's and decided when a task is created."""
        return self._gateway.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._gateway.faults = faults

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=LARGEST_FILE)
        app.router.add_route("*", "/{tail:.*}", self._gateway.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as problem:
            await runner.cleanup()
            raise ConfigurationError([self._why(problem)]) from problem
        self._runner = runner
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _why(self, problem: OSError) -> str:
        address = f"{self._host}:{self._port}"
        if problem.errno == errno.EADDRINUSE:
            return f"{address} is in use: choose another port, or 0 to have a free one picked"
        return f"cannot listen on {address}: {problem.strerror or problem}"
