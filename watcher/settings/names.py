"""The names of all settings, how they are written in faults, and what to say about a name that is none."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from watcher.settings.endpoint import Endpoint
from watcher.settings.whole import Settings

PREFIX: Final = "WATCHER_"
CONFIG: Final = "WATCHER_CONFIG"
SECRETS_DIR: Final = "WATCHER_SECRETS_DIR"
WEBHOOKS: Final = "WATCHER_WEBHOOKS"

FIELDS: Final[dict[str, FieldInfo]] = {
    f"{PREFIX}{section}__{name}".upper(): field
    for section, table in Settings.model_fields.items()
    if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel)
    for name, field in table.annotation.model_fields.items()
} | {WEBHOOKS: Settings.model_fields["webhooks"]}
"""Every setting by its name in the environment."""

KNOWN: Final = frozenset({*FIELDS, CONFIG, SECRETS_DIR})
"""The names of all settings and of the two places that settings are read from."""


def written(name: str) -> str:
    """A name that a person made up, in one line of plain characters."""
    return name if name.isascii() and name.replace("-", "_").isidentifier() else ascii(name[:60])[1:-1]


def from_place(name: str, place: str) -> str:
    """The name of a setting and, unless it is the environment, the place that its value comes from."""
    return f"{name} (from {place})" if place else name


def unknown(names: Iterable[str], place: str, known: frozenset[str] = KNOWN) -> list[str]:
    """A fault for each name, as the environment writes it, that is not known."""
    return [_not_a_setting(name, place, known) for name in sorted(names) if name not in known]


def _not_a_setting(name: str, place: str, known: frozenset[str]) -> str:
    bare = name.removeprefix(PREFIX)
    # A name that only lacks its section fits several; one that is merely misspelt has a nearest.
    near = sorted(one for one in known if one.endswith(f"__{bare}")) or get_close_matches(
        name, sorted(known), n=1, cutoff=0.7
    )
    mend = f"did you mean {' or '.join(near)}?" if near else "take it out; .env.example lists every setting"
    return f"{from_place(written(name), place)}: no such setting; {mend}"


def not_a_field(name: str, key: str) -> str:
    """The fault of an endpoint with a key that endpoints do not have; ``name`` is the key's full name."""
    near = get_close_matches(key, Endpoint.model_fields, n=1, cutoff=0.5)
    mend = f"did you mean {near[0]}?" if near else f"an endpoint has {', '.join(Endpoint.model_fields)}"
    return f"{name}: no such setting; {mend}"
