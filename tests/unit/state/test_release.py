"""What is made of the version that a server says it is."""

from __future__ import annotations

import pytest

from watcher.errors import StoreError
from watcher.state.release import supported


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"redis_version": "7.0.15"}, "Redis 7.0.15"),
        ({"redis_version": "8.2.1"}, "Redis 8.2.1"),
        ({"redis_version": "10.0"}, "Redis 10.0"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "Valkey 9.1.2"),
        ({}, "Redis None"),
    ],
)
def test_a_server_that_is_new_enough_is_named(info: dict[str, str], name: str) -> None:
    assert supported(info) == name


def test_one_that_is_too_old_is_refused() -> None:
    with pytest.raises(StoreError) as refusal:
        supported({"redis_version": "6.2.14"})
    assert str(refusal.value) == (
        "the store is Redis 6.2.14, which is too old; "
        "have WATCHER_REDIS__URL name a Redis 7.0 or newer, or a Valkey"
    )
