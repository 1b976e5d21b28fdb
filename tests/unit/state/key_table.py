"""The table of keys in ``watcher.state.keys``, as patterns: the check for keys that nobody has declared."""

from __future__ import annotations

import re

from watcher.state import keys as module
from watcher.state.keys import Keys

_ROW = re.compile(r"^\| ``\{(?P<tag>ns|namespace)\}:(?P<name>[^`]+)`` \|", re.MULTILINE)


def patterns(keys: Keys) -> list[re.Pattern[str]]:
    """One pattern for each line of the table."""
    names = _ROW.findall(module.__doc__ or "")
    tags = {"ns": re.escape(keys.tag), "namespace": re.escape(f"{{{keys.namespace}}}")}
    return [re.compile(f"{tags[tag]}:" + re.sub(r"<\w+>", "[^:]+", name)) for tag, name in names]


def is_known(name: str, keys: Keys) -> bool:
    """Whether the table names this key."""
    return any(each.fullmatch(name) for each in patterns(keys))
