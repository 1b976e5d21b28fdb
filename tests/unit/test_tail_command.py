"""Where ``watcher tail`` begins, as a person writes it."""

from __future__ import annotations

import pytest

from watcher.cli.tail import stream_position
from watcher.errors import ConfigurationError

LAST = 2**64 - 1


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("now", "$"),
        ("beginning", "0"),
        ("0", "0"),
        ("1764302400000", "1764302400000"),
        ("1764302400000-7", "1764302400000-7"),
        (f"{LAST}-{LAST}", f"{LAST}-{LAST}"),
        ("2025-11-28T04:00:00Z", f"1764302399999-{LAST}"),
        ("2025-11-28T05:00:00+01:00", f"1764302399999-{LAST}"),
        ("2025-11-28", f"1764287999999-{LAST}"),
        ("20251128", f"1764287999999-{LAST}"),
        ("20251128T040000", f"1764302399999-{LAST}"),
        ("1960-01-01", f"0-{LAST}"),
    ],
)
def test_a_place_on_the_stream(written: str, position: str) -> None:
    assert stream_position(written) == position


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yesterday",
        "999999999999999999999999",
        "²",
        "١٧٦٤٣٠٢٤٠٠٠٠٠",
        str(LAST + 1),
        f"1764302400000-{LAST + 1}",
        "5-99999999999999999999999",
        "1764302400000-",
        "-5",
        "9" * 1000,
    ],
)
def test_what_is_none_is_said_in_a_line(written: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        stream_position(written)
    (fault,) = caught.value.faults
    assert fault.startswith("--from: ")
    assert len(fault) < 200
