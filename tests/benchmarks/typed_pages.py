"""A page of tasks with every documented field, as msgspec structs and as pydantic models.

Amounts are floats: the fastest that either can do, though a float loses digits.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from pydantic import BaseModel


class StructAddress(msgspec.Struct):
    city: str
    country: str
    postal_code: str
    state: str | None
    street_and_number: str


class StructAccount(msgspec.Struct):
    bank_account_number: str
    iban: str
    swift_bic: str


class StructParty(msgspec.Struct):
    name: str
    email: str
    tax_number: str
    vat_number: str
    address: StructAddress
    bank_account: StructAccount


class StructLine(msgspec.Struct):
    name: str
    description: str | None
    line_reference: str
    quantity: float
    unit: str | None
    unit_price: float
    subtotal: float
    tax_rate: float | None
    tax_amount: float | None
    total_amount: float


class StructDocument(msgspec.Struct):
    type: str
    document_number: str
    currency: str
    sender: StructParty
    line_items: list[StructLine]
    subtotal: float
    tax_rate: float
    tax_amount: float
    total_amount: float
    recipient: StructParty | None = None
    issue_date: str | None = None
    due_date: str | None = None
    payment_terms: str | None = None
    amount_paid: float | None = None
    original_invoice_number: str | None = None
    issued_at: datetime | None = None
    discount: float | None = None
    tax_type: str | None = None


class StructRow(msgspec.Struct):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    document_type: str | None = None
    recognized_data: StructDocument | None = None


class StructPage(msgspec.Struct):
    data: list[StructRow]
    next_pagination_token: str | None = None


class SlimModelRow(BaseModel):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime


class SlimModelPage(BaseModel):
    data: list[SlimModelRow]
    next_pagination_token: str | None = None


class ModelAddress(BaseModel):
    city: str
    country: str
    postal_code: str
    state: str | None
    street_and_number: str


class ModelAccount(BaseModel):
    bank_account_number: str
    iban: str
    swift_bic: str


class ModelParty(BaseModel):
    name: str
    email: str
    tax_number: str
    vat_number: str
    address: ModelAddress
    bank_account: ModelAccount


class ModelLine(BaseModel):
    name: str
    description: str | None
    line_reference: str
    quantity: float
    unit: str | None
    unit_price: float
    subtotal: float
    tax_rate: float | None
    tax_amount: float | None
    total_amount: float


class ModelDocument(BaseModel):
    type: str
    document_number: str
    currency: str
    sender: ModelParty
    line_items: list[ModelLine]
    subtotal: float
    tax_rate: float
    tax_amount: float
    total_amount: float
    recipient: ModelParty | None = None
    issue_date: str | None = None
    due_date: str | None = None
    payment_terms: str | None = None
    amount_paid: float | None = None
    original_invoice_number: str | None = None
    issued_at: datetime | None = None
    discount: float | None = None
    tax_type: str | None = None


class ModelRow(BaseModel):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    document_type: str | None = None
    recognized_data: ModelDocument | None = None


class ModelPage(BaseModel):
    data: list[ModelRow]
    next_pagination_token: str | None = None
