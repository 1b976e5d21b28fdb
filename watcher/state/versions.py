"""The version of what a shard holds, against the one that this program knows. Pure."""

from __future__ import annotations

from enum import Enum


class Standing(Enum):
    """How what is stored stands to what is known."""

    FRESH = "fresh"
    """Nothing is stored yet."""
    OLDER = "older"
    """It is to be brought up to date, or that has begun."""
    CURRENT = "current"
    NEWER = "newer"
    """A later version has written it, or is about to."""


def standing(version: int | None, upcoming: int | None, known: int) -> Standing:
    """Judge a stored version and the one that it is being brought to, if any."""
    if version is None:
        return Standing.FRESH
    if max(version, upcoming or 0) > known:
        return Standing.NEWER
    return Standing.CURRENT if version == known else Standing.OLDER


def refusal(version: int, known: int) -> str:
    """Why this program does not touch what a later one has written, and what to do."""
    return (
        f"the store holds version {version} of the watcher's state and this watcher knows version {known}: "
        "run the watcher that wrote it or a later one, or set another WATCHER_REDIS__NAMESPACE"
    )


def not_yet(version: int, known: int) -> str:
    """Why a command cannot read what an earlier version has written, and what to do."""
    return (
        f"the store holds version {version} of the watcher's state and this watcher knows version {known}: "
        "start `watcher run` of this version, which brings it up to date, or use the watcher that wrote it"
    )
