"""One webhook endpoint, as it is set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from watcher.model import ERROR, EVENT_PREFIX, SUCCESS
from watcher.settings import urls, values
from watcher.settings.addresses import is_never_sent_to, literal

RETRY_SCHEDULE: Final = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds before each attempt since the one before: ten in 75.6 hours, as in Standard Webhooks 1.0."""

_OURS: Final = frozenset(
    [
        "content-type",
        "content-length",
        "host",
        "user-agent",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
    ]
)
"""Headers that the sender or HTTP itself writes."""

FROZEN: Final = ConfigDict(
    frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, validate_default=True
)


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        raise ValueError(f"{value[:80]!r} cannot be a name; give 1 to 64 of a-z, 0-9, _ and -")
    return value


def _origin(value: str) -> str:
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(value) > 253 or not re.fullmatch(rf"{label}(\.{label})*", value.lower()):
        raise ValueError(f"{value[:80]!r} is not a DNS name; give one such as events.example.com")
    return value.lower()


def _rising(waits: tuple[float, ...]) -> tuple[float, ...]:
    if not waits or waits[0] != 0:
        raise ValueError("does not begin with 0, the first attempt; give seconds such as [0, 5, 300]")
    if any(later <= earlier for earlier, later in pairwise(waits)):
        raise ValueError("is not rising; give each wait in seconds, longer than the one before: [0, 5, 300]")
    return waits


def _headers(headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    # Neither an odd name nor a value is shown: people put tokens on either side of the colon.
    if not all(re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) for name in headers):
        raise ValueError("has a name that HTTP does not allow; give names such as X-Api-Key, without a colon")
    lowered = [name.lower() for name in headers]
    if len(set(lowered)) < len(lowered):
        raise ValueError("names one header twice, in different case; give each once")
    for name in lowered:
        if name in _OURS or name.startswith("webhook-"):
            raise ValueError(f"would replace {name}, which the watcher writes itself; take it out")
    # A line break would let a value end the header and begin another.
    if any(re.search(r"[^\t -~\xa0-\xff]", value.get_secret_value()) for value in headers.values()):
        raise ValueError("has a value with a line break or a character that HTTP does not allow; take it out")
    return headers


def _different(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not secrets:
        raise ValueError("is empty; give at least one: echo whsec_$(openssl rand -base64 32)")
    if len({secret.get_secret_value() for secret in secrets}) < len(secrets):
        raise ValueError("holds one secret twice; give each once")
    return secrets


def _some(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError("is empty, so nothing would be delivered; name types, or leave it out")
    return tuple(dict.fromkeys(patterns))


def _in_order(coalesce: bool, endpoint: ValidationInfo) -> bool:
    if coalesce and endpoint.data.get("order") == "none":
        raise ValueError('is true without an order; give order = "task" as well')
    return coalesce


class Endpoint(BaseModel):
    """Where and how matching events are delivered. Nothing secret is in its repr."""

    model_config = FROZEN

    name: Annotated[str, AfterValidator(_name)] = Field(
        description="names it in commands, logs, metrics and keys; 1 to 64 of a-z, 0-9, _ and -"
    )
    url: Annotated[str, AfterValidator(urls.webhook_url)] = Field(
        repr=False,
        description="http or https, where events are POSTed; kept out of logs, since its path may be secret",
    )
    secrets: Annotated[
        tuple[values.SigningSecret, ...], BeforeValidator(values.listed), AfterValidator(_different)
    ] = Field(description="whsec_..., or whsk_... for ed25519; the first signs, all sign during rotation")
    events: Annotated[values.EventPatterns, AfterValidator(_some)] = Field(
        (EVENT_PREFIX + SUCCESS, EVENT_PREFIX + ERROR),
        description="event types wanted; the prefix ocr_task. may be left out, * stands for one segment",
    )
    entities: values.Entities = Field(
        (), description="ids of the entities whose events are wanted; empty: any"
    )
    document_types: values.DocumentTypes = Field(
        (), description="of invoice, credit_note, receipt; empty: any, also tasks without a type"
    )
    timeout: values.Seconds = Field(
        15.0, gt=0, le=300, description="seconds for a whole attempt, from the connection to the answer's end"
    )
    concurrency: int = Field(8, ge=1, le=1000, description="attempts at once")
    rate: float | None = Field(None, gt=0, le=10_000, description="attempts per second; unset: not limited")
    origin: Annotated[str, AfterValidator(_origin)] | None = Field(
        None,
        description="DNS name of this sender; if set, nothing is sent before the endpoint has permitted it",
    )
    order: Literal["none", "task"] = Field(
        "none", description="task keeps the events of one task in order; none sends each as soon as it can"
    )
    coalesce: Annotated[bool, AfterValidator(_in_order)] = Field(
        False, description="true passes over what a newer event of its task overtakes; needs an order"
    )
    headers: Annotated[Mapping[str, SecretStr], AfterValidator(_headers)] = Field(
        default_factory=dict, repr=False, description="sent with every attempt; values are kept secret"
    )
    retry_schedule: Annotated[
        tuple[Annotated[values.Seconds, Field(ge=0, le=2_592_000)], ...], AfterValidator(_rising)
    ] = Field(
        RETRY_SCHEDULE, description="seconds before each attempt since the one before; begins with 0, rises"
    )
    content_type: Literal["application/json", "application/cloudevents+json"] = Field(
        "application/json", description="of the body, which is the same either way"
    )
    max_bytes: int = Field(
        1_048_576,
        ge=4096,
        description="bytes of a body at most; of a larger one recognized_data is left out, and truncated is true",
    )
    network: Literal["any", "public"] = Field(
        "any", description="public refuses addresses in private networks when it connects"
    )
    ca_file: Annotated[Path, AfterValidator(values.certificates)] | None = Field(
        None, description="PEM file of the authorities trusted instead of the system's"
    )
    client_cert: Annotated[Path, AfterValidator(values.certificate_and_key)] | None = Field(
        None, description="PEM file with the certificate and the private key shown to the endpoint"
    )
    proxy: Annotated[SecretStr, AfterValidator(urls.proxy_url)] | None = Field(
        None,
        repr=False,
        description="http or https, the proxy that every request goes through; a secret, as it may hold a password",
    )

    @field_validator("proxy")
    @classmethod
    def _dialled_by_another(cls, proxy: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if proxy is not None and info.data.get("network") == "public":
            raise ValueError(
                'cannot hold network = "public": the proxy dials the endpoint, and which address it finds is not '
                "known here; take one of the two out, and let the proxy refuse what is not public"
            )
        address = (
            literal(urls.host_of(info.data["url"])) if proxy is not None and "url" in info.data else None
        )
        if address is not None and is_never_sent_to(address):
            raise ValueError(
                "cannot lead to the url's address, which is link-local or a cloud's metadata service, where nothing "
                "is sent; give another url, and let the proxy refuse such addresses whatever name leads to them"
            )
        return proxy

    def matches(self, type: str, entity_id: str | None, document_type: str | None) -> bool:  # noqa: A002 - its name in CloudEvents
        """Whether this endpoint wants such an event; None where entity or document type is unknown."""
        return (
            any(values.matches_pattern(type, pattern) for pattern in self.events)
            and (not self.entities or entity_id in self.entities)
            and (not self.document_types or document_type in self.document_types)
        )
