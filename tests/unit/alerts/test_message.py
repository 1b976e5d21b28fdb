from __future__ import annotations

from functools import reduce

from tests.unit.alerts.occurrences import occurrence
from watcher.alerts.grouping import Group, Kind
from watcher.alerts.message import compose

ENTITY = "3f2c9a44-0d5e-4f0c-9a55-6d3f5b2f7a11"


def test_a_single_error() -> None:
    message = compose(Group.of(occurrence(1)))

    assert message.title == "1 OCR task failed"
    assert message.body == (
        "Failed at 2027-01-15 12:00:01 UTC.\n"
        "Document types: invoice 1\n"
        "Entities: no entity 1\n"
        "\n"
        "Task id:\n"
        "task-1"
    )


def test_a_few_errors() -> None:
    group = (
        Group.of(occurrence(1, document_type="receipt", entity_id=ENTITY))
        .add(occurrence(2, document_type=None))
        .add(occurrence(3, document_type="invoice", entity_id=ENTITY))
        .add(occurrence(4, document_type="invoice"))
        .add(occurrence(5, document_type="credit_note", entity_id=ENTITY))
    )

    message = compose(group)

    assert message.kind is Kind.ERROR
    assert message.title == "5 OCR tasks failed"
    assert message.body == (
        "Failed between 2027-01-15 12:00:01 and 2027-01-15 12:00:05 UTC.\n"
        "Document types: invoice 2, not given 1, credit_note 1, receipt 1\n"
        f"Entities: {ENTITY} 3, no entity 2\n"
        "\n"
        "Task ids:\n"
        "task-1\n"
        "task-2\n"
        "task-3\n"
        "task-4\n"
        "task-5"
    )


def test_many_errors() -> None:
    numbers = range(2, 1235)
    group = reduce(
        Group.add,
        (occurrence(n, entity_id=f"entity-{n % 12:02}") for n in numbers),
        Group.of(occurrence(1, entity_id="entity-01")),
    )

    message = compose(group)

    assert message.title == "1234 OCR tasks failed"
    assert message.body == (
        "Failed between 2027-01-15 12:00:01 and 2027-01-15 12:20:34 UTC.\n"
        "Document types: invoice 1234\n"
        "Entities: entity-01 103, entity-02 103, entity-03 103, entity-04 103, entity-05 103, entity-06 103, "
        "entity-07 103, entity-08 103, entity-09 103, entity-10 103, others 204\n"
        "\n"
        "Task ids:\n" + "\n".join(f"task-{n}" for n in range(1, 11)) + "\nand 1224 more"
    )


def test_a_status_that_the_api_has_not_documented() -> None:
    one = occurrence(1, Kind.UNKNOWN_STATUS, status="canceled")

    message = compose(Group.of(one))

    assert message.kind is Kind.UNKNOWN_STATUS
    assert message.title == "1 OCR task has an undocumented status"
    assert message.body == (
        "Seen at 2027-01-15 12:00:01 UTC.\n"
        "Statuses: canceled 1\n"
        "Document types: invoice 1\n"
        "Entities: no entity 1\n"
        "\n"
        "Task id:\n"
        "task-1"
    )


def test_several_undocumented_statuses() -> None:
    group = (
        Group.of(occurrence(1, Kind.UNKNOWN_STATUS, status="paused"))
        .add(occurrence(2, Kind.UNKNOWN_STATUS, status="canceled"))
        .add(occurrence(3, Kind.UNKNOWN_STATUS, status="canceled"))
    )

    message = compose(group)

    assert message.title == "3 OCR tasks have an undocumented status"
    assert message.body.startswith(
        "Seen between 2027-01-15 12:00:01 and 2027-01-15 12:00:03 UTC.\nStatuses: canceled 2, paused 1\n"
    )
