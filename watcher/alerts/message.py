"""The words of a notification. Pure; what was recognised in a document never comes here."""

from __future__ import annotations

from dataclasses import dataclass

from watcher.alerts.grouping import Group, Kind, Tally
from watcher.model import Micros, to_iso


@dataclass(frozen=True, slots=True)
class Message:
    """A notification as plain text: a short title and some lines."""

    kind: Kind
    title: str
    body: str


def compose(group: Group) -> Message:
    """What people are told of a group."""
    lines = [
        _span(group),
        "Document types: " + _tally(group.document_types, nameless="not given"),
        "Entities: " + _tally(group.entities, nameless="no entity"),
    ]
    if group.kind is Kind.UNKNOWN_STATUS:
        lines.insert(1, "Statuses: " + _tally(group.statuses, nameless="none"))
    lines += ["", "Task ids:" if group.count > 1 else "Task id:", *group.task_ids]
    if more := group.count - len(group.task_ids):
        lines.append(f"and {more} more")
    return Message(group.kind, _title(group), "\n".join(lines))


def _title(group: Group) -> str:
    tasks = "1 OCR task" if group.count == 1 else f"{group.count} OCR tasks"
    match group.kind:
        case Kind.ERROR:
            return f"{tasks} failed"
        case Kind.UNKNOWN_STATUS:
            return f"{tasks} {'has' if group.count == 1 else 'have'} an undocumented status"


def _span(group: Group) -> str:
    what = "Failed" if group.kind is Kind.ERROR else "Seen"
    since, until = _moment(group.since), _moment(group.until)
    if since == until:
        return f"{what} at {since} UTC."
    return f"{what} between {since} and {until} UTC."


def _moment(instant: Micros) -> str:
    return to_iso(instant)[:19].replace("T", " ")


def _tally(tally: Tally, *, nameless: str) -> str:
    ranked = sorted(tally.counts.items(), key=lambda pair: (-pair[1], pair[0] or ""))
    parts = [f"{nameless if name is None else name} {count}" for name, count in ranked]
    if tally.others:
        parts.append(f"others {tally.others}")
    return ", ".join(parts)
