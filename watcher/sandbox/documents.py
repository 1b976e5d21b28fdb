"""What the simulated OCR reads from a document: invented people, real shapes, numbers with many digits."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Final

import msgspec

from watcher.model import TaskId

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_CACHED: Final = 8192
"""Documents kept written, about 1.5 kB each: a watcher reads the same rows many times over."""

_NAMES: Final = ("Ardent", "Birch", "Copper", "Dune", "Ember", "Fjord", "Grove", "Harbour", "Iris", "Juniper")
_TRADES: Final = ("Bakery", "Cycles", "Freight", "Joinery", "Lighting", "Printing", "Roofing", "Textiles")
_PLACES: Final = (("Berlin", "DE"), ("Łódź", "PL"), ("Malmö", "SE"), ("Nîmes", "FR"), ("Porto", "PT"))
_GOODS: Final = ("Consulting", "Oak board 18 mm", "Pallet hire", "Paper, A4", "Transport", "Würfelzucker")


@lru_cache(maxsize=_CACHED)
def recognized_data(task: TaskId, document_type: str) -> bytes:
    """The JSON text that the OCR reads from this task's document; the same for the same task.

    Amounts keep every digit that they are written with, and some have more than a double can hold.
    """
    # Seeded and reproducible on purpose: nothing secret is drawn here.
    random = Random(f"document:{task}")  # noqa: S311
    lines, totals = zip(*(_line(random, document_type, n) for n in range(random.randint(1, 5))), strict=True)
    subtotal = sum(totals, Decimal(0))
    tax_rate = Decimal(random.choice(("0", "7", "19", "20.5")))
    tax = subtotal * tax_rate / 100
    document: dict[str, object] = {
        "type": document_type,
        "document_number": f"{document_type[:2].upper()}-{random.randrange(10**6):06}",
        "currency": random.choice(("EUR", "GBP", "SEK", "USD")),
        "sender": _party(random),
        "line_items": lines,
        "subtotal": subtotal,
        "tax_rate": tax_rate,
        "tax_amount": tax,
        "total_amount": subtotal + tax,
    }
    day = f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    if document_type == "receipt":
        document |= {
            "issued_at": f"{day}T{random.randint(8, 20):02}:15:00Z",
            "discount": None,
            "tax_type": "VAT",
        }
        return _ENCODER.encode(document)
    document |= {"recipient": _party(random), "issue_date": day}
    if document_type == "credit_note":
        document["original_invoice_number"] = f"IN-{random.randrange(10**6):06}"
    else:
        document |= {"due_date": day, "payment_terms": "30 days net", "amount_paid": Decimal("0.00")}
    return _ENCODER.encode(document)


def _line(random: Random, document_type: str, number: int) -> tuple[dict[str, object], Decimal]:
    price = _amount(random)
    quantity = Decimal(random.randint(1, 400)) / random.choice((1, 1, 8))
    line: dict[str, object] = {
        "name": random.choice(_GOODS),
        "description": None,
        "line_reference": str(number + 1),
        "quantity": quantity,
        "unit": random.choice(("hour", "kg", "piece", None)),
        "unit_price": price,
        "subtotal": price * quantity,
        "tax_rate": None,
        "tax_amount": None,
        "total_amount": price * quantity,
    }
    if document_type == "receipt":
        line["discount_amount"] = None
    return line, price * quantity


def _amount(random: Random) -> Decimal:
    """A price with two decimals, with seventeen, or with more digits before the point than a double holds."""
    how = random.random()
    if how < 0.7:
        return Decimal(random.randrange(1, 500_000)).scaleb(-2)
    if how < 0.95:
        return Decimal(random.randrange(1, 10**20)).scaleb(-17)
    return Decimal(random.randrange(10**17, 10**18)).scaleb(-2)


def _party(random: Random) -> dict[str, object]:
    city, country = random.choice(_PLACES)
    name = f"{random.choice(_NAMES)} {random.choice(_TRADES)}"
    digits = f"{random.randrange(10**18):018}"
    return {
        "name": name,
        "email": f"office@{name.split()[0].lower()}.example",
        "tax_number": digits[:10],
        "vat_number": country + digits[:9],
        "address": {
            "city": city,
            "country": country,
            "postal_code": digits[-5:],
            "state": None,
            "street_and_number": f"Example street {random.randint(1, 99)}",
        },
        "bank_account": {
            "bank_account_number": digits[8:],
            "iban": f"{country}00{digits}",
            "swift_bic": f"XMPL{country}22",
        },
    }
