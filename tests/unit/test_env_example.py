"""The example file names every setting, with its default, and works as it is."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from watcher.settings import Endpoint, Settings, load_settings
from watcher.settings.names import KNOWN

EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text("utf-8")
SETTING = re.compile(r"^#(WATCHER_\w+)=(.*)$", re.MULTILINE)
ENDPOINT = re.compile(r"^#   (.*)$", re.MULTILINE)
SECRET = "whsec_" + "A" * 32


def uncommented(**filled: str) -> str:
    """The file with each setting's # taken away, and some values filled in."""
    return SETTING.sub(lambda found: f"{found[1]}={filled.get(found[1], found[2])}", EXAMPLE)


def endpoint_table() -> str:
    return "\n".join(ENDPOINT.findall(EXAMPLE))


def test_every_setting_is_in_it_once_and_nothing_else() -> None:
    names = [found[1] for found in SETTING.finditer(EXAMPLE)]

    assert sorted(names) == sorted(KNOWN)
    assert not re.search(r"^WATCHER_", EXAMPLE, re.MULTILINE)


def test_every_name_mentioned_in_it_is_a_setting() -> None:
    assert set(re.findall(r"WATCHER_\w+", EXAMPLE)) == KNOWN


def test_every_setting_is_explained_on_the_line_above() -> None:
    lines = EXAMPLE.splitlines()
    for before, line in pairwise(lines):
        if SETTING.match(line):
            assert re.match(r"# \w", before), line


@pytest.mark.parametrize(
    "credentials",
    [
        {"WATCHER_MONITE__TOKEN": "a-token"},
        {"WATCHER_MONITE__CLIENT_ID": "an-id", "WATCHER_MONITE__CLIENT_SECRET": "a-secret"},
    ],
)
def test_uncommented_it_loads_and_says_the_defaults(tmp_path: Path, credentials: dict[str, str]) -> None:
    (tmp_path / ".env").write_text(uncommented(**credentials))

    settings = load_settings({}, tmp_path / ".env", need_api=True)
    default = load_settings(credentials, None)

    assert sorted(settings.events.types) == sorted(default.events.types)
    alike = default.events.model_copy(update={"types": settings.events.types})
    assert settings == default.model_copy(update={"events": alike})


def test_every_field_of_an_endpoint_is_in_it_once_and_explained() -> None:
    lines = endpoint_table().splitlines()
    fields = [found[1] for line in lines if (found := re.match(r"#?(\w+) = ", line))]

    assert sorted(fields) == sorted(Endpoint.model_fields)
    for before, line in pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert re.match(r"# \w", before), line


def test_the_endpoint_shown_loads_and_says_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "watcher.toml").write_text(endpoint_table().replace("whsec_...", SECRET))

    (endpoint,) = load_settings({"WATCHER_CONFIG": str(tmp_path / "watcher.toml")}, None).webhooks

    assert endpoint == Endpoint(name=endpoint.name, url=endpoint.url, secrets=(SECRET,))
    shown = tomllib.loads(endpoint_table())["webhooks"][0]
    assert shown.keys() == Endpoint.model_fields.keys() - {
        "rate",
        "origin",
        "ca_file",
        "client_cert",
        "proxy",
    }, "unset by default"


def test_the_endpoint_in_json_loads(tmp_path: Path) -> None:
    (json_line,) = re.findall(r"^# (\[\{.*\}\])$", EXAMPLE, re.MULTILINE)
    (tmp_path / ".env").write_text(f"WATCHER_WEBHOOKS={json_line.replace('whsec_...', SECRET)}\n")

    settings: Settings = load_settings({}, tmp_path / ".env")

    assert settings.webhooks[0].name == "accounting"
