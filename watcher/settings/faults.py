"""What is wrong with values, one line each: the setting's name, the fault and the mending; never a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from watcher.settings.endpoint import Endpoint
from watcher.settings.names import FIELDS, PREFIX, from_place, not_a_field, written
from watcher.settings.sources import Layer
from watcher.settings.whole import Misfit

_KINDS: Final = {
    "float": "a number",
    "finite": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "string": "text in quotes",
    "tuple": "a list",
    "mapping": "a table of names and values",
    "dict": "a table of names and values",
    "model": "a table of settings",
    "path": "a path in quotes",
}
"""What was wanted, by the first word of pydantic's error types."""

_PASSED: Final = {
    "greater_than": "is not above {gt:.12g}",
    "greater_than_equal": "is less than {ge:.12g}",
    "less_than_equal": "is more than {le:.12g}",
}
_BOUNDS: Final = {"gt": "above", "ge": "from", "le": "up to"}


def explained(error: ValidationError, layers: Sequence[Layer]) -> list[str]:
    """A line for each fault that pydantic found in the values of the layers."""
    return [_line(detail, layers) for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails, layers: Sequence[Layer]) -> str:
    section, key = str(detail["loc"][0]), None
    parts = list(detail["loc"][1:])
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, Misfit):
        parts = [error.field]
    name, field = f"{PREFIX}{section}".upper(), None
    if section == "webhooks":
        if parts:
            name += f"[{parts.pop(0)}]"
        if parts:
            inner = str(parts.pop(0))
            name, field = f"{name}.{written(inner)}", Endpoint.model_fields.get(inner)
    elif parts:
        key = str(parts.pop(0))
        name = f"{PREFIX}{section}__{key}".upper()
        field = FIELDS[name]
    # Of what lies deeper only places in lists are told: names in a table of headers are a person's own.
    name += "".join(f"[{part}]" for part in parts if isinstance(part, int))
    name = from_place(name, next((layer.place for layer in layers if layer.holds(section, key)), ""))
    if detail["type"] == "extra_forbidden":
        return not_a_field(name, str(detail["loc"][-1]))
    return f"{name}: {_wrong(detail, field)}"


def _wrong(detail: ErrorDetails, field: FieldInfo | None) -> str:
    error, context = detail["type"], detail.get("ctx", {})
    if error == "value_error":
        return str(context["error"])
    about = field.description if field else None
    if error == "missing":
        return f"is missing; give it: {about}"
    shown = _shown(detail["input"], field)
    if error == "literal_error":
        return f"{shown} is not known; give {context['expected']}"
    if error in _PASSED:
        return f"{shown} {_PASSED[error].format(**context)}; give {_number(field)}"
    kind = error.split("_", 1)[0]
    if kind in ("float", "int", "finite"):
        return f"{shown} is not {_KINDS[kind]}; give {_number(field)}"
    if kind in _KINDS:
        return f"{shown} has the wrong type; give {_KINDS[kind]}"
    return f"{shown} cannot be used; give {about}"


def _number(field: FieldInfo | None) -> str:
    """The number that is wanted, with its unit and bounds."""
    bounds = {
        word: getattr(rule, word)
        for rule in (field.metadata if field else ())
        for word in _BOUNDS
        if hasattr(rule, word)
    }
    extra = field.json_schema_extra if field else None
    unit = f" of {extra['unit']}" if isinstance(extra, dict) and "unit" in extra else ""
    text = "".join(f" {words} {bounds[word]:.12g}" for word, words in _BOUNDS.items() if word in bounds)
    whole = field is not None and int in (field.annotation, *get_args(field.annotation))
    return f"a {'whole ' if whole else ''}number{unit}{text}"


def _shown(value: object, field: FieldInfo | None) -> str:
    """The value, where it is short and cannot hold a secret."""
    if field is None or not field.repr or _may_hold_secrets(field.annotation):
        return "the value"
    if isinstance(value, str):
        return (
            value
            if re.fullmatch(r"[-+.\w]{1,20}", value, re.ASCII) and value[0] in "-+.0123456789"
            else ascii(value[:60])
        )
    return str(value) if isinstance(value, bool | int | float) else "the value"


def _may_hold_secrets(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | BaseModel):
        return True
    return any(_may_hold_secrets(part) for part in get_args(annotation))
