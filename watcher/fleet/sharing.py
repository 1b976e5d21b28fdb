"""What falls to each replica, from nothing but who there is. Pure; everybody comes to the same figures.

What there is to share is split as evenly as whole numbers allow, the elder getting the odd ones. So the parts
add up, and a replica that joins or leaves moves as little as can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BEAT: Final = 2.5
"""Seconds between two words of a replica that it lives, and to it of who else does."""
SETTLED: Final = 2 * BEAT
"""Seconds after which a replica that joined is known to all others."""
LIFE: Final = 10.0
"""Seconds after which one that said nothing is forgotten: no later than a lease that it renewed last 5 s earlier."""


@dataclass(frozen=True, slots=True)
class Member:
    """A replica, and when it joined (unix seconds of the store's clock). ``able``: it reaches the API."""

    replica: str
    joined: float
    able: bool = True


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas that live, the eldest first, as ``me`` was told at ``now`` (unix seconds of the store's clock)."""

    me: str
    now: float
    members: tuple[Member, ...]

    def quota(self, shards: int) -> int:
        """How many of the shards this replica is to poll.

        One that has only just joined counts for itself alone: the others give nothing up for a replica that
        may be gone in a moment. One that does not reach the API gets none, unless nobody does.
        """
        counted = [each for each in self.members if each.replica == self.me or self._settled(each)]
        able = [each for each in counted if each.able]
        return _part(shards, [each.replica for each in able or counted], self.me)

    def share(self, concurrency: int) -> int:
        """How many of an endpoint's attempts at once fall to this replica.

        None before its elders know of it: what they send until then and what it sends would be too many. The
        younger have heard of it when they joined.
        """
        me = next((each for each in self.members if each.replica == self.me), None)
        if me is None or not (self._settled(me) or me is self.members[0]):
            return 0
        return _part(concurrency, [each.replica for each in self.members], self.me)

    def _settled(self, member: Member) -> bool:
        return self.now - member.joined >= SETTLED


def _part(whole: int, among: Sequence[str], me: str) -> int:
    """The part of ``me``; 0 if it is not among them."""
    if me not in among:
        return 0
    each, odd = divmod(whole, len(among))
    return each + (among.index(me) < odd)
