"""The settings in their groups. Every field has a unit or a form in its description; all are frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from watcher.model import EVENT_PREFIX, PROCESSING, Micros
from watcher.settings import values
from watcher.settings.endpoint import FROZEN
from watcher.settings.store_url import parse_store_url
from watcher.settings.urls import api_root, notification_url, redis_url

_DEFAULT_TYPES = tuple(name for name in values.EVENT_TYPES if name != EVENT_PREFIX + PROCESSING)
_YEAR = 31_536_000

MOST_SHARDS: Final = 256
"""More than there are masters in any sensible cluster: each costs the daemon a reader and a lease."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _some_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise ValueError("is empty, so nothing would be published; name types, or leave it out")
    return tuple(dict.fromkeys(types))


class MoniteSettings(BaseModel):
    """The API that is watched."""

    model_config = FROZEN

    base_url: Annotated[str, AfterValidator(api_root)] = Field(
        "https://api.sandbox.monite.com/v1", description="root of the API, without a slash at its end"
    )
    api_version: Annotated[str, AfterValidator(values.api_version)] = Field(
        "2024-05-25", description="sent as x-monite-version; a date, YYYY-MM-DD"
    )
    token: values.Word | None = Field(None, description="static bearer token; or the next two")
    client_id: Annotated[str, AfterValidator(values.client_id)] | None = Field(
        None, description="client credentials: the daemon fetches and renews its own token"
    )
    client_secret: values.Word | None = Field(None, description="the secret that belongs to the client id")
    entities: values.WatchedEntities = Field(
        (), description="ids of the entities to watch; empty: what belongs to none; all: every entity"
    )
    document_types: values.DocumentTypes = Field(
        (),
        description="of invoice, credit_note, receipt; empty or all: any. Tasks without a type are watched in any case",
    )
    requests_per_second: float = Field(
        24.0, gt=0, le=1000, description="requests per second, the budget shared by all replicas"
    )
    timeout: values.Seconds = Field(10.0, gt=0, le=300, description="seconds for a whole request")

    @field_validator("client_secret")
    @classmethod
    def _one_way_to_authenticate(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        token, client_id = info.data.get("token"), info.data.get("client_id")
        if token and (client_id or secret):
            raise ValueError(
                "both a token and client credentials are set; keep either WATCHER_MONITE__TOKEN "
                "or WATCHER_MONITE__CLIENT_ID and WATCHER_MONITE__CLIENT_SECRET"
            )
        if secret and "client_id" in info.data and not client_id:
            raise ValueError("is set without its id; set WATCHER_MONITE__CLIENT_ID too")
        if client_id and not secret:
            raise ValueError("is missing while WATCHER_MONITE__CLIENT_ID is set; set it too")
        return secret


class PollSettings(BaseModel):
    """When the API is asked, and what the first run does."""

    model_config = FROZEN

    interval: values.Seconds = Field(
        5.0,
        ge=0.2,
        le=3600,
        description="seconds, the longest that a scope with work in flight goes unobserved",
    )
    target_delay: values.Seconds = Field(
        1.0,
        ge=0,
        le=3600,
        description="seconds, the mean detection delay to aim at; 0: as fresh as the budget allows",
    )
    start: Annotated[Literal["baseline", "all"] | Micros, BeforeValidator(values.start)] = Field(
        "baseline", description="first run: baseline, all, or an ISO time (UTC unless it says otherwise)"
    )
    horizon: values.Seconds = Field(
        86_400.0,
        ge=1,
        le=_YEAR,
        description="seconds that a finished task is remembered and late rows are looked for",
    )
    stalled_after: values.Seconds = Field(
        300.0, ge=1, le=_YEAR, description="seconds in processing before ocr_task.stalled"
    )

    @field_validator("horizon")
    @classmethod
    def _beyond_the_interval(cls, horizon: float, info: ValidationInfo) -> float:
        if horizon < info.data.get("interval", 0):
            raise ValueError(
                "is shorter than WATCHER_POLL__INTERVAL, so rows would be forgotten unseen; give more"
            )
        return horizon


class RedisSettings(BaseModel):
    """The store."""

    model_config = FROZEN

    url: Annotated[SecretStr, AfterValidator(redis_url)] | None = Field(
        None,
        description="redis://, unix://, redis+sentinel:// or redis+cluster://; unset: a server of the daemon's own",
    )
    namespace: Annotated[str, AfterValidator(values.namespace)] = Field(
        "watcher", description="prefix of every key, written as a hash tag"
    )
    data_dir: Annotated[Path, AfterValidator(values.directory)] = Field(
        default_factory=lambda: user_data_path("ocr-watcher", appauthor=False),
        description="directory of the embedded store; unset: ocr-watcher in the user's data directory",
    )
    shards: int = Field(
        1, ge=1, le=MOST_SHARDS, description="streams and leases that the scopes are spread over"
    )
    wait_replicas: int = Field(
        0, ge=0, le=100, description="replicas of the store that must have an event before it is delivered"
    )
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port on 127.0.0.1 where the embedded store also listens, for subscribers; unset: none",
    )

    @property
    def survives_a_server(self) -> bool:
        """Whether the store is one that another server takes over: behind sentinels, or a cluster."""
        where = parse_store_url(self.url.get_secret_value()) if self.url else None
        return where is not None and (where.cluster or bool(where.service))

    @field_validator("wait_replicas")
    @classmethod
    def _replicated_only(cls, wait_replicas: int, info: ValidationInfo) -> int:
        if wait_replicas and "url" in info.data and not info.data["url"]:
            raise ValueError(
                "is set, and the embedded store has no replicas, so nothing would be delivered; "
                "set WATCHER_REDIS__URL, or leave it out"
            )
        return wait_replicas

    @field_validator("port")
    @classmethod
    def _embedded_only(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port is not None and info.data.get("url"):
            raise ValueError(
                "is only for the embedded store, but WATCHER_REDIS__URL is set; take one of them out"
            )
        return port


class EventsSettings(BaseModel):
    """What is published, and for how long it is kept."""

    model_config = FROZEN

    types: Annotated[values.EventTypes, AfterValidator(_some_types)] = Field(
        _DEFAULT_TYPES, description="event types published; the prefix ocr_task. may be left out"
    )
    recognized_data: bool = Field(
        False, description="put recognized_data into events; it holds bank accounts and tax numbers"
    )
    retention: values.Seconds = Field(
        604_800.0,
        gt=0,
        le=10 * _YEAR,
        description="seconds that events stay on the stream, longer where a delivery still needs them",
    )


class AlertsSettings(BaseModel):
    """Where people are told of OCR errors."""

    model_config = FROZEN

    urls: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(notification_url)], ...],
        BeforeValidator(values.urls_listed),
    ] = Field((), description="Apprise URLs; secret")


