"""An endpoint's deliveries in the store: claimed when due, settled when done. Every step is one script.

A delivery is an entry's id in ``waiting``, which is in ``due`` or ``claimed`` too, or stands behind another one of its
task (``scripts/order.lua``); the event itself stays on the stream. What lags behind is a delivery only once it is
claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import msgspec
from redis.asyncio import Redis

from watcher.model import from_seconds, to_iso
from watcher.state.keys import Keys
from watcher.state.lua import script
from watcher.webhooks.backlog import Backlog, Left, Wanted
from watcher.webhooks.bucket import Bucket
from watcher.webhooks.delivery import (
    Claim,
    Died,
    GiveBack,
    Overtaken,
    Record,
    Retried,
    Settlement,
    Superseded,
)
from watcher.webhooks.group import GROUP
from watcher.webhooks.outcome import Delivered, Effect

_PACKAGE: Final = "watcher.webhooks"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim gave, and when the next delivery is due (unix seconds; None where there is none).

    ``gone`` counts the events that somebody took off the stream before they were drawn from it.
    """

    claims: list[Claim]
    next_due: float | None
    overtaken: Sequence[Overtaken] = ()
    gone: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """How many settlements took effect; the others were stale, their claims having ended before.

    ``opened`` are the seconds for which the breaker has opened by them, 0 if it has not; ``paused`` is why the
    endpoint has been paused by them, empty if it has not. ``going_on`` are the deliveries that stood behind them and
    are due now. ``held`` says whether the endpoint is left alone for longer than before, since it asked for that.
    """

    settled: int
    stale: int
    opened: float = 0.0
    paused: str = ""
    going_on: int = 0
    held: bool = False


class Breaker(msgspec.Struct, frozen=True):
    """When an endpoint that fails is left alone; times in seconds.

    It opens after ``threshold`` failures in a row, with no other answer between them, for a random part of a time
    that doubles from ``first`` to ``longest`` with each probe that fails. After ``patience`` without a delivery,
    since the first attempt that failed in any way, the endpoint is paused, for somebody to look at. One that is
    busy and does not say for how long is held for half to all of a time that doubles from ``moment`` to ``longest``
    until the next delivery.
    """

    threshold: int = 10
    first: float = 2.0
    longest: float = 30.0
    patience: float = 5 * 86_400.0
    moment: float = 1.0


DEFAULT_BREAKER: Final = Breaker()


def unlimited() -> None:
    """No rate."""


