"""Loads the Lua scripts that lie beside this project's modules as files."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

_INCLUDE: Final = re.compile(r"^-- Includes (\w+)$", re.MULTILINE)


def script(package: str, name: str) -> str:
    """Text of ``<package>/scripts/<name>.lua``, with another one's in place of each line ``-- Includes <other>``.

    Raises:
        FileNotFoundError: there is no such script; the installation is incomplete.
    """
    text = files(package).joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda other: script(package, other[1]), text)
