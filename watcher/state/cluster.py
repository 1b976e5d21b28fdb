"""A client for a cluster, mended where redis-py's own would not do.

redis-py follows ``MOVED`` and learns of a failover by itself. What it lacks: its errors outside ``RedisError``
would end workers that only have to try again; more commands at once than connections are refused instead of
waiting; the place of ``XREADGROUP`` is asked of a node that may be dead; and ``ASKING`` may go out on another
connection than the command that it is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from redis.cluster import get_node_name
from redis.exceptions import AskError, MovedError, RedisClusterException, SlotNotCoveredError
from redis.exceptions import ConnectionError as RedisConnectionError

from watcher.settings.store_url import Node

_NO_LIMIT: Final = 10_000
"""Connections to a node, which are limited by what is under way instead."""
_READS: Final = frozenset({"XREAD", "XREADGROUP"})
"""Commands that may wait for news: they count for nothing in what is under way, and name their keys at the end."""


class Cluster(RedisCluster):
    """At most ``most`` commands, and as many pipelines, are under way at once; the others wait.

    ``wrapped`` makes the class of a connection from redis-py's own.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        most: int,
        wrapped: Callable[[type[Any]], type[Any]],
        **options: Any,
    ) -> None:
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes],
            max_connections=_NO_LIMIT,
            # Else every fifth redirection would close the connections under the commands of all others.
            reinitialize_steps=0,
            **options,
        )
        self._commands = asyncio.Semaphore(most)
        self._pipelines = asyncio.Semaphore(most)
        kind = wrapped(self.connection_kwargs["connection_class"])
        self.connection_kwargs["connection_class"] = kind
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = kind

    async def initialize(self, *args: Any, **kwargs: Any) -> Cluster:
        """Learn which node has what. Raises redis-py's ``ConnectionError`` where no node tells."""
        try:
            await super().initialize(*args, **kwargs)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error
        return self

    async def aclose(self) -> None:
        """Close every connection, whatever state the client is in."""
        await super().aclose()
        for attribute in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(attribute)

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command where its keys are, as soon as there is room for it."""
        try:
            if args[0] in _READS:
                return await super().execute_command(*args, **kwargs)
            async with self._commands:
                return await super().execute_command(*args, **kwargs)
        except SlotNotCoveredError as error:
            raise RedisConnectionError(str(error)) from error

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Commands sent together to each node. There are no transactions: scripts are for those."""
        if transaction or shard_hint:
            raise RedisClusterException("a pipeline over a cluster is no transaction")
        return _Pipeline(self, self._pipelines)  # type: ignore[abstract] # a slot that redis-py never fills

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """A node that is known; one that a slot is on its way to, when it is asked for by its name alone."""
        node = super().get_node(host, port, node_name)
        if node_name is None:
            return node
        if node is None:
            self._initialize = True  # it has joined since: learn of it with the next try
            raise RedisConnectionError("a slot is on its way to a node that is not known yet")
        return _Asked(node)  # type: ignore[return-value] # it does what redis-py uses here

    async def write_and_wait(self, key: str, replicas: int, milliseconds: int) -> int:
        """How many replicas of the key's master have all that was written there, after so long at most."""
        await self.initialize()
        place = {"target_nodes": self.get_node_from_key(key)}
        try:
            async with self.pipeline() as pipe:
                pipe.set(key, 1, ex=60)
                pipe.execute_command("WAIT", replicas, milliseconds, **place)
                _, have = await pipe.execute(allow_redirections=False)  # it would part the two
        except (AskError, MovedError):
            await self.set(key, 1, ex=60)  # learn where the slot has gone; the next try asks there
            return 0
        return int(have)

    async def _determine_slot(self, command: str, *args: Any) -> int:
        if command not in _READS:
            return int(await super()._determine_slot(command, *args))
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in args]
        slots = {self.keyslot(key) for key in _keys(words)}
        if len(slots) != 1:
            raise RedisClusterException(f"{command}: all keys must lie in one slot")
        return slots.pop()


class _Pipeline(ClusterPipeline):
    """Waits for room before it is sent."""

    def __init__(self, client: Cluster, room: asyncio.Semaphore) -> None:
        super().__init__(client, False)
        self._room = room

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        try:
            async with self._room:
                return await super().execute(raise_on_error, allow_redirections)
        except SlotNotCoveredError as error:
            raise RedisConnectionError(str(error)) from error


class _Asked:
    """A node that a slot is on its way to: ``ASKING`` goes out with the command, on one connection."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node
        self.name = get_node_name(node.host, int(node.port))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *args: Any, asking: bool = False, **kwargs: Any) -> Any:
        if args == ("ASKING",):
            return True
        commands = [PipelineCommand(0, "ASKING"), PipelineCommand(1, *args, **kwargs)]
        await self._node.execute_pipeline(commands)
        answer = commands[1].result
        if isinstance(answer, Exception):
            raise answer
        return answer


def _keys(words: Sequence[str]) -> Sequence[str]:
    """The keys of a read: the first half of what follows ``STREAMS``."""
    streams = words[words.index("STREAMS") + 1 :]
    return streams[: len(streams) // 2]
