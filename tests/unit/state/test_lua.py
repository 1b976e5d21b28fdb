"""Every script is a file with a header, and says what it does."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from watcher.state.lua import script

SCRIPTS = [
    pytest.param(package, path.name.removesuffix(".lua"), id=path.name)
    for package in ("watcher.state",)
    for path in files(package).joinpath("scripts").iterdir()
    if path.name.endswith(".lua")
]


@pytest.mark.parametrize(("package", "name"), SCRIPTS)
def test_a_script_says_what_it_is_given_and_what_it_does(package: str, name: str) -> None:
    header = script(package, name).partition("]]")[0]
    assert header.startswith("--[[\n")
    headings = re.findall(r"^([A-Z][A-Za-z]+) +\S", header, re.MULTILINE)
    assert headings == ["Purpose", "KEYS", "ARGV", "Returns", "Effects"]


def test_there_are_scripts() -> None:
    assert {"commit", "forget", "renew", "release"} <= {each.values[1] for each in SCRIPTS}


def test_a_script_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        script("watcher.state", "nothing")


def test_what_a_script_includes_is_in_it() -> None:
    text = script("watcher.webhooks", "claim")
    assert text.startswith("#!lua "), "the server reads the flags there"
    assert script("watcher.webhooks", "order") in text
    assert "-- Includes" not in text
