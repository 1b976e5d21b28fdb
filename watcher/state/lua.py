"""Loads the Lua scripts that lie beside this project's modules as files."""

from __future__ import annotations

from importlib.resources import files


def script(package: str, name: str) -> str:
    """Text of ``<package>/scripts/<name>.lua``.

    Raises:
        FileNotFoundError: there is no such script; the installation is incomplete.
    """
    return files(package).joinpath("scripts", f"{name}.lua").read_text(encoding="utf-8")
