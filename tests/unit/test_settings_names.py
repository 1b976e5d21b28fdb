"""Names that no setting has: refused, with the nearest that one has."""

from __future__ import annotations

import pytest

from tests.unit.test_settings import endpoint, fault, faults


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
    assert faults(**{name: text}) == [f"WATCHER_{name}: no such setting; {mend}"]


def test_unknown_names_in_an_endpoint_are_refused_with_the_nearest() -> None:
    lines = faults(WEBHOOKS=endpoint(timout=3, zzz=1))

    assert lines[0] == "WATCHER_WEBHOOKS[0].timout: no such setting; did you mean timeout?"
    assert lines[1].startswith(
        "WATCHER_WEBHOOKS[0].zzz: no such setting; an endpoint has name, url, secrets, "
    )
    assert len(lines) == 2


@pytest.mark.parametrize(
    "links",
    [
        {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "80",
            "SERVICE_PORT_HTTP": "80",
            "PORT": "tcp://10.0.0.1:80",
        },
        {"PORT_80_TCP": "tcp://10.0.0.1:80", "PORT_80_TCP_PROTO": "tcp", "PORT_80_TCP_PORT": "80"},
        {"PORT_53_UDP_ADDR": "10.0.0.1", "REDIS_PORT": "tcp://10.0.0.2:6379"},
        {"REDIS_SERVICE_HOST": "10.0.0.2"},
    ],
)
def test_service_links_of_kubernetes_are_named_for_what_they_are(links: dict[str, str]) -> None:
    line = fault(**links)

    assert line.startswith(", ".join(f"WATCHER_{name}" for name in sorted(links)) + ": set by Kubernetes")
    assert "enableServiceLinks: false" in line
    assert "rename the Service" in line
