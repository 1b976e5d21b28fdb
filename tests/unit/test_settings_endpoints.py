"""Endpoints: what they may hold, what is wrong with them, which events they want."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.unit.test_settings import ENTITY, OTHER_ENTITY, OTHER_SECRET, SECRET, endpoint, fault, faults, load

_HELP = "; make one with: echo whsec_$(openssl rand -base64 32)"


def whsec(size: int) -> str:
    return "whsec_" + base64.b64encode(b"k" * size).decode()


def test_the_defaults_of_an_endpoint_are_the_contracts() -> None:
    (one,) = load(WEBHOOKS=endpoint()).webhooks

    assert one.events == ("ocr_task.success", "ocr_task.error")
    assert one.entities == one.document_types == ()
    assert (one.timeout, one.concurrency, one.rate, one.origin) == (15, 8, None, None)
    assert one.headers == {}
    assert one.retry_schedule == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert (one.content_type, one.network) == ("application/json", "any")
    assert (one.order, one.coalesce) == ("none", False)
    assert (one.ca_file, one.client_cert, one.proxy) == (None, None, None)


def test_an_endpoint_with_everything(tmp_path: Path) -> None:
    pem = tmp_path / "client.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n")
    (one,) = load(
        WEBHOOKS=endpoint(
            name="billing-2",
            secrets=[SECRET, OTHER_SECRET],
            events=["success", "ocr_task.*", "*", "canceled"],
            entities=[ENTITY.upper()],
            document_types=["invoice"],
            timeout=20,
            concurrency=2,
            rate=0.5,
            origin="Events.Example.com",
            order="task",
            coalesce=True,
            headers={"Authorization": "Bearer of-news"},
            retry_schedule=[0, 1, 2.5],
            content_type="application/cloudevents+json",
            network="public",
            ca_file=str(pem),
            client_cert=str(pem),
        )
    ).webhooks

    assert [secret.get_secret_value() for secret in one.secrets] == [SECRET, OTHER_SECRET]
    assert one.events == ("ocr_task.success", "ocr_task.*", "ocr_task.canceled")
    assert one.entities == (ENTITY,)
    assert one.headers["Authorization"].get_secret_value() == "Bearer of-news"
    assert one.retry_schedule == (0, 1, 2.5)
    assert (one.rate, one.origin, one.network) == (0.5, "events.example.com", "public")
    assert one.ca_file == pem
    assert (one.order, one.coalesce) == ("task", True)


@pytest.mark.parametrize(
    ("wanted", "type_", "entity", "document", "matches"),
    [
        ({}, "ocr_task.success", None, None, True),
        ({}, "ocr_task.error", ENTITY, "invoice", True),
        ({}, "ocr_task.stalled", None, None, False),
        ({"events": ["*"]}, "ocr_task.canceled", None, None, True),
        ({"events": ["*.success"]}, "ocr_task.success", None, None, True),
        ({"events": ["*.success"]}, "ocr_task.error", None, None, False),
        ({"events": ["ocr_task.*"]}, "ocr_task.a.b", None, None, False),
        ({"events": ["canceled"]}, "ocr_task.canceled", None, None, True),
        ({"entities": [ENTITY]}, "ocr_task.success", ENTITY, None, True),
        ({"entities": [ENTITY]}, "ocr_task.success", OTHER_ENTITY, None, False),
        ({"entities": [ENTITY]}, "ocr_task.success", None, None, False),
        ({"document_types": ["invoice"]}, "ocr_task.success", None, "invoice", True),
        ({"document_types": ["invoice"]}, "ocr_task.success", None, "receipt", False),
        ({"document_types": ["invoice"]}, "ocr_task.success", None, None, False),
        ({"entities": [ENTITY], "document_types": ["invoice"]}, "ocr_task.success", ENTITY, "receipt", False),
    ],
)
def test_which_events_an_endpoint_wants(
    wanted: dict[str, object], type_: str, entity: str | None, document: str | None, *, matches: bool
) -> None:
    (one,) = load(WEBHOOKS=endpoint(**wanted)).webhooks

    assert one.matches(type_, entity, document) is matches


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("", "[{", "not JSON (line 1, column 3)"),
        ("", "https://x.test", "not JSON (line 1, column 1)"),
        ("", "{}", "has the wrong type; give a list"),
        ("", "[" * 100_000, "not JSON (nested too deeply)"),
        ("[0]", "[3]", "has the wrong type; give a table of settings"),
        ("", endpoint()[:-1] + "," + endpoint()[1:], "several endpoints are named a; give"),
        (
            "",
            "[" + ",".join(endpoint(name=name)[1:-1] for name in "aabbc") + "]",
            "several endpoints are named a and b; give each",
        ),
        ("", endpoint(events=["processing"]), "a waits for ocr_task.processing, which is not published; add"),
        ("[0].name", endpoint(name="A b"), "'A b' cannot be a name; give 1 to 64 of a-z, 0-9, _ and -"),
        ("[0].name", endpoint(name=""), "'' cannot be a name"),
        ("[0].name", endpoint(name="a" * 65), "cannot be a name"),
        ("[0].name", endpoint(name="a\n"), "cannot be a name"),
        ("[0].name", endpoint(name=7), "7 has the wrong type; give text in quotes"),
        ("[0].url", endpoint(url="x.test/y"), "does not begin with https:// or http://"),
        ("[0].url", endpoint(url="https://u:p@x.test/y"), "carries credentials"),
        ("[0].url", endpoint(url="https://x.test/y#z"), "carries a fragment"),
        ("[0].url", endpoint(url=""), "is empty"),
        ("[0].secrets", endpoint(secrets=[]), "is empty; give at least one"),
        ("[0].secrets", endpoint(secrets=[SECRET, SECRET]), "holds one secret twice"),
        ("[0].secrets[0]", endpoint(secrets=["A" * 32]), f"does not begin with whsec_{_HELP}"),
        ("[0].secrets[1]", endpoint(secrets=[SECRET, "whsec_?"]), f"is not base64 after whsec_{_HELP}"),
        ("[0].secrets[0]", endpoint(secrets=["whsec_clé"]), "is not base64 after whsec_"),
        ("[0].secrets[0]", endpoint(secrets=["whsk_" + "A" * 32]), "decodes to 24 bytes where an ed25519"),
        ("[0].secrets[0]", endpoint(secrets=["whsk_?"]), "is not base64 after whsk_"),
        ("[0].secrets[0]", endpoint(secrets=[whsec(23)]), "decodes to 23 bytes"),
        ("[0].secrets[0]", endpoint(secrets=[whsec(65)]), "decodes to 65 bytes"),
        ("[0].secrets[0]", endpoint(secrets=[5]), "the value has the wrong type; give text in quotes"),
        ("[0].events", endpoint(events=[]), "is empty, so nothing would be delivered"),
        ("[0].events[0]", endpoint(events=["sucess"]), "did you mean ocr_task.success?"),
        ("[0].events[0]", endpoint(events=["ocr_task.s*"]), "'ocr_task.s*' is not an event type"),
        ("[0].events[0]", endpoint(events=["invoice.*"]), "'invoice.*' matches no event"),
        ("[0].events[0]", endpoint(events=["ocr_task.success.now"]), "matches no event"),
        ("[0].entities[0]", endpoint(entities=["all"]), "'all' is not a UUID"),
        ("[0].entities", endpoint(entities=[ENTITY, ENTITY]), "is listed twice"),
        ("[0].document_types[0]", endpoint(document_types=["bill"]), "'bill' is not known"),
        ("[0].timeout", endpoint(timeout=0), "0 is not above 0; give a number of seconds above 0 up to 300"),
        ("[0].concurrency", endpoint(concurrency=0), "0 is less than 1; give a whole number"),
        ("[0].rate", endpoint(rate=0), "0 is not above 0"),
        (
            "[0].origin",
            endpoint(origin="https://x.test"),
            "'https://x.test' is not a DNS name; give one such as",
        ),
        ("[0].origin", endpoint(origin="a_b.test"), "'a_b.test' is not a DNS name"),
        ("[0].origin", endpoint(origin="x..test"), "is not a DNS name"),
        ("[0].origin", endpoint(origin="*"), "is not a DNS name"),
        ("[0].origin", endpoint(origin="x.test\r\nX-A: 1"), "is not a DNS name"),
        ("[0].origin", endpoint(origin="x.test\n"), "is not a DNS name"),
        ("[0].origin", endpoint(origin=".".join(["a" * 63] * 4)), "is not a DNS name"),
        ("[0].order", endpoint(order="time"), "'time' is not known; give 'none' or 'task'"),
        ("[0].coalesce", endpoint(coalesce=True), 'is true without an order; give order = "task" as well'),
        (
            "[0].coalesce",
            endpoint(coalesce="perhaps", order="task"),
            "has the wrong type; give true or false",
        ),
        ("[0].headers", endpoint(headers={"Webhook-Id": "x"}), "would replace webhook-id"),
        ("[0].headers", endpoint(headers={"content-TYPE": "x"}), "would replace content-type"),
        ("[0].headers", endpoint(headers={"Host": "x"}), "would replace host"),
        ("[0].headers", endpoint(headers={"Content-Length": "1"}), "would replace content-length"),
        ("[0].headers", endpoint(headers={"X-A": "1\r\nX-B: 2"}), "a value with a line break"),
        ("[0].headers", endpoint(headers={"X-A": "1\n"}), "a value with a line break"),
        ("[0].headers", endpoint(headers={"X-A: 1\r\nX-B": "2"}), "a name that HTTP does not allow"),
        ("[0].headers", endpoint(headers={"": "2"}), "a name that HTTP does not allow"),
        ("[0].headers", endpoint(headers={"X-A": "1", "x-a": "2"}), "names one header twice"),
        ("[0].headers", endpoint(headers={"X-A": 1}), "the value has the wrong type; give text in quotes"),
        ("[0].headers", endpoint(headers=["X-A"]), "give a table of names and values"),
        ("[0].retry_schedule", endpoint(retry_schedule=[]), "does not begin with 0"),
        ("[0].retry_schedule", endpoint(retry_schedule=[5, 10]), "does not begin with 0"),
        ("[0].retry_schedule", endpoint(retry_schedule=[0, 5, 5]), "is not rising"),
        ("[0].retry_schedule", endpoint(retry_schedule=[0, 10, 5]), "is not rising"),
        (
            "[0].retry_schedule[1]",
            endpoint(retry_schedule=[0, 2_592_001]),
            "2592001 is more than 2592000; give",
        ),
        ("[0].retry_schedule[1]", endpoint(retry_schedule=[0, -5]), "-5 is less than 0"),
        ("[0].retry_schedule[1]", endpoint(retry_schedule=[0, "soon"]), "'soon' is not a number"),
        (
            "[0].content_type",
            endpoint(content_type="text/xml"),
            "'text/xml' is not known; give 'application/json'",
        ),
        ("[0].network", endpoint(network="private"), "'private' is not known; give 'any' or 'public'"),
        ("[0].ca_file", endpoint(ca_file="/nowhere.pem"), "/nowhere.pem cannot be read (No such file"),
        ("[0].client_cert", endpoint(client_cert="/"), "/ cannot be read (Is a directory)"),
        ("[0].ca_file", endpoint(ca_file="/dev/null"), "/dev/null holds no certificate"),
        ("[0].proxy", endpoint(proxy="proxy:3128"), "does not begin with https:// or http://"),
        ("[0].proxy", endpoint(proxy="socks5://proxy:1080"), "does not begin with https:// or http://"),
        ("[0].proxy", endpoint(proxy="http://:3128"), "names no host"),
        ("[0].proxy", endpoint(proxy="http://proxy:0"), "has port 0"),
        (
            "[0].proxy",
            endpoint(proxy="http://proxy/path"),
            "carries more than a host and a port; give http://",
        ),
        ("[0].proxy", endpoint(proxy="http://proxy?a=b"), "carries more than a host and a port"),
        ("[0].proxy", endpoint(proxy="http://proxy#a"), "carries more than a host and a port"),
        ("[0].proxy", endpoint(proxy="http://a%3Ab:c@proxy"), "has a colon in its user's name"),
        ("[0].proxy", endpoint(proxy="http://a:%0A@proxy"), "a character that HTTP does not allow"),
        ("[0].proxy", endpoint(proxy="http://a:%E2%82%AC@proxy"), "a character that HTTP does not allow"),
        ("[0].proxy", endpoint(proxy=5), "the value has the wrong type; give text in quotes"),
        (
            "[0].proxy",
            endpoint(proxy="http://proxy:3128", network="public"),
            'cannot hold network = "public": the proxy dials the endpoint, and which address it finds',
        ),
        *(
            ("[0].proxy", endpoint(proxy="http://proxy:3128", url=f"http://{host}/"), "a cloud's metadata")
            for host in (
                "169.254.169.254",
                "169.254.169.254.",
                "2852039166",
                "0xa9.254.0251.254",
                "169.254.43518",
                "①⑥⑨.254.169.254",
                "[fd00:ec2::254]",
                "[::ffff:169.254.169.254]",
                "[fe80::1%25eth0]",
            )
        ),
        *(
            ("[0].url", endpoint(url=f"http://{host}/"), "has a host that cannot be a name")
            for host in ("a..b", ".a", "a..", "a" * 64 + ".com", "xn--a.example.com", "ü" * 60 + ".com")
        ),
        ("[0].proxy", endpoint(proxy="http://a..b:3128"), "has a host that cannot be a name"),
    ],
)
def test_a_wrong_endpoint(name: str, text: str, told: str) -> None:
    line = fault(WEBHOOKS=text)

    assert line.startswith(f"WATCHER_WEBHOOKS{name}: ")
    assert told in line


def test_the_password_of_a_proxy_is_a_secret() -> None:
    settings = load(WEBHOOKS=endpoint(proxy="https://user:p%40ss@proxy.test:3128/"))

    (one,) = settings.webhooks
    assert one.proxy is not None
    assert one.proxy.get_secret_value() == "https://user:p%40ss@proxy.test:3128/"
    assert "proxy" not in repr(settings).lower()
    assert {"p@ss", "p%40ss", one.proxy.get_secret_value()} <= set(settings.secret_values())


@pytest.mark.parametrize("missing", ["name", "url", "secrets"])
def test_what_an_endpoint_must_have(missing: str) -> None:
    (given_endpoint,) = json.loads(endpoint())
    del given_endpoint[missing]

    assert fault(WEBHOOKS=json.dumps([given_endpoint])).startswith(
        f"WATCHER_WEBHOOKS[0].{missing}: is missing; "
    )


def test_what_an_endpoint_only_gets_by_default_need_not_be_published() -> None:
    assert faults(EVENTS__TYPES="error", WEBHOOKS=endpoint()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("-----BEGIN CERTIFICATE-----\n", "holds no private key"),
        ("-----BEGIN PRIVATE KEY-----\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "holds an encrypted key"),
        (
            "-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
            "encrypted key",
        ),
    ],
)
def test_a_client_certificate_comes_with_its_open_key(tmp_path: Path, content: str, told: str) -> None:
    pem = tmp_path / "client.pem"
    pem.write_text(content)

    assert told in fault(WEBHOOKS=endpoint(client_cert=str(pem)))
