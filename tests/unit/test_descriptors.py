"""How many files may be open, in a process of its own: what is lowered there cannot be raised again here."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from watcher.descriptors import make_room
wanted, soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(make_room(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("wanted", "told", "soft_after"),
    [
        (50, "None", 100),  # there is enough
        (100, "None", 100),
        (150, "None", 150),  # raised as far as is wanted
        (200, "None", 200),
        (201, "200", 200),  # raised as far as it goes, and told so
    ],
)
def test_as_many_as_wanted_are_allowed_up_to_the_hard_limit(wanted: int, told: str, soft_after: int) -> None:
    words = [sys.executable, "-c", SCRIPT, str(wanted), "100", "200"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.split() == [told, str(soft_after), "200"]
