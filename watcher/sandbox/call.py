"""One request on its way through the sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from aiohttp import web

from watcher.model import EntityId, Micros, Scope
from watcher.sandbox.answers import Refusal, detail, unprocessable
from watcher.sandbox.draws import draws
from watcher.sandbox.faults import Fault

ROOT = "/v1"


@dataclass(slots=True)
class Call:
    """A request, when it came, the faults drawn for it, and which of those have really happened."""

    request: web.Request
    kind: str
    number: int
    now: Micros
    seed: int
    struck: frozenset[Fault]
    happened: set[Fault] = field(default_factory=set)
    rows: int = 0

    def hit(self, fault: Fault) -> bool:
        """Whether this fault happens now, where it can happen."""
        if fault in self.struck:
            self.happened.add(fault)
        return fault in self.struck

    def draw(self, purpose: str, which: str = "") -> float:
        """A number in [0, 1) for a choice that this request needs."""
        return draws(self.seed, f"call-{purpose}", f"{self.number}{which}")[0]

    def scope(self) -> Scope:
        """Whose tasks are asked for. Raises the 422 `Refusal` when the header is not a UUID."""
        header = self.request.headers.get("x-monite-entity-id")
        if header is None:
            return Scope()
        try:
            return Scope(EntityId(str(UUID(header))))
        except ValueError:
            fault = detail("header", "x-monite-entity-id", "value is not a valid uuid", "type_error.uuid")
            raise Refusal(unprocessable(fault)) from None


def kind_of(request: web.Request) -> str:
    """Which of the API's operations the request is; ``other`` for none."""
    path = request.path.removeprefix(ROOT)
    if not request.path.startswith(ROOT):
        return "other"
    match request.method, path.split("/")[1:]:
        case "GET", ["ocr_tasks"]:
            return "list_ids" if "id__in" in request.query else "list"
        case "GET", ["ocr_tasks", _]:
            return "get"
        case "POST", ["ocr_tasks"]:
            return "create"
        case "POST", ["ocr_tasks", "upload_from_file"]:
            return "upload"
        case "POST", ["auth", "token"]:
            return "token"
        case "GET", ["entities"]:
            return "entities"
        case _:
            return "other"
