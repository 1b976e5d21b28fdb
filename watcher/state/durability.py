"""What the store's settings put at risk: a decision on what its servers say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

CONFIG: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "min-replicas-to-write")
"""The settings of a server that are looked at."""

_ALL: Final = "deliveries that wait, dead letters, events on the stream and what is known of tasks"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a server says of itself: its role, how many replicas follow it, and its settings.

    ``replicas`` and ``config`` are None where they may not be asked for: forbidden by the user's rights, or by who
    runs the server.
    """

    server: str
    master: bool
    replicas: int | None
    config: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Weakness:
    """A setting that weakens a guarantee: its value, what may be lost by it and the mending.

    ``fatal``: with it nothing works at all.
    """

    setting: str
    value: str
    risk: str
    servers: tuple[str, ...] = ()
    fatal: bool = False

    def __str__(self) -> str:
        value = f" is {self.value}" if self.value else ""
        return f"{self.setting}{value}: {self.risk}"


def weaknesses(readings: Sequence[Reading], *, failover: bool, wait_replicas: int = 0) -> list[Weakness]:
    """Everything that may cost something, once for all servers of which it is true.

    ``failover``: the store is meant to survive the loss of a server. ``wait_replicas``: so many replicas must have
    an event before it is delivered.
    """
    found: dict[Weakness, tuple[str, ...]] = {}
    for reading in readings:
        for one in _of(reading, failover, wait_replicas):
            found[one] = (*found.get(one, ()), reading.server)
    return [replace(one, servers=servers) for one, servers in found.items()]


def _of(reading: Reading, failover: bool, wait_replicas: int) -> Iterator[Weakness]:
    if not reading.master:
        risk = "it refuses every write; point WATCHER_REDIS__URL at its master"
        yield Weakness("role", "replica", risk, fatal=True)
        return
    if reading.replicas is None:
        if failover or wait_replicas:
            yield Weakness(
                "INFO replication", "", "it is refused, so the number of replicas could not be checked"
            )
    elif reading.replicas < wait_replicas:
        yield Weakness(
            "replicas",
            str(reading.replicas),
            f"nothing is delivered until {wait_replicas} follow, as WATCHER_REDIS__WAIT_REPLICAS says",
        )
    elif failover and not reading.replicas:
        yield Weakness("replicas", "0", f"the loss of this server loses {_ALL}; give it a replica")
    if reading.config is None:
        yield Weakness(
            "CONFIG GET",
            "",
            "it is refused, so appendonly, maxmemory-policy and min-replicas-to-write could not be checked",
        )
    else:
        yield from _configured(reading.config, replicated=failover or bool(reading.replicas))


def _configured(config: Mapping[str, str], *, replicated: bool) -> Iterator[Weakness]:
    if config.get("appendonly") == "no":
        risk = f"a restart of the server loses what came since its last snapshot: {_ALL}; set it to yes"
        yield Weakness("appendonly", "no", risk)
    elif config.get("appendfsync") == "no":
        risk = f"a power cut loses up to half a minute of {_ALL}; set it to everysec or always"
        yield Weakness("appendfsync", "no", risk)
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction" and config.get("maxmemory") != "0":
        lost = (
            "the lease and the request budget, so that the API may be asked too often"
            if policy.startswith("volatile")
            else _ALL
        )
        yield Weakness("maxmemory-policy", policy, f"a full memory loses {lost}; set it to noeviction")
    if replicated and config.get("min-replicas-to-write") == "0":
        risk = (
            "a master that is cut off goes on taking writes, and a failover loses them: events may be published "
            "again, with the same id, and what was delivered is delivered again; set it to 1"
        )
        yield Weakness("min-replicas-to-write", "0", risk)
