"""An endpoint's deliveries in the store: claimed when due, settled when done. Every step is one script.

A delivery is an entry's id in ``due`` and ``waiting``; the event itself stays on the stream. What is made anew
for every delivery is a ``msgspec.Struct``: as frozen as a dataclass, and made in an eighth of its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import msgspec
from redis.asyncio import Redis

from watcher.model import from_seconds, to_iso
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.webhooks.outcome import Delivered, Reason

_PACKAGE: Final = "watcher.webhooks"


class Record(msgspec.Struct, frozen=True):
    """What the failed attempts at a delivery gave so far. Moments are in unix milliseconds."""

    count: int
    first: int
    last: int
    status: int | None
    reason: Reason


class Claim(msgspec.Struct, frozen=True):
    """A delivery that nobody else takes before ``ends`` (unix milliseconds; it is also the claim's token).

    ``due`` is when it was due, as the store wrote it. ``fields`` are the entry's, empty when it is no longer
    on the stream.
    """

    entry_id: str
    ends: int
    due: bytes
    record: Record | None
    fields: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim gave, and when the next delivery is due (unix seconds; None where there is none)."""

    claims: list[Claim]
    next_due: float | None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Nothing was sent, or nobody knows; the delivery is due again as it was."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt failed; the next is due at ``at`` (unix seconds)."""

    at: float
    record: Record


@dataclass(frozen=True, slots=True)
class Died:
    """The last attempt failed. ``answer`` is the beginning of the endpoint's answer."""

    record: Record
    answer: bytes


class Settlement(msgspec.Struct, frozen=True):
    """What came of a claim."""

    claim: Claim
    result: Delivered | Retried | Died | GiveBack


@dataclass(frozen=True, slots=True)
class Settled:
    """How many settlements took effect; the others were stale, their claims having ended before."""

    settled: int
    stale: int


class DeliveryQueue:
    """One endpoint's deliveries of one shard."""

    def __init__(self, redis: Redis, keys: Keys, endpoint: str) -> None:
        due, attempts = keys.due(endpoint), keys.attempts(endpoint)
        self._claim = redis.register_script(script(_PACKAGE, "claim"))
        self._claim_keys = [due, attempts, keys.events]
        self._settle = redis.register_script(script(_PACKAGE, "settle"))
        self._settle_keys = [due, keys.waiting(endpoint), attempts, keys.dead(endpoint), keys.events]

    async def claim(self, *, now: float, seconds: float, most: int) -> Claims:
        """Claim up to ``most`` deliveries that are due at ``now`` (unix seconds), for so many seconds.

        Raises:
            redis.RedisError: the store is in trouble. What was claimed all the same comes back by itself.
        """
        ends = int((now + seconds) * 1000)
        next_due, *rows = await self._claim(keys=self._claim_keys, args=[int(now * 1000), ends, most])
        return Claims(
            [
                Claim(
                    entry_id.decode(),
                    ends,
                    due,
                    msgspec.json.decode(record, type=Record) if record else None,
                    dict(zip(fields[::2], fields[1::2], strict=True)),
                )
                for entry_id, due, record, fields in rows
            ],
            float(next_due) / 1000 if next_due else None,
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write down what came of claims.

        Doing it twice is harmless: the second time all but the delivered are stale.

        Raises:
            redis.RedisError: the store is in trouble; some or all may have been written.
        """
        delivered = [one.claim.entry_id for one in settlements if isinstance(one.result, Delivered)]
        arguments = [" ".join(delivered)]
        for one in settlements:
            arguments += _words(one)
        return Settled(*await self._settle(keys=self._settle_keys, args=arguments))


def _words(settlement: Settlement) -> Iterator[Any]:
    """A settlement as ``settle.lua`` takes it."""
    claim = settlement.claim
    match settlement.result:
        case Delivered():
            pass  # all together, in the first argument
        case Retried(at, record):
            due = int(at * 1000)
            yield from ("retry", claim.entry_id, claim.ends, due, msgspec.json.encode(record))
        case Died(record, answer):
            yield from ("dead", claim.entry_id, claim.ends, record.reason, record.count)
            status = "" if record.status is None else record.status
            yield from (status, answer, to_iso(from_seconds(record.last / 1000)))
        case GiveBack():
            yield from ("release", claim.entry_id, claim.ends, claim.due)
        case _:
            assert_never(settlement.result)
