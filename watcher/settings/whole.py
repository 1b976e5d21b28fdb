"""All settings together, and what must hold between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from watcher.model import ERROR, EVENT_PREFIX
from watcher.settings import values
from watcher.settings.endpoint import Endpoint
from watcher.settings.sections import (
    AlertsSettings,
    EventsSettings,
    HooksSettings,
    HttpSettings,
    LogSettings,
    MoniteSettings,
    PollSettings,
    RedisSettings,
)
from watcher.settings.urls import passwords


class Misfit(ValueError):  # noqa: N818 - says what is wrong with a value, as pydantic's own do
    """A fault of one field of a section, which shows only beside another section."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(fault)
        self.field = field


class Settings(BaseSettings):
    """All settings. Made directly it reads nothing but its arguments; ``load_settings`` reads the world."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        env_prefix="WATCHER_",
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    monite: MoniteSettings = Field(default_factory=MoniteSettings)
    poll: PollSettings = Field(default_factory=PollSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    alerts: AlertsSettings = Field(default_factory=AlertsSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    hooks: HooksSettings = Field(default_factory=HooksSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    webhooks: Annotated[tuple[Endpoint, ...], BeforeValidator(values.json_listed)] = Field(
        (), description="JSON list of endpoints, or [[webhooks]] in TOML"
    )

    @field_validator("alerts")
    @classmethod
    def _alerts_can_come(cls, alerts: AlertsSettings, info: ValidationInfo) -> AlertsSettings:
        events = info.data.get("events")
        if alerts.urls and events and EVENT_PREFIX + ERROR not in events.types:
            raise Misfit(
                "urls",
                "would never be told of an error, which is not published; "
                "add error to WATCHER_EVENTS__TYPES, or take it out",
            )
        return alerts

    @field_validator("webhooks")
    @classmethod
    def _endpoints_agree(cls, endpoints: tuple[Endpoint, ...], info: ValidationInfo) -> tuple[Endpoint, ...]:
        names = [endpoint.name for endpoint in endpoints]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"several endpoints are named {' and '.join(twice)}; give each a name of its own"
            )
        events = info.data.get("events")
        for endpoint in endpoints:
            asked = set(endpoint.events) if "events" in endpoint.model_fields_set else set()
            unpublished = asked.intersection(values.EVENT_TYPES).difference(events.types) if events else set()
            if unpublished:
                raise ValueError(
                    f"{endpoint.name} waits for {', '.join(sorted(unpublished))}, which is not published; "
                    "add it to WATCHER_EVENTS__TYPES or take it out"
                )
        return endpoints

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given."""
        return (init_settings,)

    def secret_values(self) -> tuple[str, ...]:
        """Every secret that is set, for the log's mask; also the password of a URL, the token of a header."""
        found: list[SecretStr | None] = [
            self.monite.token,
            self.monite.client_secret,
            self.redis.url,
            self.http.token,
            self.hooks.monite_secret,
            *self.alerts.urls,
        ]
        for endpoint in self.webhooks:
            found += [*endpoint.secrets, *endpoint.headers.values(), endpoint.proxy]
        texts = [secret.get_secret_value() for secret in found if secret]
        parts = [part for text in texts for part in (*passwords(text), text.rpartition(" ")[2])]
        return tuple(dict.fromkeys([*texts, *parts]))
