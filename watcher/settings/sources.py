"""The four places that settings are read from, each as a layer of raw values, in tables by section."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from watcher.settings.names import CONFIG, FIELDS, PREFIX, SECRETS_DIR, unknown
from watcher.settings.values import absolute
from watcher.settings.whole import Settings

_SETTABLE: Final = frozenset(FIELDS)
_SERVICE_LINK: Final = re.compile(
    r"WATCHER(_[A-Z0-9_]+?)??_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|(?P<bare>PORT))"
)
"""What Kubernetes puts into a container's environment for each Service whose name begins with "watcher"."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Raw values from one place. ``place`` is empty for the environment."""

    place: str
    data: Mapping[str, object]

    def holds(self, section: str, field: str | None) -> bool:
        """Whether it has a value for this setting; without ``field`` the section is the setting."""
        table = self.data.get(section)
        return field in table if field is not None and isinstance(table, Mapping) else section in self.data


def read_layers(environ: Mapping[str, str], env_file: Path | None) -> tuple[tuple[Layer, ...], list[str]]:
    """All layers, the strongest first, and what is wrong with the places and with the names there."""
    faults: list[str] = []
    own = _without_service_links(_ours(environ), faults)
    written = _dotenv(env_file, faults) if env_file else {}
    config, secrets_dir = (
        _path(name, own.get(name) or written.get(name), faults) for name in (CONFIG, SECRETS_DIR)
    )
    layers = [_texts("", own, faults), _texts(str(env_file), written, faults)]
    if config:
        layers.append(_toml(config, faults))
    if secrets_dir:
        layers.append(_secrets(secrets_dir, faults))
    return tuple(layers), faults


def _path(name: str, text: str | None, faults: list[str]) -> Path | None:
    try:
        return absolute(Path(text)) if text else None
    except ValueError as fault:
        faults.append(f"{name}: {fault}")
        return None


def _ours(texts: Mapping[str, str | None]) -> dict[str, str]:
    """Full names in upper case."""
    return {name.upper(): text or "" for name, text in texts.items() if name.upper().startswith(PREFIX)}


def _texts(place: str, texts: Mapping[str, str], faults: list[str]) -> Layer:
    """A layer of full names. An empty text counts as unset, as ``${NAME:-}`` leaves it."""
    faults += unknown(texts, place)
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): text for name, text in texts.items() if text and name in _SETTABLE}
    return Layer(place, source())


def _without_service_links(texts: dict[str, str], faults: list[str]) -> dict[str, str]:
    links = [
        name
        for name, text in texts.items()
        if "__" not in name
        and (link := _SERVICE_LINK.fullmatch(name))
        # A person who means a port gives a number where Kubernetes gives tcp://address:port.
        and ("://" in text or not link["bare"])
    ]
    if links:
        faults.append(
            f"{', '.join(sorted(links))}: set by Kubernetes for a Service whose name begins with watcher; "
            "set enableServiceLinks: false in the pod's spec, or rename the Service"
        )
    return {name: text for name, text in texts.items() if name not in links}


def _dotenv(path: Path, faults: list[str]) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as lines:
            broken = [str(binding.original.line) for binding in parse_stream(lines) if binding.error]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as fault:
        faults.append(
            f"{path}: {_reason(fault)}; make it a readable file of NAME=value lines, or move it away"
        )
        return {}
    if broken:
        faults.append(f"{path}: not NAME=value in line {', '.join(broken)}; mend what stands there")
        return {}
    return _ours(DotEnvSettingsSource(Settings, env_file=path, env_file_encoding="utf-8").env_vars)


def _toml(path: Path, faults: list[str]) -> Layer:
    place = str(path)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as fault:
        # The parser's own words may quote the text, which may be a secret; where it stands is enough.
        found = re.search(r"\(at ([\w ,]+)\)$", str(fault))
        faults.append(f"{CONFIG}: {path} is not TOML{f' ({found[1]})' if found else ''}; mend it there")
        return Layer(place, {})
    except (OSError, UnicodeDecodeError) as fault:
        faults.append(f"{CONFIG}: {path} {_reason(fault)}; give the path of a readable TOML file")
        return Layer(place, {})
    flat: dict[str, object] = {}
    for title, value in data.items():
        if isinstance(value, dict) and title.lower() != "webhooks":
            flat |= {f"{title}__{field}".lower(): given for field, given in value.items()}
        else:
            flat[title.lower()] = value
    faults += unknown((PREFIX + name.upper() for name in flat), place, _SETTABLE)
    sections: dict[str, dict[str, object]] = {}
    for section, _, field in (name.partition("__") for name in flat if PREFIX + name.upper() in _SETTABLE):
        if field:
            sections.setdefault(section, {})[field] = flat[f"{section}__{field}"]
    return Layer(place, {**sections, **{name: flat[name] for name in ("webhooks",) if name in flat}})


def _secrets(path: Path, faults: list[str]) -> Layer:
    """One file a setting, named with or without the prefix, in any case. Other files are left alone."""
    texts: dict[str, str] = {}
    place = str(path)
    try:
        # Kubernetes keeps the real files of a volume in hidden directories and links to them.
        files = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as fault:
        faults.append(f"{SECRETS_DIR}: {path} {_reason(fault)}; give the path of a readable directory")
        return Layer(place, {})
    for file in files:
        name = PREFIX + file.name.upper().removeprefix(PREFIX)
        if name not in _SETTABLE:
            faults += unknown([name], place, _SETTABLE) if file.name.upper().startswith(PREFIX) else []
        elif name in texts:
            faults.append(f"{name} (from {place}): two files give it; remove one")
        else:
            try:
                texts[name] = file.read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as fault:
                faults.append(
                    f"{name} (from {place}): its file {_reason(fault)}; make it a readable text file"
                )
    return _texts(place, texts, faults)


def _reason(fault: OSError | UnicodeDecodeError) -> str:
    return f"cannot be read ({fault.strerror})" if isinstance(fault, OSError) else "is not UTF-8 text"
