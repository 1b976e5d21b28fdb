"""How a stored version stands to the one that is known."""

from __future__ import annotations

import pytest

from watcher.state.versions import Standing, not_yet, refusal, standing


@pytest.mark.parametrize(
    ("version", "upcoming", "wanted"),
    [
        (None, None, Standing.FRESH),
        (2, None, Standing.CURRENT),
        (1, None, Standing.OLDER),
        (1, 2, Standing.OLDER),
        (3, None, Standing.NEWER),
        (2, 3, Standing.NEWER),
        (1, 3, Standing.NEWER),
    ],
)
def test_standing(version: int | None, upcoming: int | None, wanted: Standing) -> None:
    assert standing(version, upcoming, 2) is wanted


def test_both_versions_and_the_mending_are_named_in_a_line() -> None:
    for told in (refusal(3, 2), not_yet(1, 2)):
        assert "\n" not in told
        assert "knows version 2: " in told
    assert "version 3" in refusal(3, 2)
    assert "version 1" in not_yet(1, 2)
