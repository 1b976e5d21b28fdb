"""What a store's settings put at risk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.state.durability import Reading, weaknesses

GOOD = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "min-replicas-to-write": "0",
}


def found(
    *, failover: bool = False, wait: int = 0, master: bool = True, replicas: int | None = 0, **changes: str
) -> dict[str, str]:
    config = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    told = weaknesses([Reading("one", master, replicas, config)], failover=failover, wait_replicas=wait)
    return {each.setting: str(each) for each in told}


def test_a_server_by_itself_with_an_append_only_file_risks_nothing() -> None:
    assert found() == {}


def test_a_replicated_one_that_stops_writing_without_its_replicas_risks_nothing() -> None:
    assert found(failover=True, replicas=1, min_replicas_to_write="1", wait=1) == {}


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("appendonly", "no", "a restart of the server loses"),
        ("appendfsync", "no", "a power cut loses"),
    ],
)
def test_what_a_setting_may_lose_is_named(setting: str, value: str, told: str) -> None:
    (only,) = weaknesses([Reading("one", True, 0, GOOD | {setting: value})], failover=False)
    assert only.setting == setting
    text = str(only)
    assert told in text
    assert "deliveries that wait" in text


@pytest.mark.parametrize(
    ("policy", "told"),
    [("allkeys-lru", "deliveries that wait"), ("volatile-ttl", "the lease and the request budget")],
)
def test_an_eviction_policy_counts_where_memory_is_limited(policy: str, told: str) -> None:
    assert found(maxmemory_policy=policy) == {}
    assert told in found(maxmemory_policy=policy, maxmemory="100mb")["maxmemory-policy"]


def test_replicas() -> None:
    assert "give it a replica" in found(failover=True)["replicas"]
    assert "nothing is delivered until 2 follow" in found(wait=2, replicas=1)["replicas"]
    assert found(replicas=1).keys() == {"min-replicas-to-write"}
    assert found(master=False).keys() == {"role"}
    assert found(replicas=None) == {}
    assert found(replicas=None, failover=True).keys() == {"INFO replication", "min-replicas-to-write"}


def test_what_may_not_be_asked_for_is_said_once() -> None:
    readings = [Reading(str(number), True, 1, None) for number in range(3)]
    (only,) = weaknesses(readings, failover=True)
    assert only.setting == "CONFIG GET"
    assert only.servers == ("0", "1", "2")


@given(
    st.lists(
        st.builds(
            Reading,
            st.text(max_size=3),
            st.booleans(),
            st.none() | st.integers(0, 3),
            st.none()
            | st.dictionaries(st.sampled_from(sorted(GOOD)), st.sampled_from(["yes", "no", "0", "1", "x"])),
        )
    ),
    st.booleans(),
    st.integers(0, 3),
)
def test_each_weakness_is_told_once_with_every_server_that_has_it(
    readings: list[Reading], failover: bool, wait: int
) -> None:
    told = weaknesses(readings, failover=failover, wait_replicas=wait)
    assert len({str(each) for each in told}) == len(told)
    alone = [
        str(one) for each in readings for one in weaknesses([each], failover=failover, wait_replicas=wait)
    ]
    assert sorted(alone) == sorted(str(each) for each in told for _ in each.servers)
