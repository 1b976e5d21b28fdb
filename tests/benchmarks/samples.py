"""Tasks, pages and events to measure with, made by the simulated API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from watcher.events.envelope import to_event
from watcher.model import PROCESSING, SECOND, SUCCESS, Event, Micros, Scope, Task, Transition
from watcher.polling.diff import Rules, kinds_of
from watcher.polling.recorder import Publication
from watcher.sandbox import SimulatedTask, World, WorldSettings
from watcher.sandbox.rows import task_row
from watcher.settings import EventsSettings, PollSettings
from watcher.state.records import Start

START: Final = Micros(1_800_000_000 * SECOND)
SCOPE: Final = Scope()
ROWS: Final = 100
"""Rows of a page: the most that the API gives."""
PAGE_BYTES: Final = 225_000
"""What a page of finished tasks has been seen to weigh."""

RULES: Final = Rules(
    start=Start(START, START, START),
    kinds=kinds_of(frozenset(EventsSettings().types)),
    stalled_after=round(PollSettings().stalled_after * SECOND),
)
"""The daemon's defaults, on a first run at ``START``."""


def publication(namespace: str) -> Publication:
    """How the daemon publishes by default."""
    return Publication(namespace, "https://api.sandbox.monite.com/v1/ocr_tasks", recognized_data=False)


def simulated(count: int, rate: float = 5.0) -> Sequence[SimulatedTask]:
    """So many tasks that arrive one after the other from ``START`` on, ``rate`` in a second."""
    world = World(WorldSettings(rate=rate, entities=0), START)
    seconds = count / rate
    while len(tasks := world.truth(Micros(START + round(seconds * SECOND)))) < count:
        seconds *= 1.1
    return tasks[:count]


def unfinished(task: SimulatedTask) -> Task:
    """The row that the API shows while the task is being processed."""
    return Task(task.id, PROCESSING, task.created_at, task.created_at, task.document_type)


def finished(task: SimulatedTask) -> Task:
    """The row that the API shows once it has ended."""
    return Task(task.id, task.outcome, task.created_at, task.ended_at, task.document_type)


def events(count: int) -> list[Event]:
    """What the daemon would publish of the ends of so many tasks."""
    settings = publication("watcher")
    return [
        to_event(
            Transition(finished(task), task.outcome, PROCESSING, 0),
            scope=SCOPE,
            namespace=settings.namespace,
            source=settings.source,
            detected_at=task.ended_at,
            recognized_data=settings.recognized_data,
        )
        for task in simulated(count)
    ]


def full_page() -> bytes:
    """The API's answer with 100 successes, chosen so that it weighs as near to ``PAGE_BYTES`` as may be."""
    successes = [task for task in simulated(12 * ROWS) if task.outcome == SUCCESS]
    rows = sorted((msgspec.json.encode(task_row(task, task.settled_at)) for task in successes), key=len)
    pages = (rows[at : at + ROWS] for at in range(len(rows) - ROWS + 1))
    chosen = min(pages, key=lambda page: abs(sum(map(len, page)) - PAGE_BYTES))
    return msgspec.json.encode({"data": [msgspec.Raw(row) for row in chosen], "next_pagination_token": None})
