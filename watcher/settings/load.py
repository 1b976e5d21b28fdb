"""Reading the settings from where a person has put them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from watcher.errors import ConfigurationError
from watcher.settings.faults import explained
from watcher.settings.sources import Layer, read_layers
from watcher.settings.whole import Settings

_NO_API: Final = (
    "WATCHER_MONITE__TOKEN: nothing to authenticate with at the API; "
    "set it, or both WATCHER_MONITE__CLIENT_ID and WATCHER_MONITE__CLIENT_SECRET"
)


def load_settings(
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    *,
    need_api: bool = False,
) -> Settings:
    """Read all settings.

    A name is looked for in the environment (``environ``, or this process's), then in ``env_file`` if there
    is one, then in the TOML file named by ``WATCHER_CONFIG``, then among the files of the directory named by
    ``WATCHER_SECRETS_DIR``. An empty value counts as unset.

    With ``need_api``, credentials for the API must be there; commands that never ask it leave it off.

    Raises:
        ConfigurationError: with one line for every fault there is; no line shows a secret.
    """
    layers, faults = read_layers(os.environ if environ is None else environ, env_file)
    merged = _merged(layers)
    settings = None
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        faults += explained(error, layers)
    monite = merged.get("monite")
    given = monite if isinstance(monite, dict) else {}
    if need_api and not given.keys() & {"token", "client_id", "client_secret"}:
        faults.append(_NO_API)
    if faults or settings is None:
        raise ConfigurationError(faults)
    return settings


def _merged(layers: tuple[Layer, ...]) -> dict[str, object]:
    """One table of sections out of all layers, of which the first that has a name wins."""
    merged: dict[str, object] = {}
    for layer in reversed(layers):
        for name, value in layer.data.items():
            known = merged.get(name)
            merged[name] = (
                {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
            )
    return merged
