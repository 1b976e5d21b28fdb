"""Chance without state: a draw is a function of the seed, of what it is drawn for, and of nothing else.

So a world can be made again from its seed, in any order and on any clock, and a task's fate does not depend
on how often somebody looked.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final
from uuid import UUID

_EIGHT: Final = Struct(">8I")
_UNIT: Final = 2.0**-32


def draws(seed: int, purpose: str, which: int | str) -> tuple[float, ...]:
    """Eight independent numbers, uniform in [0, 1), for the ``which``-th thing of this purpose."""
    digest = blake2b(f"{seed}:{purpose}:{which}".encode(), digest_size=_EIGHT.size).digest()
    return tuple([word * _UNIT for word in _EIGHT.unpack(digest)])  # a list: twice as quick as a generator


def stroke(seed: int, purpose: str, which: int | str, probability: float) -> float | None:
    """None, or with this probability a second number, uniform in [0, 1), that says how hard it struck."""
    if probability <= 0:
        return None
    hit, amount, *_ = draws(seed, purpose, which)
    return amount if hit < probability else None


def uuid_for(seed: int, purpose: str, which: int | str) -> str:
    """A version 4 UUID as text, the same for the same arguments."""
    digest = blake2b(f"{seed}:{purpose}:{which}".encode(), digest_size=16).digest()
    return str(UUID(bytes=digest, version=4))
