"""Events, endpoints and secrets for the tests of webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr
from redis.asyncio import Redis

from watcher.events.envelope import to_event, to_fields
from watcher.model import EntityId, Event, Micros, Scope, Task, TaskId, Transition, from_seconds
from watcher.settings import Endpoint
from watcher.state.keys import Keys

NOW: Final = 1_800_000_000.0
"""Where the fake clocks begin, in unix seconds: later than any real server's time in this decade."""

KEYS: Final = Keys("t")
SECRET: Final = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
OTHER_SECRET: Final = "whsec_" + "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="


def endpoint(name: str = "one", url: str = "http://127.0.0.1:9/hook", **changes: Any) -> Endpoint:
    return Endpoint(**{"name": name, "url": url, "secrets": (SecretStr(SECRET),), **changes})


def event(
    number: int = 1,
    status: str = "success",
    *,
    entity: str | None = None,
    document_type: str | None = "invoice",
    recognized_data: bytes | None = None,
) -> Event:
    moment = from_seconds(NOW - 10)
    task = Task(
        TaskId(f"00000000-0000-4000-8000-{number:012d}"),
        status,
        Micros(moment - 1_000_000),
        moment,
        document_type,
        recognized_data,
    )
    return to_event(
        Transition(task, status, "processing", 0),
        scope=Scope(EntityId(entity) if entity else None),
        namespace="t",
        source="https://api.example/v1/ocr_tasks",
        detected_at=moment,
        recognized_data=recognized_data is not None,
    )


def fields(some: Event) -> dict[bytes, bytes]:
    """The event as a client reads it from the stream."""
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in to_fields(some).items()
    }


def any_entry(entry_id: str, _: Mapping[bytes, bytes]) -> str:
    """Wants every entry of the stream, in no order."""
    return entry_id


async def publish(redis: Redis, *events: Event, keys: Keys = KEYS) -> list[str]:
    """Append events to the stream; their ids."""
    added: list[Any] = [await redis.execute_command("XADD", keys.events, "*", *_flat(one)) for one in events]  # type: ignore[no-untyped-call] # the client's own
    return [entry_id.decode() for entry_id in added]


def place(entry_id: str) -> tuple[int, int]:
    """Sorts ids as the stream does; as texts, ``1-10`` comes before ``1-2``."""
    milliseconds, sequence = entry_id.split("-")
    return int(milliseconds), int(sequence)


def _flat(some: Event) -> list[str | bytes]:
    return [part for pair in to_fields(some).items() for part in pair]
