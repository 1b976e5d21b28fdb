"""What a right configuration gives, and where it is read from."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from watcher.errors import ConfigurationError
from watcher.settings import (
    Endpoint,
    HooksSettings,
    HttpSettings,
    MoniteSettings,
    PollSettings,
    RedisSettings,
    Settings,
    load_settings,
)

SECRET = "whsec_" + "A" * 32
OTHER_SECRET = "whsec_" + "B" * 32
ENTITY = "5b0b3bd8-9a3f-4cb4-8e0b-2f6b3c5e7a11"
OTHER_ENTITY = "0e2a9d5c-7a59-4f8e-9b0a-44f2b4a7f3d2"


def load(**names: str) -> Settings:
    return load_settings({f"WATCHER_{name}": text for name, text in names.items()}, None)


def faults(**names: str) -> list[str]:
    """The lines that say what is wrong, or none."""
    try:
        load(**names)
    except ConfigurationError as error:
        return str(error).splitlines()
    return []


def fault(**names: str) -> str:
    """The only fault, which behind a semicolon says the mending."""
    (line,) = faults(**names)
    assert "; " in line
    return line


def endpoint(**fields: object) -> str:
    return json.dumps([{"name": "a", "url": "https://x.test/y", "secrets": [SECRET], **fields}])


def test_the_defaults_are_the_contracts() -> None:
    settings = load()

    assert settings.monite == MoniteSettings()
    assert settings.monite.base_url == "https://api.sandbox.monite.com/v1"
    assert settings.monite.api_version == "2024-05-25"
    assert [settings.monite.token, settings.monite.client_id, settings.monite.client_secret] == [None] * 3
    assert settings.monite.entities == settings.monite.document_types == ()
    assert (settings.monite.requests_per_second, settings.monite.timeout) == (24, 10)
    assert settings.poll == PollSettings(
        interval=5, target_delay=1, start="baseline", horizon=86400, stalled_after=300
    )
    assert (settings.redis.url, settings.redis.port) == (None, None)
    assert (settings.redis.namespace, settings.redis.shards) == ("watcher", 1)
    assert settings.redis.data_dir.is_absolute()
    assert settings.redis.data_dir.name == "ocr-watcher"
    assert set(settings.events.types) == {
        f"ocr_task.{kind}" for kind in ("success", "error", "stalled", "vanished")
    }
    assert settings.events.recognized_data is False
    assert settings.events.retention == 604800
    assert settings.alerts.urls == settings.webhooks == ()
    assert settings.http == HttpSettings(host="127.0.0.1", port=9410, token=None)
    assert settings.hooks == HooksSettings(monite_secret=None)
    assert (settings.log.level, settings.log.format) == ("info", "auto")


def test_made_directly_settings_read_nothing_of_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_POLL__INTERVAL", "7")

    assert Settings().poll.interval == 5


def test_without_a_mapping_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_POLL__INTERVAL", "7")

    assert load_settings(env_file=None).poll.interval == 7


def test_names_are_read_in_any_case_and_those_of_others_are_left_alone() -> None:
    settings = load_settings({"watcher_poll__Interval": "7", "WATCHERS": "x", "PATH": "/bin"}, None)

    assert settings.poll.interval == 7


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("[]", ()),
        ("all", "all"),
        ('"all"', "all"),
        (ENTITY, (ENTITY,)),
        (f"{ENTITY}, {OTHER_ENTITY}", (ENTITY, OTHER_ENTITY)),
        (json.dumps([OTHER_ENTITY, ENTITY]), (OTHER_ENTITY, ENTITY)),
        (ENTITY.upper(), (ENTITY,)),
        (ENTITY.replace("-", ""), (ENTITY,)),
    ],
)
def test_entities(text: str, entities: object) -> None:
    assert load(MONITE__ENTITIES=text).monite.entities == entities


def test_a_hundred_thousand_entities_are_no_more_than_their_list() -> None:
    ids = [str(UUID(int=number)) for number in range(100_000)]
    assert load(MONITE__ENTITIES=json.dumps(ids)).monite.entities == tuple(ids)


@pytest.mark.parametrize(
    ("text", "types"),
    [("all", ()), ("[]", ()), ("invoice", ("invoice",)), ('["receipt", "invoice"]', ("receipt", "invoice"))],
)
def test_document_types(text: str, types: object) -> None:
    assert load(MONITE__DOCUMENT_TYPES=text).monite.document_types == types


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("success", ("ocr_task.success",)),
        ("ocr_task.stalled,processing,stalled", ("ocr_task.stalled", "ocr_task.processing")),
        ('["vanished", "ocr_task.error"]', ("ocr_task.vanished", "ocr_task.error")),
    ],
)
def test_event_types_are_kept_in_full_and_once(text: str, types: object) -> None:
    assert load(EVENTS__TYPES=text).events.types == types


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("baseline", "baseline"),
        ("all", "all"),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-01 02:00:00.000007+02:00", 7),
        ("1970-01-02", 86_400_000_000),
    ],
)
def test_the_start(text: str, start: object) -> None:
    assert load(POLL__START=text).poll.start == start


@pytest.mark.parametrize(
    "text",
    [
        "mailto://u:p@x.test json://y.test/a,b",
        "mailto://u:p@x.test, json://y.test/a,b",
        '["mailto://u:p@x.test","json://y.test/a,b"]',
    ],
)
def test_alert_urls(text: str) -> None:
    urls = load(ALERTS__URLS=text).alerts.urls

    assert [url.get_secret_value() for url in urls] == ["mailto://u:p@x.test", "json://y.test/a,b"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://u:p%40@store",
        "rediss://store:6380/2?ssl_cert_reqs=required&ssl_check_hostname=true",
        "redis+sentinel://u:p@a,b:26380,[::1]/main/2?sentinel_password=q",
        "rediss+cluster://u:p@a:7000,b:7001",
        "redis://[::1]:6379",
        "unix:///run/valkey.sock?db=3",
        "unix://u:p@/run/valkey.sock",
    ],
)
def test_store_urls(url: str) -> None:
    given = load(REDIS__URL=url).redis.url

    assert given is not None
    assert given.get_secret_value() == url


def test_the_root_of_the_api_needs_no_version_and_loses_its_last_slash() -> None:
    assert load(MONITE__BASE_URL="http://127.0.0.1:8080/").monite.base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_listener_on_loopback_needs_no_token(host: str) -> None:
    assert load(HTTP__HOST=host).http.token is None


def test_a_listener_elsewhere_does_with_a_token() -> None:
    assert load(HTTP__HOST="::", HTTP__TOKEN="let-me-in").http.host == "::"


@pytest.mark.parametrize("text", ["DEBUG", "Error"])
def test_log_levels_in_any_case(text: str) -> None:
    assert load(LOG__LEVEL=text).log.level == text.lower()


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load(REDIS__DATA_DIR="~/store").redis.data_dir == tmp_path / "store"


def test_only_commands_that_ask_the_api_need_credentials() -> None:
    assert load_settings({}, None).monite.token is None
    with pytest.raises(ConfigurationError, match=r"^WATCHER_MONITE__TOKEN: nothing .*CLIENT_SECRET$"):
        load_settings({}, None, need_api=True)
    for credentials in (
        {"WATCHER_MONITE__TOKEN": "t"},
        {"WATCHER_MONITE__CLIENT_ID": "i", "WATCHER_MONITE__CLIENT_SECRET": "s"},
    ):
        load_settings(credentials, None, need_api=True)


def test_secrets_for_the_mask() -> None:
    settings = load(
        MONITE__CLIENT_ID="not-secret",
        MONITE__CLIENT_SECRET="a-client-secret",
        REDIS__URL="redis://u:p%40ss@store/0",
        HTTP__TOKEN="a-http-token",
        HOOKS__MONITE_SECRET="whsec_of-hooks",
        ALERTS__URLS="mailto://user:mailpass@x.test",
        WEBHOOKS=endpoint(headers={"Authorization": "Bearer of-news"}),
    )

    assert set(settings.secret_values()) == {
        "a-client-secret",
        "redis://u:p%40ss@store/0",
        "p%40ss",
        "p@ss",
        "a-http-token",
        "whsec_of-hooks",
        "mailto://user:mailpass@x.test",
        "mailpass",
        SECRET,
        "Bearer of-news",
        "of-news",
    }
    assert MoniteSettings(token="static-token").token not in (None, "static-token")
    assert Settings(monite=MoniteSettings(token="static-token")).secret_values() == ("static-token",)


def test_settings_do_not_change() -> None:
    settings = load(WEBHOOKS=endpoint())

    for part, name in ((settings, "log"), (settings.poll, "interval"), (settings.webhooks[0], "name")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, name, getattr(part, name))


def test_parts_are_checked_when_made_directly_too() -> None:
    with pytest.raises(ValueError, match="whsec_") as caught:
        Endpoint(name="a", url="https://x.test", secrets=["zq7x"])
    assert "zq7x" not in str(caught.value)
    with pytest.raises(ValueError, match="whsec_") as caught:
        Settings(webhooks=[{"name": "a", "url": "https://x.test", "secrets": ["zq7x"]}])
    assert "zq7x" not in str(caught.value)
    with pytest.raises(ValueError, match="embedded"):
        RedisSettings(url="redis://x", port=7000)
