"""Name resolution for one lane, on a thread of its own.

The event loop's resolver has a handful of threads for the whole process: a few names whose servers never
answer would hold them all, and with them every other endpoint and the API. The end of the process would wait for them,
too, and for those of any executor; for a daemon thread it does not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_Lookup = tuple[Future[Any], Callable[[], Any]]


class LaneResolver(AbstractResolver):
    """Resolves with the system's resolver, one name at a time."""

    def __init__(self, lane: str) -> None:
        self._lookups: SimpleQueue[_Lookup | None] = SimpleQueue()
        self._thread = Thread(target=_look_up, args=(self._lookups,), name=f"resolve-{lane}", daemon=True)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The host's addresses.

        Raises:
            OSError: the name does not resolve.
        """
        if self._thread.ident is None:
            self._thread.start()
        answer: Future[Any] = Future()
        self._lookups.put(
            (answer, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
        )
        found = await asyncio.wrap_future(answer)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Take no more names; a lookup under way ends by itself."""
        self._lookups.put(None)


def _look_up(lookups: SimpleQueue[_Lookup | None]) -> None:
    while (one := lookups.get()) is not None:
        answer, look_up = one
        if not answer.set_running_or_notify_cancel():
            continue  # nobody waits for it any more
        try:
            answer.set_result(look_up())
        except UnicodeError:  # raised for what can be no name, though that is what a resolver says
            answer.set_exception(socket.gaierror(socket.EAI_NONAME, "not a name"))
        except Exception as error:
            answer.set_exception(error)
