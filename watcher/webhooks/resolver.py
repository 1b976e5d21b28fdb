"""Name resolution for one lane, on a thread of its own.

The event loop's resolver has a handful of threads for the whole process: a few names whose servers never
answer would hold them all, and with them every other endpoint and the API.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult


class LaneResolver(AbstractResolver):
    """Resolves with the system's resolver, one name at a time."""

    def __init__(self, lane: str) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"resolve-{lane}")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The host's addresses.

        Raises:
            OSError: the name does not resolve.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
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
        self._threads.shutdown(wait=False, cancel_futures=True)
