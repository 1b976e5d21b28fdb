"""Answers as values, in the shapes in which the API and its gateway give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back: status, body and the few headers that depend on what happened."""

    status: int
    body: bytes
    content_type: str = JSON
    retry_after: int | None = None
    """Whole seconds for ``Retry-After``."""


class Refusal(Exception):  # noqa: N818 - carries the answer to a request; nothing of ours has failed
    """A request that is answered with an error, raised from wherever that is found."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


def as_json(value: object, status: int = 200) -> Answer:
    """Any value as JSON; a ``msgspec.Raw`` in it goes out byte for byte."""
    return Answer(status, msgspec.json.encode(value))


def error(status: int, message: str, type_: str | None = None) -> Answer:
    """``{"error": {"message"}}``, with a ``type`` where the API gives one."""
    body = {"message": message} if type_ is None else {"type": type_, "message": message}
    return as_json({"error": body}, status)


def message(status: int, text: str, retry_after: int | None = None) -> Answer:
    """``{"message"}``, as the gateway before the API answers."""
    return Answer(status, msgspec.json.encode({"message": text}), retry_after=retry_after)


def detail(where: str, name: str, text: str, type_: str) -> dict[str, Any]:
    """One fault of a 422 answer: where the value came from (such as ``query``), its name, what is wrong."""
    return {"loc": [where, name], "msg": text, "type": type_}


def unprocessable(*details: dict[str, Any]) -> Answer:
    """422 with ``{"detail": [...]}``."""
    return as_json({"detail": details}, 422)


def html(status: int, title: str) -> Answer:
    """A page for people, as proxies send it."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, page.encode(), content_type="text/html")


NOT_FOUND: Final = message(404, "no Route matched with those values")
TOO_MANY: Final = "API rate limit exceeded"
EXPIRED: Final = "The token has been expired."
