"""When the daemon calls itself ready."""

from __future__ import annotations

import pytest

from watcher.ops.health import Facts, ShardFacts, reasons_not_ready


@pytest.mark.parametrize(
    ("held", "elsewhere", "age", "trouble", "reason"),
    [
        (True, False, 0.0, None, None),
        (True, False, 15.0, "timeout", None),
        (True, False, None, None, "no complete scan yet"),
        (True, False, None, "timeout", "no complete scan yet (last trouble: timeout)"),
        (True, False, 16.0, None, "the last complete scan was 16 s ago"),
        (False, True, None, None, None),
        (False, False, None, None, "nobody holds the lease yet"),
        (False, False, None, "OOM", "nobody holds the lease yet (last trouble: OOM)"),
    ],
)
def test_a_shard(
    held: bool, elsewhere: bool, age: float | None, trouble: str | None, reason: str | None
) -> None:
    shard = ShardFacts(0, held, elsewhere, age, trouble)
    assert reasons_not_ready(Facts(5.0, None, (), [shard])) == ([reason] if reason else [])
    named = [f"shard 0: {reason}"] if reason else []
    assert reasons_not_ready(Facts(5.0, None, (), [shard, ShardFacts(1, True, False, 0.0, None)])) == named


@pytest.mark.parametrize(("age", "ready"), [(1400.0, True), (1411.0, False)])
def test_scopes_so_many_that_each_is_looked_at_rarely_are_late_by_that_measure(
    age: float, ready: bool
) -> None:
    shard = ShardFacts(0, True, False, age, None, pause=470.0)
    assert (reasons_not_ready(Facts(5.0, None, (), [shard])) == []) == ready


def test_without_the_store_only_workers_are_told_of_besides() -> None:
    facts = Facts(5.0, "no answer", ("poller",), [ShardFacts(0, False, False, None, None)])
    assert reasons_not_ready(facts) == [
        "worker poller has died and is being started again",
        "the store is away: no answer",
    ]


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (None, "no complete scan yet (the API wants no requests for another 3600 s)"),
        (16.0, "the last complete scan was 16 s ago (the API wants no requests for another 3600 s)"),
        (0.0, None),
    ],
)
def test_that_the_api_wants_no_requests_is_why(age: float | None, reason: str | None) -> None:
    facts = Facts(5.0, None, (), [ShardFacts(0, True, False, age, "rate_limited")], paused=3599.6)
    assert reasons_not_ready(facts) == ([reason] if reason else [])


def test_a_write_that_the_store_refused_is_told_whoever_holds_the_lease() -> None:
    told = "the store did not take this replica's last write: OOM"
    for shard in (ShardFacts(0, True, False, 0.0, None), ShardFacts(0, False, True, None, None)):
        assert reasons_not_ready(Facts(5.0, None, (), [shard], refused="OOM")) == [told]
