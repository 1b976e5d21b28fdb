"""Wrong values: each is told in one line with the setting's name and the mending, and no secret with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.errors import ConfigurationError
from watcher.settings import load_settings

SECRET = "whsec_" + "A" * 32
ENTITY = "5b0b3bd8-9a3f-4cb4-8e0b-2f6b3c5e7a11"


def faults(environ: dict[str, str]) -> list[str]:
    try:
        load_settings({f"WATCHER_{name}": text for name, text in environ.items()}, None)
    except ConfigurationError as error:
        assert str(error) == "\n".join(error.faults)
        return list(error.faults)
    return []


def fault(environ: dict[str, str]) -> str:
    """The only fault, which is one line and, behind a semicolon, says the mending."""
    (line,) = faults(environ)
    assert "\n" not in line
    assert "; " in line
    return line


def endpoint(**fields: object) -> str:
    return json.dumps([{"name": "a", "url": "https://x.test/y", "secrets": [SECRET], **fields}])


def whsec(size: int) -> str:
    return "whsec_" + __import__("base64").b64encode(b"k" * size).decode()


_HELP = "; make one with: echo whsec_$(openssl rand -base64 32)"


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
        ("MONITE__DOCUMENT_TYPES[1]", "invoice,bill", "'bill' is not known; give invoice, credit_note, receipt"),
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
        ("POLL__START", "0001-01-01T00:00:00+14:00", "is neither"),
        ("POLL__HORIZON", "0", "0 is less than 1"),
        ("POLL__HORIZON", "4", "is shorter than WATCHER_POLL__INTERVAL"),
        ("POLL__STALLED_AFTER", "0", "0 is less than 1"),
        ("POLL__STALLED_AFTER", "1e9", "1e9 is more than"),
        # The store
        ("REDIS__URL", "http://store", "is not the URL of a Redis server; give redis://"),
        ("REDIS__URL", "store:6379", "is not the URL of a Redis server"),
        ("REDIS__URL", "redis+sentinel://a,b/main", "Sentinel and Cluster are not supported by this version; give"),
        ("REDIS__URL", "redis+cluster://a", "Sentinel and Cluster are not supported by this version; give"),
        ("REDIS__URL", "rediss+cluster://a", "or unix:///path/to/socket"),
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
        ("LOG__LEVEL", "loud", "'loud' is not known; give 'debug', 'info', 'warning', 'error' or 'critical'"),
        ("LOG__FORMAT", "xml", "'xml' is not known; give 'auto', 'console' or 'json'"),
        # Endpoints
        ("WEBHOOKS", "[{", "not JSON (line 1, column 3)"),
        ("WEBHOOKS", "https://x.test", "not JSON (line 1, column 1)"),
        ("WEBHOOKS", "{}", "has the wrong type; give a list"),
        ("WEBHOOKS", "[" * 100_000, "not JSON (nested too deeply)"),
        ("WEBHOOKS[0]", "[3]", "has the wrong type; give a table of settings"),
        ("WEBHOOKS", json.dumps([*json.loads(endpoint()), *json.loads(endpoint())]), "two endpoints are named a;"),
        ("WEBHOOKS", endpoint(events=["processing"]), "a waits for ocr_task.processing, which is not published; add"),
        ("WEBHOOKS[0].name", endpoint(name="A b"), "'A b' cannot be a name; give 1 to 64 of a-z, 0-9, _ and -"),
        ("WEBHOOKS[0].name", endpoint(name=""), "'' cannot be a name"),
        ("WEBHOOKS[0].name", endpoint(name="a" * 65), "cannot be a name"),
        ("WEBHOOKS[0].name", endpoint(name="a\n"), "cannot be a name"),
        ("WEBHOOKS[0].name", endpoint(name=7), "7 has the wrong type; give text in quotes"),
        ("WEBHOOKS[0].url", endpoint(url="x.test/y"), "does not begin with https:// or http://"),
        ("WEBHOOKS[0].url", endpoint(url="https://u:p@x.test/y"), "carries credentials"),
        ("WEBHOOKS[0].url", endpoint(url="https://x.test/y#z"), "carries a fragment"),
        ("WEBHOOKS[0].url", endpoint(url=""), "is empty"),
        ("WEBHOOKS[0].secrets", endpoint(secrets=[]), "is empty; give at least one"),
        ("WEBHOOKS[0].secrets", endpoint(secrets=[SECRET, SECRET]), "holds one secret twice"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=["A" * 32]), f"does not begin with whsec_{_HELP}"),
        ("WEBHOOKS[0].secrets[1]", endpoint(secrets=[SECRET, "whsec_?"]), f"is not base64 after whsec_{_HELP}"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=["whsec_clé"]), "is not base64 after whsec_"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=["whsk_" + "A" * 32]), "is an ed25519 key (whsk_)"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=[whsec(23)]), "decodes to 23 bytes"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=[whsec(65)]), "decodes to 65 bytes"),
        ("WEBHOOKS[0].secrets[0]", endpoint(secrets=[5]), "the value has the wrong type; give text in quotes"),
        ("WEBHOOKS[0].events", endpoint(events=[]), "is empty, so nothing would be delivered"),
        ("WEBHOOKS[0].events[0]", endpoint(events=["sucess"]), "did you mean ocr_task.success?"),
        ("WEBHOOKS[0].events[0]", endpoint(events=["ocr_task.s*"]), "'ocr_task.s*' is not an event type"),
        ("WEBHOOKS[0].events[0]", endpoint(events=["invoice.*"]), "'invoice.*' matches no event"),
        ("WEBHOOKS[0].events[0]", endpoint(events=["ocr_task.success.now"]), "matches no event"),
        ("WEBHOOKS[0].entities[0]", endpoint(entities=["all"]), "'all' is not a UUID"),
        ("WEBHOOKS[0].entities", endpoint(entities=[ENTITY, ENTITY]), "is listed twice"),
        ("WEBHOOKS[0].document_types[0]", endpoint(document_types=["bill"]), "'bill' is not known"),
        ("WEBHOOKS[0].timeout", endpoint(timeout=0), "0 is not above 0; give a number of seconds above 0 up to 300"),
        ("WEBHOOKS[0].concurrency", endpoint(concurrency=0), "0 is less than 1; give a whole number"),
        ("WEBHOOKS[0].rate", endpoint(rate=0), "0 is not above 0"),
        ("WEBHOOKS[0].headers", endpoint(headers={"Webhook-Id": "x"}), "would replace webhook-id"),
        ("WEBHOOKS[0].headers", endpoint(headers={"content-TYPE": "x"}), "would replace content-type"),
        ("WEBHOOKS[0].headers", endpoint(headers={"Host": "x"}), "would replace host"),
        ("WEBHOOKS[0].headers", endpoint(headers={"Content-Length": "1"}), "would replace content-length"),
        ("WEBHOOKS[0].headers", endpoint(headers={"X-A": "1\r\nX-B: 2"}), "a value with a line break"),
        ("WEBHOOKS[0].headers", endpoint(headers={"X-A": "1\n"}), "a value with a line break"),
        ("WEBHOOKS[0].headers", endpoint(headers={"X-A: 1\r\nX-B": "2"}), "a name that HTTP does not allow"),
        ("WEBHOOKS[0].headers", endpoint(headers={"": "2"}), "a name that HTTP does not allow"),
        ("WEBHOOKS[0].headers", endpoint(headers={"X-A": "1", "x-a": "2"}), "names one header twice"),
        ("WEBHOOKS[0].headers", endpoint(headers={"X-A": 1}), "the value has the wrong type; give text in quotes"),
        ("WEBHOOKS[0].headers", endpoint(headers=["X-A"]), "give a table of names and values"),
        ("WEBHOOKS[0].retry_schedule", endpoint(retry_schedule=[]), "does not begin with 0"),
        ("WEBHOOKS[0].retry_schedule", endpoint(retry_schedule=[5, 10]), "does not begin with 0"),
        ("WEBHOOKS[0].retry_schedule", endpoint(retry_schedule=[0, 5, 5]), "is not rising"),
        ("WEBHOOKS[0].retry_schedule", endpoint(retry_schedule=[0, 10, 5]), "is not rising"),
        ("WEBHOOKS[0].retry_schedule[1]", endpoint(retry_schedule=[0, -5]), "-5 is less than 0"),
        ("WEBHOOKS[0].retry_schedule[1]", endpoint(retry_schedule=[0, "soon"]), "'soon' is not a number"),
        ("WEBHOOKS[0].content_type", endpoint(content_type="text/xml"), "'text/xml' is not known; give 'application/json'"),
        ("WEBHOOKS[0].network", endpoint(network="private"), "'private' is not known; give 'any' or 'public'"),
        ("WEBHOOKS[0].ca_file", endpoint(ca_file="/nowhere.pem"), "/nowhere.pem cannot be read (No such file"),
        ("WEBHOOKS[0].client_cert", endpoint(client_cert="/"), "/ cannot be read (Is a directory)"),
        ("WEBHOOKS[0].ca_file", endpoint(ca_file="/dev/null"), "/dev/null holds no certificate"),
    ],
)  # fmt: skip
def test_a_wrong_value(name: str, text: str, told: str) -> None:
    line = fault({name.split("[")[0]: text})

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
        ({"MONITE__CLIENT_ID": "i"}, "WATCHER_MONITE__CLIENT_SECRET: is missing while WATCHER_MONITE__CLIENT_ID is set;"),
        (
            {"MONITE__CLIENT_ID": "i d", "MONITE__CLIENT_SECRET": "s"},
            "WATCHER_MONITE__CLIENT_ID: holds a space, a line break or a character outside ASCII;",
        ),
        (
            {"REDIS__URL": "redis://store", "REDIS__PORT": "7000"},
            "WATCHER_REDIS__PORT: is only for the embedded store, but WATCHER_REDIS__URL is set;",
        ),
        ({"HTTP__HOST": "0.0.0.0"}, "WATCHER_HTTP__TOKEN: is missing while WATCHER_HTTP__HOST is not a loopback"),
        ({"HTTP__HOST": "watcher.local"}, "WATCHER_HTTP__TOKEN: is missing"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together(environ: dict[str, str], line: str) -> None:
    assert fault(environ).startswith(line)


@pytest.mark.parametrize("missing", ["name", "url", "secrets"])
def test_what_an_endpoint_must_have(missing: str) -> None:
    (given_endpoint,) = json.loads(endpoint())
    del given_endpoint[missing]

    assert fault({"WEBHOOKS": json.dumps([given_endpoint])}).startswith(
        f"WATCHER_WEBHOOKS[0].{missing}: is missing; "
    )


def test_what_an_endpoint_only_gets_by_default_need_not_be_published() -> None:
    assert faults({"EVENTS__TYPES": "error", "WEBHOOKS": endpoint()}) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("-----BEGIN CERTIFICATE-----\n", "holds no private key"),
        ("-----BEGIN PRIVATE KEY-----\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "holds an encrypted key"),
        ("-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "encrypted key"),
    ],
)  # fmt: skip
def test_a_client_certificate_comes_with_its_open_key(tmp_path: Path, content: str, told: str) -> None:
    pem = tmp_path / "client.pem"
    pem.write_text(content)

    assert told in fault({"WEBHOOKS": endpoint(client_cert=str(pem))})


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("POLL__INTERVALL", "did you mean WATCHER_POLL__INTERVAL?"),
        ("POLL_INTERVAL", "did you mean WATCHER_POLL__INTERVAL?"),
        ("INTERVAL", "did you mean WATCHER_POLL__INTERVAL?"),
        ("MONITE", "did you mean WATCHER_MONITE__TOKEN?"),
        ("WEBHOOK", "did you mean WATCHER_WEBHOOKS?"),
        ("TOKEN", "did you mean WATCHER_HTTP__TOKEN or WATCHER_MONITE__TOKEN?"),
        ("REDIS__URL__HOST", "did you mean WATCHER_REDIS__URL?"),
        ("PORT", "did you mean WATCHER_HTTP__PORT or WATCHER_REDIS__PORT?"),
        ("X__QQQQQQQQQQQQQQQQQQQ", "take it out; .env.example lists every setting"),
    ],
)
@pytest.mark.parametrize("text", ["", "8080"])
def test_unknown_names_are_refused_with_the_nearest(name: str, text: str, mend: str) -> None:
    assert faults({name: text}) == [f"WATCHER_{name}: no such setting; {mend}"]


def test_unknown_names_in_an_endpoint_are_refused_with_the_nearest() -> None:
    lines = faults({"WEBHOOKS": endpoint(timout=3, zzz=1)})

    assert lines[0] == "WATCHER_WEBHOOKS[0].timout: no such setting; did you mean timeout?"
    assert lines[1].startswith(
        "WATCHER_WEBHOOKS[0].zzz: no such setting; an endpoint has name, url, secrets, "
    )
    assert len(lines) == 2


@pytest.mark.parametrize(
    "links",
    [
        {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "80", "SERVICE_PORT_HTTP": "80", "PORT": "tcp://10.0.0.1:80"},
        {"PORT_80_TCP": "tcp://10.0.0.1:80", "PORT_80_TCP_PROTO": "tcp", "PORT_80_TCP_PORT": "80"},
        {"PORT_53_UDP_ADDR": "10.0.0.1", "REDIS_PORT": "tcp://10.0.0.2:6379", "REDIS_SERVICE_HOST": "10.0.0.2"},
    ],
)  # fmt: skip
def test_service_links_of_kubernetes_are_named_for_what_they_are(links: dict[str, str]) -> None:
    line = fault(links)

    assert line.startswith(", ".join(f"WATCHER_{name}" for name in sorted(links)) + ": set by Kubernetes")
    assert "enableServiceLinks: false" in line
    assert "rename the Service" in line


def test_all_faults_are_told_at_once() -> None:
    lines = faults(
        {
            "POLL__INTERVALL": "5",
            "SERVICE_HOST": "10.0.0.1",
            "POLL__INTERVAL": "0",
            "POLL__START": "never",
            "MONITE__BASE_URL": "x",
            "MONITE__TOKEN": "t",
            "MONITE__CLIENT_ID": "i",
            "HTTP__HOST": "0.0.0.0",
            "HTTP__PORT": "x",
            "CONFIG": "/nowhere.toml",
            "SECRETS_DIR": "/nowhere",
            "WEBHOOKS": endpoint(name="?", rate="x"),
        }
    )

    assert sorted(line.partition(":")[0].removeprefix("WATCHER_") for line in lines) == [
        "CONFIG", "HTTP__PORT", "HTTP__TOKEN", "MONITE__BASE_URL", "MONITE__CLIENT_SECRET", "POLL__INTERVAL",
        "POLL__INTERVALL", "POLL__START", "SECRETS_DIR", "SERVICE_HOST", "WEBHOOKS[0].name", "WEBHOOKS[0].rate",
    ]  # fmt: skip


MARK = "zq7x"
_texts = st.builds("{}{}{}".format, st.text(max_size=8), st.just(MARK), st.text(max_size=8))


def _hiding_places(text: str) -> list[dict[str, str]]:
    """Every setting that may hold a secret, with the text in every part of it, rightly and wrongly."""
    quoted = json.dumps(text)
    key = "whsec_" + __import__("base64").b64encode(text.encode().ljust(24)[:64]).decode()
    return [
        {"MONITE__TOKEN": text},
        {"MONITE__CLIENT_SECRET": text},
        {"MONITE__CLIENT_ID": "i", "MONITE__CLIENT_SECRET": text},
        {"MONITE__BASE_URL": f"https://u:{text}@x.test"},
        {"MONITE__BASE_URL": f"https://x.test/?key={text}"},
        {"HTTP__TOKEN": text},
        {"ALERTS__URLS": text},
        {"ALERTS__URLS": f"json://{text}@x.test"},
        {"ALERTS__URLS": f"[{quoted}, 5]"},
        {"ALERTS__URLS": f"[{quoted}"},
        *({"REDIS__URL": url.format(text)} for url in (
            "{}", "redis://:{}@x", "{}://x", "redis://x/{}", "redis://x:{}", "redis://x?{}=1", "redis://x?db={}",
            "unix://{}", "redis+sentinel://{}", "redis://[{}",
        )),
        {"WEBHOOKS": text},
        {"WEBHOOKS": f"[{quoted}]"},
        {"WEBHOOKS": f'[{{"secrets": [{quoted}]'},
        *({"WEBHOOKS": endpoint(**fields)} for fields in (
            {"secrets": [text]}, {"secrets": ["whsec_" + text]}, {"secrets": text}, {"secrets": {text: text}},
            {"secrets": [key, key]}, {"secrets": [{"key": text}]},
            {"headers": {"Authorization": text}}, {"headers": {text: "x"}}, {"headers": {"X-A": {text: text}}},
            {"headers": text}, {"headers": [text]}, {"headers": {"Host": text}},
            {"url": text}, {"url": f"https://x.test/{text}"}, {"url": f"https://{text}@x.test/"},
            {"url": f"ftp://x.test?{text}"}, {"url": [text]},
        )),
    ]  # fmt: skip


@given(_texts)
def test_no_secret_is_ever_told(text: str) -> None:
    for environ in _hiding_places(text):
        try:
            settings = load_settings({f"WATCHER_{name}": value for name, value in environ.items()}, None)
        except ConfigurationError as error:
            told = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
        else:
            told = f"{settings} {settings!r}"
        assert MARK not in told.lower(), environ


@given(st.text(min_size=1, max_size=30))
def test_any_text_in_any_setting_ends_in_lines_and_nothing_else(text: str) -> None:
    for name in ("MONITE__ENTITIES", "POLL__START", "POLL__INTERVAL", "REDIS__URL", "REDIS__NAMESPACE", "HTTP__HOST",
                 "EVENTS__TYPES", "REDIS__DATA_DIR", "WEBHOOKS", "ALERTS__URLS", "LOG__LEVEL", text):  # fmt: skip
        for line in faults({name: text}):
            assert line.startswith("WATCHER_")
            assert len(line.splitlines()) == 1
