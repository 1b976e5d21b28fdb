"""Wrong values: each is told in one line with the setting's name and the mending."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_settings import ENTITY, endpoint, fault, faults


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        # The API
        ("MONITE__BASE_URL", "api.monite.com/v1", "does not begin with https:// or http://"),
        ("MONITE__BASE_URL", "ftp://api.monite.com", "does not begin with https:// or http://"),
        ("MONITE__BASE_URL", "https:///v1", "names no host"),
        ("MONITE__BASE_URL", "https://u:p@api.monite.com/v1", "carries credentials"),
        ("MONITE__BASE_URL", "https://@api.monite.com/v1", "carries credentials"),
        ("MONITE__BASE_URL", "https://api.monite.com/v1?x=1", "carries a query"),
        ("MONITE__BASE_URL", "https://api.monite.com/v1?", "carries a query"),
        ("MONITE__BASE_URL", "https://api.monite.com/v1#x", "carries a fragment"),
        ("MONITE__BASE_URL", "https://api.monite.com:99999/v1", "a port that cannot be read"),
        ("MONITE__BASE_URL", "https://api.monite.com:0/v1", "has port 0"),
        ("MONITE__BASE_URL", "https://[::1/v1", "cannot be read"),
        ("MONITE__BASE_URL", "https://api.monite.com/ v1", "holds white space"),
        ("MONITE__BASE_URL", "https://api.monite.com\n/v1", "holds white space"),
        ("MONITE__API_VERSION", "latest", "'latest' is not a version of the API"),
        ("MONITE__API_VERSION", "2024-13-45", "'2024-13-45' is not a version of the API"),
        ("MONITE__TOKEN", "two words", "holds a space"),
        ("MONITE__TOKEN", "line\n", "a line break"),
        ("MONITE__TOKEN", "clé", "outside ASCII"),
        ("MONITE__CLIENT_SECRET", "alone", "is set without its id; set WATCHER_MONITE__CLIENT_ID too"),
        ("MONITE__ENTITIES", "x", "'x' is not a UUID"),
        ("MONITE__ENTITIES", f"{ENTITY},{ENTITY.upper()}", f"{ENTITY} is listed twice"),
        ("MONITE__ENTITIES", f"all,{ENTITY}", '"all" stands among other ids'),
        ("MONITE__ENTITIES", "[1]", "neither a list of ids nor"),
        ("MONITE__ENTITIES", '{"all": true}', "neither a list of ids nor"),
        ("MONITE__ENTITIES", '["', "not JSON (line 1, column 2)"),
        ("MONITE__DOCUMENT_TYPES[1]", "invoice,bill", "'bill' is not known; give invoice"),
        ("MONITE__REQUESTS_PER_SECOND", "0", "0 is not above 0; give a number above 0 up to 1000"),
        ("MONITE__REQUESTS_PER_SECOND", "1000.5", "1000.5 is more than 1000"),
        ("MONITE__REQUESTS_PER_SECOND", "nan", "'nan' is not a number"),
        ("MONITE__TIMEOUT", "0", "0 is not above 0; give a number of seconds above 0 up to 300"),
        # Polling
        ("POLL__INTERVAL", "0", "0 is less than 0.2; give a number of seconds from 0.2 up to 3600"),
        ("POLL__INTERVAL", "0.19", "0.19 is less than 0.2"),
        ("POLL__INTERVAL", "-5", "-5 is less than 0.2"),
        ("POLL__INTERVAL", "five", "'five' is not a number"),
        ("POLL__INTERVAL", "inf", "'inf' is"),
        ("POLL__TARGET_DELAY", "-1", "-1 is less than 0"),
        ("POLL__START", "yesterday", "'yesterday' is neither baseline, all nor a time"),
        ("POLL__START", "2026-13-01", "'2026-13-01' is neither"),
        ("POLL__START", "1969-12-31", "'1969-12-31' is neither"),
        ("POLL__START", "5", "'5' is neither"),
        ("POLL__HORIZON", "0", "0 is less than 1"),
        ("POLL__HORIZON", "4", "is shorter than WATCHER_POLL__INTERVAL"),
        ("POLL__STALLED_AFTER", "0", "0 is less than 1"),
        ("POLL__STALLED_AFTER", "1e9", "1e9 is more than"),
        # The store
        ("REDIS__URL", "http://store", "is not the URL of a Redis server; give redis://"),
        ("REDIS__URL", "store:6379", "is not the URL of a Redis server"),
        ("REDIS__URL", "redis+sentinel://a,b", "names no service"),
        ("REDIS__URL", "redis+sentinel://a,b/main/x", "a database that is not a number"),
        ("REDIS__URL", "redis+sentinel:///main", "names no host"),
        ("REDIS__URL", "redis+cluster://a/1", "a cluster has database 0 alone; take it out"),
        ("REDIS__URL", "redis+cluster://a,,b", "a host or a port that cannot be read"),
        ("REDIS__URL", "redis+cluster://a?sentinel_password=x", "an option that is not allowed"),
        ("REDIS__URL", "redis://a,b", "names several hosts; begin it with redis+sentinel://"),
        ("REDIS__URL", "redis://store?ssl_ca_certs=/ca.pem", "carries ssl_ca_certs, but no TLS"),
        ("REDIS__URL", "rediss://store?ssl_ca_certs=/no/ca.pem", "no file that can be read"),
        ("REDIS__URL", "rediss://store?ssl_keyfile=/key.pem", "give both, or neither"),
        ("REDIS__URL", "rediss://store?ssl_cert_reqs=maybe", "give one of none, optional, required"),
        ("REDIS__URL", "redis://:p#q@store", "write it as %23"),
        ("REDIS__URL", "redis://", "names no host"),
        ("REDIS__URL", "redis://:p@", "names no host"),
        ("REDIS__URL", "redis://store/main", "a database that is not a number"),
        ("REDIS__URL", "redis://store?db=main", "a database that is not a number"),
        ("REDIS__URL", "redis://store:port", "a port that cannot be read"),
        ("REDIS__URL", "redis://store?decode_responses=1", "an option that is not allowed"),
        ("REDIS__URL", "unix://", "names no socket"),
        ("REDIS__URL", "unix://run/valkey.sock", "names no socket"),
        ("REDIS__NAMESPACE", "a:b", "'a:b' cannot be a key prefix"),
        ("REDIS__NAMESPACE", "{a}", "'{a}' cannot be a key prefix"),
        ("REDIS__NAMESPACE", " ", "' ' cannot be a key prefix"),
        ("REDIS__NAMESPACE", "a\n", "cannot be a key prefix"),
        ("REDIS__NAMESPACE", "n" * 65, "cannot be a key prefix"),
        ("REDIS__DATA_DIR", "/dev/null", "/dev/null is not a directory"),
        ("REDIS__DATA_DIR", "~nobody-here/x", "a home directory that is not known"),
        ("REDIS__DATA_DIR", "/" + "d" * 300, "cannot be used (File name too long)"),
        ("REDIS__SHARDS", "0", "0 is less than 1; give a whole number from 1 up to 256"),
        ("REDIS__SHARDS", "257", "257 is more than 256"),
        ("REDIS__SHARDS", "1.5", "1.5 is not a whole number"),
        ("REDIS__PORT", "0", "0 is less than 1"),
        ("REDIS__PORT", "65536", "65536 is more than 65535"),
        # Events and alerts
        ("EVENTS__TYPES[0]", "finished", "'finished' is not known; give ocr_task.error, ocr_task.processing"),
        ("EVENTS__TYPES[1]", "success,other.success", "'other.success' is not known"),
        ("EVENTS__TYPES", "[]", "is empty, so nothing would be published"),
        ("EVENTS__RECOGNIZED_DATA", "perhaps", "'perhaps' has the wrong type; give true or false"),
        ("EVENTS__RETENTION", "0", "0 is not above 0"),
        ("ALERTS__URLS[1]", '["json://x", ""]', "is not an Apprise URL"),
        ("ALERTS__URLS[0]", "somebody@x.test", "is not an Apprise URL"),
        ("ALERTS__URLS", "[", "not JSON"),
        # The listener and the log
        ("HTTP__HOST", "[::1]", "'[::1]' is not a host"),
        ("HTTP__PORT", "-1", "-1 is less than 0"),
        ("HTTP__PORT", "65536", "65536 is more than 65535"),
        ("HTTP__PORT", "http", "'http' is not a whole number"),
        ("HTTP__TOKEN", "a b", "holds a space"),
        ("HOOKS__MONITE_SECRET", "whsec_a b", "holds a space"),
        ("LOG__LEVEL", "loud", "'loud' is not known; give 'debug', 'info', 'warning', 'error' or 'critical'"),
        ("LOG__FORMAT", "xml", "'xml' is not known; give 'auto', 'console' or 'json'"),
    ],
)
def test_a_wrong_value(name: str, text: str, told: str) -> None:
    line = fault(**{name.split("[")[0]: text})

    assert line.startswith(f"WATCHER_{name}: ")
    assert told in line


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        (
            {"MONITE__TOKEN": "t", "MONITE__CLIENT_ID": "i", "MONITE__CLIENT_SECRET": "s"},
            "WATCHER_MONITE__CLIENT_SECRET: both a token and client credentials are set; keep either",
        ),
        (
            {"MONITE__TOKEN": "t", "MONITE__CLIENT_ID": "i"},
            "WATCHER_MONITE__CLIENT_SECRET: both a token and client credentials are set; keep either",
        ),
        (
            {"MONITE__CLIENT_ID": "i"},
            "WATCHER_MONITE__CLIENT_SECRET: is missing while WATCHER_MONITE__CLIENT_ID is set;",
        ),
        (
            {"MONITE__CLIENT_ID": "i d", "MONITE__CLIENT_SECRET": "s"},
            "WATCHER_MONITE__CLIENT_ID: holds a space, a line break or a character outside ASCII;",
        ),
        (
            {"REDIS__WAIT_REPLICAS": "1"},
            "WATCHER_REDIS__WAIT_REPLICAS: is set, and the embedded store has no replicas",
        ),
        (
            {"REDIS__URL": "redis://store", "REDIS__PORT": "7000"},
            "WATCHER_REDIS__PORT: is only for the embedded store, but WATCHER_REDIS__URL is set;",
        ),
        (
            {"HTTP__HOST": "192.0.2.1"},
            "WATCHER_HTTP__TOKEN: is missing while WATCHER_HTTP__HOST is not a loopback address;",
        ),
        ({"HTTP__HOST": "watcher.local"}, "WATCHER_HTTP__TOKEN: is missing"),
        (
            {"ALERTS__URLS": "json://x", "EVENTS__TYPES": "success"},
            "WATCHER_ALERTS__URLS: would never be told of an error, which is not published; add error to",
        ),
    ],
)
def test_values_that_do_not_go_together(environ: dict[str, str], line: str) -> None:
    assert fault(**environ).startswith(line)


def test_a_relative_path_where_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    told = fault(REDIS__DATA_DIR="store")
    assert told == (
        "WATCHER_REDIS__DATA_DIR: store is relative, and the working directory is gone; give it in full"
    )


def test_all_faults_are_told_at_once() -> None:
    lines = faults(
        POLL__INTERVALL="5",
        SERVICE_HOST="10.0.0.1",
        POLL__INTERVAL="0",
        POLL__START="never",
        MONITE__BASE_URL="x",
        MONITE__TOKEN="t",
        MONITE__CLIENT_ID="i",
        HTTP__HOST="192.0.2.1",
        HTTP__PORT="x",
        CONFIG="/nowhere.toml",
        SECRETS_DIR="/nowhere",
        WEBHOOKS=endpoint(name="?", rate="x"),
    )

    assert sorted(line.partition(":")[0].removeprefix("WATCHER_") for line in lines) == [
        "CONFIG",
        "HTTP__PORT",
        "HTTP__TOKEN",
        "MONITE__BASE_URL",
        "MONITE__CLIENT_SECRET",
        "POLL__INTERVAL",
        "POLL__INTERVALL",
        "POLL__START",
        "SECRETS_DIR",
        "SERVICE_HOST",
        "WEBHOOKS[0].name",
        "WEBHOOKS[0].rate",
    ]
