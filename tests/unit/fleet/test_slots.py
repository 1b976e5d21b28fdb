from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.unit.fleet.test_sharing import fleet
from watcher.fleet.slots import Shares, Slots


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


class Users:
    """Use slots, each until told to end."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.inside: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, *numbers: int) -> None:
        for number in numbers:
            self.ends[number] = asyncio.Event()
            self.tasks[number] = asyncio.create_task(self._use(number))
            await turns()

    async def _use(self, number: int) -> None:
        async with self._slots:
            self.inside.append(number)
            await self.ends[number].wait()
        self.inside.remove(number)

    async def end(self, *numbers: int) -> None:
        for number in numbers:
            self.ends[number].set()
            await turns()

    async def cancel(self, number: int) -> None:
        self.tasks[number].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[number]


async def test_no_more_are_used_than_there_are_and_whoever_came_first_goes_first() -> None:
    slots = Slots(2)
    users = Users(slots)
    await users.come(1, 2, 3, 4)
    assert users.inside == [1, 2]
    await users.end(1)
    assert users.inside == [2, 3]
    await users.end(2, 3)
    assert users.inside == [4]
    await users.end(4)
    assert slots.used == 0


async def test_more_slots_let_in_who_waits_and_fewer_take_nothing_from_those_inside() -> None:
    slots = Slots(0)
    users = Users(slots)
    await users.come(1, 2, 3)
    assert users.inside == []
    slots.resize(2)
    await turns()
    assert users.inside == [1, 2]
    slots.resize(1)
    assert slots.used == 2
    await users.end(1)
    assert users.inside == [2]
    await users.end(2)
    assert users.inside == [3]


async def test_who_goes_away_while_it_waits_leaves_its_turn_to_the_next() -> None:
    slots = Slots(1)
    users = Users(slots)
    await users.come(1, 2, 3)
    await users.cancel(2)
    await users.end(1)
    assert users.inside == [3]
    await users.end(3)
    await users.come(4)
    assert users.inside == [4]


async def test_who_goes_away_just_as_it_is_let_in_gives_its_slot_back() -> None:
    slots = Slots(1)
    users = Users(slots)
    await users.come(1, 2, 3)
    users.ends[1].set()
    slots.resize(2)  # lets 2 in, which has not noticed yet
    await users.cancel(2)
    await turns()
    assert users.inside == [3]
    assert slots.used == 1


@pytest.mark.parametrize("inside", [True, False])
async def test_a_cancelled_user_leaves_nothing_used(inside: bool) -> None:
    slots = Slots(1 if inside else 0)
    users = Users(slots)
    await users.come(1)
    await users.cancel(1)
    slots.resize(1)
    await users.come(2)
    assert slots.used == 1
    assert users.inside[-1] == 2


async def test_while_they_are_closed_nobody_is_let_in() -> None:
    slots = Slots(2)
    users = Users(slots)
    before = slots.turns
    with slots.closed():
        with slots.closed():
            await users.come(1)
        slots.resize(3)
        await turns()
        assert users.inside == []
        assert slots.turns > before
        before = slots.turns
    assert slots.turns > before
    await turns()
    assert users.inside == [1]
    await users.end(1)
    assert slots.used == 0


class TestShares:
    def test_there_are_none_before_the_fleet_is_known(self) -> None:
        shares = Shares()
        slots = shares.of("erp", 8)
        assert slots.size == 0
        shares.adopt(fleet("a", ("a", 100)))
        assert slots.size == 8

    def test_they_follow_the_fleet_and_the_setting(self) -> None:
        shares = Shares()
        shares.adopt(fleet("a", ("a", 100), ("b", 50)))
        slots = shares.of("erp", 8)
        assert slots.size == 4
        shares.adopt(fleet("a", ("a", 100)))
        assert slots.size == 8
        assert shares.of("erp", 3) is slots
        assert slots.size == 3
        shares.adopt(fleet("a", ("b", 100), ("a", 50)))
        assert slots.size == 1

    async def test_what_is_used_counts_over_all_endpoints(self) -> None:
        shares = Shares()
        shares.adopt(fleet("a", ("a", 100)))
        async with shares.of("erp", 8), shares.of("crm", 8), shares.of("crm", 8):
            assert shares.used == 3
        assert shares.used == 0
