"""Over how many shards the state is spread, and what an earlier number has left behind. Pure.

A hash tag that two layouts have in common goes on as it is. One that only the earlier had is retired: no scope lies
there any more, but events and deliveries do, and they stay until they are done with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from watcher.model import Scope
from watcher.state.keys import Keys, shard_of

FIELDS: Final = ("shards", "next", "retired")
"""The fields of the layout's hash."""

_WHOLE: Final = "-"
"""Stands for the tag of a namespace that has one shard."""


class LayoutError(ValueError):
    """What is stored is no layout."""


@dataclass(frozen=True, slots=True)
class Layout:
    """``upcoming`` is the number of shards that the state is being moved to, None where it is not.

    ``retired`` are the keys of tags that no shard has any more.
    """

    namespace: str
    shards: int
    upcoming: int | None = None
    retired: tuple[Keys, ...] = ()

    @property
    def active(self) -> tuple[Keys, ...]:
        """The keys of every shard."""
        return shards_of(self.namespace, self.shards)

    @property
    def target(self) -> tuple[Keys, ...]:
        """The keys of every shard as it is to be."""
        return shards_of(self.namespace, self.upcoming or self.shards)

    @property
    def all(self) -> tuple[Keys, ...]:
        """The keys of every tag that is, was or will be of use."""
        return tuple(by_tag([*self.active, *self.target, *self.retired]).values())

    @property
    def leaving(self) -> tuple[Keys, ...]:
        """The keys of the shards that are to be no more."""
        kept = by_tag(self.target)
        return tuple(keys for keys in self.active if keys.tag not in kept)

    @property
    def entering(self) -> tuple[Keys, ...]:
        """The keys of the shards that are not yet there."""
        there = by_tag(self.active)
        return tuple(keys for keys in self.target if keys.tag not in there)

    def begun(self, shards: int) -> Layout:
        """With a change to so many shards under way."""
        return replace(self, upcoming=shards)

    def done(self) -> Layout:
        """With the change that is under way at its end."""
        kept = by_tag(self.target)
        gone = by_tag([*self.retired, *self.leaving])
        retired = tuple(_canonical(keys) for tag, keys in gone.items() if tag not in kept)
        return Layout(self.namespace, self.upcoming or self.shards, None, retired)

    def without(self, keys: Keys) -> Layout:
        """With a retired tag forgotten."""
        return replace(self, retired=tuple(each for each in self.retired if each.tag != keys.tag))

    def encode(self) -> tuple[str, str, str]:
        """The values of ``FIELDS``."""
        retired = (_WHOLE if keys.shards == 1 else str(keys.shard) for keys in self.retired)
        return str(self.shards), str(self.upcoming or ""), " ".join(retired)

    @classmethod
    def decode(cls, namespace: str, values: Iterable[bytes]) -> Layout:
        """Read the values of ``FIELDS`` back.

        Raises:
            LayoutError: they are none.
        """
        try:
            shards, upcoming, retired = (value.decode() for value in values)
            found = cls(
                namespace,
                int(shards),
                int(upcoming) if upcoming else None,
                tuple(
                    _canonical(Keys(namespace, 0, 1) if name == _WHOLE else Keys(namespace, int(name), 2))
                    for name in retired.split()
                ),
            )
        except ValueError as error:
            raise LayoutError("not a layout") from error
        if found.shards < 1 or (found.upcoming or 1) < 1:
            raise LayoutError("not a layout")
        return found


@dataclass(frozen=True, slots=True)
class Move:
    """A scope's way from the shard where it lies to the one where it is to be."""

    scope: Scope
    source: Keys
    target: Keys


def moves(found: Mapping[Keys, Iterable[Scope]], target: tuple[Keys, ...]) -> list[Move]:
    """What has to move so that every scope lies where the target has it, wherever it was found."""
    return [
        Move(scope, source, place)
        for source, scopes in found.items()
        for scope in scopes
        if (place := target[shard_of(scope, len(target))]).tag != source.tag
    ]


def shards_of(namespace: str, shards: int) -> tuple[Keys, ...]:
    """The keys of every shard where there are so many."""
    return tuple(Keys(namespace, number, shards) for number in range(shards))


def by_tag(keys: Iterable[Keys]) -> dict[str, Keys]:
    """Keys by their hash tags, each tag once."""
    found: dict[str, Keys] = {}
    for each in keys:
        found.setdefault(each.tag, each)
    return found


def refusal(layout: Layout, wanted: int) -> str | None:
    """Why nothing may be read or written with so many shards set, and what to do; None if it may."""
    if layout.upcoming is not None:
        return (
            f"a change from {layout.shards} to {layout.upcoming} shards was broken off or is under way: "
            f"finish it with `watcher reshard --to {layout.upcoming}`"
        )
    if layout.shards != wanted:
        return (
            f"the store's state is spread over {layout.shards} shards and WATCHER_REDIS__SHARDS says {wanted}: "
            f"move it with `watcher reshard --to {wanted}`, or set WATCHER_REDIS__SHARDS={layout.shards}"
        )
    return None


def _canonical(keys: Keys) -> Keys:
    """The keys of the same tag, the same whichever layout they come from."""
    return keys if keys.shards == 1 else replace(keys, shards=max(2, keys.shard + 1))