class HooksSettings(BaseModel):
    """Webhooks of others that the watcher takes."""

    model_config = FROZEN

    monite_secret: values.Word | None = Field(
        None,
        description="signing secret of Monite's webhook subscription (whsec_...); unset: only taken on loopback",
    )


class HttpSettings(BaseModel):
    """The listener for health, metrics and operators."""

    model_config = FROZEN

    host: Annotated[str, AfterValidator(values.host)] = Field("127.0.0.1", description="address to listen on")
    port: int = Field(9410, ge=0, le=65535, description="port to listen on; 0 picks one and logs it")
    token: values.Word | None = Field(
        None,
        description="bearer token for what changes state or shows payloads; needed, and asked for, unless on loopback",
    )

    @field_validator("token")
    @classmethod
    def _needed_off_loopback(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if token is None and not values.is_loopback(info.data.get("host", "localhost")):
            raise ValueError(
                "is missing while WATCHER_HTTP__HOST is not a loopback address; set a long random one"
            )
        return token


class LogSettings(BaseModel):
    """What is logged, and in which form."""

    model_config = FROZEN

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)] = (
        Field("info", description="least level that is logged: debug, info, warning, error or critical")
    )
    format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = Field(
        "auto", description="console, json, or auto: console on a terminal, JSON lines otherwise"
    )
