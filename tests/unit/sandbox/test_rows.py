from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.sandbox.helpers import NOBODY, after, task_at, world_of
from watcher.model import Micros, TaskId
from watcher.sandbox import Query, WorldSettings
from watcher.sandbox.documents import recognized_data
from watcher.sandbox.rows import damaged, odd, stamp, task_row

REQUIRED = {"id", "created_at", "updated_at", "status"}


def written(row: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(row))


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00+00:00"),
        (1, "1970-01-01T00:00:00.000001+00:00"),
        (1_800_000_000_500_000, "2027-01-15T08:00:00.500000+00:00"),
    ],
)
def test_stamps(instant: int, text: str) -> None:
    assert stamp(Micros(instant)) == text


def test_a_row_over_a_life() -> None:
    task = task_at(0)
    young, old = written(task_row(task, after(1))), written(task_row(task, after(12)))
    assert young == {
        "id": "a",
        "created_at": stamp(after(0)),
        "updated_at": stamp(after(0)),
        "status": "processing",
        "document_type": "invoice",
        "recognized_data": None,
    }
    assert (old["status"], old["updated_at"]) == ("success", stamp(after(12)))
    assert old["recognized_data"]["type"] == "invoice"


def test_an_error_has_no_data() -> None:
    row = written(task_row(task_at(0, outcome="error"), after(20)))
    assert (row["status"], row["recognized_data"]) == ("error", None)


def documents(document_type: str) -> list[tuple[bytes, dict[str, Any]]]:
    found = [recognized_data(TaskId(f"task {n}"), document_type) for n in range(50)]
    return [(text, msgspec.json.decode(text)) for text in found]


@pytest.mark.parametrize(
    ("document_type", "has", "has_not"),
    [
        (
            "invoice",
            {"recipient", "sender", "line_items", "due_date", "amount_paid"},
            {"original_invoice_number"},
        ),
        ("credit_note", {"recipient", "sender", "line_items", "original_invoice_number"}, {"amount_paid"}),
        (
            "receipt",
            {"sender", "line_items", "issued_at", "discount", "tax_type"},
            {"recipient", "issue_date"},
        ),
    ],
)
def test_documents_have_the_documented_shape(document_type: str, has: set[str], has_not: set[str]) -> None:
    for _, document in documents(document_type):
        assert has <= set(document)
        assert not has_not & set(document)
        assert set(document["sender"]) == {
            "name", "email", "tax_number", "vat_number", "address", "bank_account"
        }  # fmt: skip
        assert document["line_items"]


def test_amounts_are_numbers_and_some_have_more_digits_than_a_double_holds() -> None:
    texts = [text.decode() for text, _ in documents("invoice")]
    amounts = [amount for text in texts for amount in re.findall(r'"total_amount":([^,}]+)', text)]
    assert all(re.fullmatch(r"[0-9.E+-]+", amount) for amount in amounts)
    inexact = [amount for amount in amounts if Decimal(amount) != Decimal(repr(float(amount)))]
    assert any(len(amount.partition(".")[0]) > 15 for amount in inexact)
    assert any(len(amount.partition(".")[2]) > 15 for amount in inexact)
    assert all(Decimal(amount) for amount in amounts)


def test_the_sums_are_exact() -> None:
    exact = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
    for text, _ in documents("invoice"):
        document = exact.decode(text)
        assert sum(Decimal(line["total_amount"]) for line in document["line_items"]) == document["subtotal"]


def test_the_same_task_is_read_the_same_again() -> None:
    once = recognized_data(TaskId("x"), "invoice")
    recognized_data.cache_clear()
    assert recognized_data(TaskId("x"), "invoice") == once
    assert recognized_data(TaskId("y"), "invoice") != once


@pytest.mark.parametrize(("draw", "ending"), [(0.1, "Z"), (0.9, "")])
def test_an_odd_row_means_the_same(draw: float, ending: str) -> None:
    plain = written(task_row(task_at(0.25), after(1)))
    row = written(odd(task_row(task_at(0.25), after(1)), draw))
    assert set(row) >= REQUIRED
    assert "recognized_data" not in row
    assert row["created_at"] == plain["created_at"].removesuffix("+00:00") + ending
    assert set(row) - set(plain)


def test_a_damaged_page_keeps_its_other_rows() -> None:
    world = world_of(WorldSettings(rate=5, entities=0))
    page = world.page(NOBODY, Query(), after(30))
    rows = [task_row(task, after(30)) for task in page.tasks]
    ways = set()
    for draw in range(12):
        spoilt = damaged(rows, draw / 12)
        assert spoilt[:-1] == rows[:-1]
        assert spoilt[-1] != rows[-1]
        assert any(not isinstance(spoilt[-1].get(name), str) for name in REQUIRED) or (
            spoilt[-1]["created_at"] == "yesterday"
        )
        ways.add(str(spoilt[-1]))
    assert len(ways) == 6
    assert damaged([], 0.5) == []