class DeliveryQueue:
    """One endpoint's deliveries of one shard.

    Of all shards together ``rate()`` are claimed a second (None: as many as there are). ``coalesce``: where the
    order is kept, what a newer event of its task overtakes is passed over. ``wanted`` says which entries that were left
    on the stream are for the endpoint.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        endpoint: str,
        breaker: Breaker = DEFAULT_BREAKER,
        rate: Callable[[], float | None] = unlimited,
        *,
        wanted: Wanted,
        coalesce: bool = False,
    ) -> None:
        due, claimed, attempts = keys.due(endpoint), keys.claimed(endpoint), keys.attempts(endpoint)
        waiting, dead = keys.waiting(endpoint), keys.dead(endpoint)
        lane, kept = keys.lane(endpoint), keys.kept(endpoint)
        order = [keys.line(endpoint), keys.ordered(endpoint)]
        self._breaker = breaker
        self._rate = rate
        self._bucket = Bucket(redis, keys, endpoint)
        self._coalesce = int(coalesce)
        self._name = endpoint
        self._backlog = Backlog(redis, keys, endpoint, wanted, breaker.threshold, coalesce=coalesce)
        self._claim = redis.register_script(script(_PACKAGE, "claim"))
        self._claim_keys = [due, claimed, attempts, keys.events, lane, kept, *order]
        self._claim_keys += [keys.lagging, keys.cursor(GROUP)]
        self._settle = redis.register_script(script(_PACKAGE, "settle"))
        self._settle_keys = [due, claimed, waiting, attempts, dead, keys.events, lane, kept, *order]

    @property
    def threshold(self) -> int:
        """Failures in a row that open the breaker."""
        return self._breaker.threshold

    async def claim(self, *, now: float, seconds: float, most: int) -> Claims:
        """Claim up to ``most`` deliveries that are due at ``now`` (unix seconds), for so many seconds.

        Raises:
            redis.RedisError: the store is in trouble. What was claimed all the same comes back by itself.
        """
        rate = self._rate()
        if rate is None:
            return await self._claim_up_to(most, now, seconds)
        taken = await self._bucket.take(most, rate=rate, now=now)
        if not taken.tokens:
            return Claims([], taken.next_at)
        found = await self._claim_up_to(taken.tokens, now, seconds)
        if unused := taken.tokens - len(found.claims):
            await self._bucket.put_back(unused, rate=rate, now=now)
        return found

    async def _claim_up_to(self, most: int, now: float, seconds: float) -> Claims:
        """What is due, and then what was left on the stream."""
        ends = int((now + seconds) * 1000)
        words: list[str | int] = [int(now * 1000), ends, most, self._breaker.threshold, self._coalesce]
        words += [self._name, GROUP, self._backlog.number(most)]
        next_due, overtaken, left, *rows = await self._claim(keys=self._claim_keys, args=words)
        claims, gone = [_claim(row, ends) for row in rows], 0
        next_at = float(next_due) / 1000 if next_due else None
        if len(left) == 1:  # it has got to the end of the stream
            [gone] = left
        elif left:
            claims += await self._backlog.draw(Left(*left), now=now, ends=ends)
            next_at = now  # there may be more
        passed_over = [Overtaken(_claim(row, ends), by.decode()) for *row, by in overtaken]
        return Claims(claims, next_at, passed_over, gone)

    async def settle(self, settlements: Sequence[Settlement], *, now: float, jitter: float = 1.0) -> Settled:
        """Write down what came of claims, in the order in which the attempts ended.

        ``now`` is in unix seconds; ``jitter``, from 0 to 1, shortens an opening. Doing it twice is harmless: the
        second time all are stale.

        Raises:
            redis.RedisError: the store is in trouble; some or all may have been written.
        """
        delivered: list[str] = []
        others: list[Any] = []
        for one in settlements:
            if isinstance(one.result, Delivered) and not one.claim.asked:
                delivered.append(one.claim.entry_id)
            else:
                others += _words(one.claim, one.result, one.effect, len(delivered))
        breaker = self._breaker
        arguments = [
            " ".join(delivered),
            int(now * 1000),
            breaker.threshold,
            int(breaker.first * 1000),
            int(breaker.longest * 1000),
            jitter,
            int(breaker.patience * 1000),
            self._coalesce,
            int(breaker.moment * 1000),
            *others,
        ]
        settled, stale, opened, paused, going_on, held = await self._settle(
            keys=self._settle_keys, args=arguments
        )
        return Settled(settled, stale, opened / 1000, paused.decode(), going_on, bool(held))


def _claim(row: Sequence[Any], ends: int) -> Claim:
    entry_id, due, record, fields = row
    return Claim(
        entry_id.decode(),
        ends,
        due,
        msgspec.json.decode(record, type=Record) if record else None,
        dict(zip(fields[::2], fields[1::2], strict=True)),
    )


def _words(
    claim: Claim, result: Delivered | Retried | Died | GiveBack | Superseded, effect: Effect, place: int
) -> Iterator[Any]:
    """What came of a claim, as ``settle.lua`` takes it; ``place`` is how many deliveries came before it."""
    match result:
        case Delivered():
            yield from ("delivered", claim.entry_id, claim.ends, place, claim.asked)
        case Retried(at, record):
            yield from ("retry", claim.entry_id, claim.ends, place, *_said(effect))
            yield from (math.ceil(at * 1000), msgspec.json.encode(record))
        case Died(record, answer):
            yield from ("dead", claim.entry_id, claim.ends, place, *_said(effect))
            yield from (record.reason or "", record.count, "" if record.status is None else record.status)
            yield from (answer, to_iso(from_seconds(record.last / 1000)), msgspec.json.encode(record.history))
        case GiveBack():
            yield from ("release", claim.entry_id, claim.ends, place, claim.due)
        case Superseded():
            yield from ("superseded", claim.entry_id, claim.ends, place)
        case _:
            assert_never(result)


def _said(effect: Effect) -> tuple[str, int]:
    """What an attempt says of the endpoint, and until when the lane is held for it (ms; 0: it is not)."""
    hold = math.ceil((effect.hold_until or 0.0) * 1000)
    if effect.gone:
        return "gone", hold
    if effect.failed:
        return ("busy" if effect.busy else "failed"), hold
    return ("refused" if effect.answered else "none"), hold
