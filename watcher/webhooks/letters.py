"""Dead letters: deliveries that were given up, kept until somebody retries or drops them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.state.store import store_errors
from watcher.webhooks.delivery import Past, asked_again

BATCH: Final = 200
"""Dead letters in one step."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One of them. ``id`` is its own, whose time is that of its death; the rest may be empty.

    ``answer`` is the beginning of the endpoint's last answer; it may hold personal data. ``history`` are the last
    attempts, the newest last.
    """

    endpoint: str
    id: str
    event_id: str
    type: str
    subject: str
    reason: str
    attempts: int
    status: str
    failed_at: str
    answer: str
    history: tuple[Past, ...] = ()

    @property
    def died_at(self) -> int:
        """When it was given up, in unix milliseconds."""
        return int(self.id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters are meant: those that fit all that is given. Instants are in unix milliseconds."""

    ids: frozenset[str] = frozenset()
    type: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether it is one of those. An id may be the dead letter's or its event's."""
        return (
            (not self.ids or letter.id in self.ids or letter.event_id in self.ids)
            and self.type in (None, letter.type)
            and self.reason in (None, letter.reason)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
        )


async def letters(redis: Redis, keys: Keys, endpoint: str, choice: Choice) -> AsyncIterator[Letter]:
    """An endpoint's dead letters that are meant, the oldest first.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    after = "-"
    while True:
        with store_errors():
            found: Any = await redis.xrange(keys.dead(endpoint), after, "+", count=BATCH)
        if not found:
            return
        for letter_id, fields in found:
            letter = _letter(endpoint, letter_id.decode(), fields)
            if choice.fits(letter):
                yield letter
        after = f"({found[-1][0].decode()}"


async def retry(
    redis: Redis, keys: Keys, endpoint: str, ids: Sequence[str], now: float, *, coalesce: bool = False
) -> int:
    """Have dead letters delivered again, with a whole schedule of attempts. How many there were.

    ``coalesce``: the endpoint has those passed over that a newer event of their task overtakes.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    step = redis.register_script(script("watcher.webhooks", "revive"))
    places = [keys.due(endpoint), keys.waiting(endpoint), keys.attempts(endpoint), keys.dead(endpoint)]
    places += [keys.events, keys.kept(endpoint), keys.line(endpoint), keys.ordered(endpoint)]
    done = 0
    with store_errors():
        for start in range(0, len(ids), BATCH):
            words: list[str | bytes | int] = [
                int(now * 1000),
                asked_again(now),
                int(coalesce),
                *ids[start : start + BATCH],
            ]
            done += int(await step(keys=places, args=words))
    return done


async def drop(redis: Redis, keys: Keys, endpoint: str, ids: Sequence[str]) -> int:
    """Forget dead letters for good. How many there were.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    done = 0
    with store_errors():
        for start in range(0, len(ids), BATCH):
            done += int(await redis.xdel(keys.dead(endpoint), *ids[start : start + BATCH]))
    return done


def _letter(endpoint: str, letter_id: str, fields: dict[bytes, bytes]) -> Letter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    return Letter(
        endpoint=endpoint,
        id=letter_id,
        event_id=text(b"id"),
        type=text(b"type"),
        subject=text(b"subject"),
        reason=text(b"reason"),
        attempts=int(text(b"attempts") or 0),
        status=text(b"status"),
        failed_at=text(b"failed_at"),
        answer=text(b"answer"),
        history=_history(fields.get(b"history", b"")),
    )


def _history(record: bytes) -> tuple[Past, ...]:
    try:
        return msgspec.json.decode(record, type=tuple[Past, ...])
    except msgspec.MsgspecError:
        return ()
