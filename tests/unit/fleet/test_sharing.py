from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.fleet.sharing import BEAT, LIFE, SETTLED, Fleet, Member
from watcher.state.lease import RENEWAL, TERM

NOW = 1_800_000_000.0


def fleet(me: str, *members: tuple[str, float], unable: str = "") -> Fleet:
    """Replicas by name and by how many seconds ago they joined."""
    return Fleet(me, NOW, tuple(Member(name, NOW - ago, name not in unable) for name, ago in members))


@pytest.mark.parametrize(
    ("members", "me", "unable", "quota"),
    [
        ([("a", 900)], "a", "", 8),
        ([("a", 0)], "a", "", 8),  # alone from the first moment
        ([("a", 900), ("b", 800)], "a", "", 4),
        ([("a", 900), ("b", 800)], "b", "", 4),
        ([("a", 900), ("b", 800), ("c", 700)], "a", "", 3),
        ([("a", 900), ("b", 800), ("c", 700)], "b", "", 3),
        ([("a", 900), ("b", 800), ("c", 700)], "c", "", 2),
        ([("a", 900), ("b", 1)], "a", "", 8),  # nothing is given up for one that may be gone in a moment
        ([("a", 900), ("b", 1)], "b", "", 4),
        ([("a", 900), ("b", 800)], "a", "a", 0),  # it does not reach the API, the other does
        ([("a", 900), ("b", 800)], "b", "a", 8),
        ([("a", 900), ("b", 800)], "a", "ab", 4),  # nobody does
        ([("a", 900)], "a", "a", 8),
        ([("b", 800)], "a", "", 0),  # forgotten: its own term has ended
    ],
)
def test_the_quota_of_eight_shards(
    members: list[tuple[str, float]], me: str, unable: str, quota: int
) -> None:
    assert fleet(me, *members, unable=unable).quota(8) == quota


@pytest.mark.parametrize(
    ("members", "me", "share"),
    [
        ([("a", 0)], "a", 5),
        ([("a", 900), ("b", 800)], "a", 3),
        ([("a", 900), ("b", 800)], "b", 2),
        ([("a", 900), ("b", 1)], "a", 3),  # it makes room as soon as it knows of it
        ([("a", 900), ("b", 1)], "b", 0),  # which the newcomer waits for
        ([("a", 1), ("b", 1)], "a", 3),  # the younger has heard of it when it joined
        ([("b", 800)], "a", 0),
    ],
)
def test_the_share_of_five_attempts_at_once(members: list[tuple[str, float]], me: str, share: int) -> None:
    assert fleet(me, *members).share(5) == share


def test_who_holds_leases_is_forgotten_before_they_lapse_and_not_for_a_word_that_came_late() -> None:
    assert LIFE + RENEWAL <= TERM
    assert LIFE >= 3 * BEAT
    assert SETTLED >= 2 * BEAT


AGES = st.lists(st.floats(0, 10_000), min_size=1, max_size=9)


@given(AGES, st.integers(0, 100), st.data())
def test_the_parts_of_settled_replicas_add_up_and_differ_by_one_at_most(
    ages: list[float], whole: int, data: st.DataObject
) -> None:
    members = [(f"r{number}", SETTLED + age) for number, age in enumerate(sorted(ages, reverse=True))]
    unable = {name for name, _ in members if data.draw(st.booleans())}
    seen = [replace(fleet("", *members), me=name) for name, _ in members]
    told = [
        replace(one, members=tuple(replace(each, able=each.replica not in unable) for each in one.members))
        for one in seen
    ]
    shares = [one.share(whole) for one in told]
    assert sum(shares) == whole
    assert max(shares) - min(shares) <= 1
    quotas = {one.me: one.quota(whole) for one in told}
    assert sum(quotas.values()) == whole
    able = [quota for name, quota in quotas.items() if name not in unable] or list(quotas.values())
    assert max(able) - min(able) <= 1


@given(AGES, st.integers(1, 100))
def test_who_does_not_know_of_a_newcomer_yet_and_the_newcomer_never_send_more_together_than_there_may_be(
    ages: list[float], concurrency: int
) -> None:
    members = [(f"r{number}", SETTLED + age) for number, age in enumerate(sorted(ages, reverse=True))]
    unaware = sum(fleet(name, *members).share(concurrency) for name, _ in members)
    newcomer = fleet("new", *members, ("new", SETTLED - 0.001)).share(concurrency)
    assert unaware + newcomer == concurrency
