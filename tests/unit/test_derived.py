"""What follows from the settings alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watcher.derived import doubts
from watcher.model import from_datetime
from watcher.settings import Settings

NOW = from_datetime(datetime(2026, 1, 31, 8, tzinfo=UTC))


@pytest.mark.parametrize("start", ["baseline", "all", "2026-01-31T08:00:00Z", "2026-01-31T09:00:00+02:00"])
def test_a_start_that_is_no_later_than_now_is_no_slip(start: str) -> None:
    assert doubts(Settings.model_validate({"poll": {"start": start}}), NOW) == []


def test_one_in_the_future_is_named_with_its_mending() -> None:
    (doubt,) = doubts(Settings.model_validate({"poll": {"start": "2026-01-31T09:00:00"}}), NOW)
    assert doubt == (
        "WATCHER_POLL__START: 2026-01-31T09:00:00.000000Z lies in the future, and no task created before it is ever "
        "told of; give an earlier time, baseline or all, unless that is meant"
    )
