"""The URL of the store, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.settings.store_url import StoreUrl, parse_store_url
from watcher.settings.urls import passwords


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://store", StoreUrl((("store", 6379),))),
        (
            "rediss://u:p%40@store:1/2",
            StoreUrl((("store", 1),), tls=True, db=2, options={"username": "u", "password": "p@"}),
        ),
        ("redis://[::1]?db=3", StoreUrl((("::1", 6379),), db=3)),
        ("unix://:p@/run/a%20b.sock?db=1", StoreUrl(socket="/run/a b.sock", db=1, options={"password": "p"})),
        (
            "redis+sentinel://:p@a,[::1]:5/main?sentinel_username=s&sentinel_password=q",
            StoreUrl(
                (("a", 26379), ("::1", 5)),
                service="main",
                options={"password": "p"},
                sentinel_options={"username": "s", "password": "q"},
            ),
        ),
        (
            "rediss+sentinel://a/main/4?ssl_check_hostname=false",
            StoreUrl(
                (("a", 26379),),
                tls=True,
                service="main",
                db=4,
                options={"ssl_check_hostname": False},
                sentinel_options={"ssl_check_hostname": False},
            ),
        ),
        (
            "REDIS+CLUSTER://a,b:7000,a?client_name=w",
            StoreUrl((("a", 6379), ("b", 7000)), cluster=True, options={"client_name": "w"}),
        ),
    ],
)
def test_its_parts(url: str, wanted: StoreUrl) -> None:
    assert parse_store_url(url) == wanted


@given(st.text())
def test_whatever_it_is_it_is_taken_apart_or_refused(text: str) -> None:
    for url in (text, f"redis+sentinel://{text}", f"redis+cluster://{text}", f"rediss://x?{text}"):
        try:
            found = parse_store_url(url)
        except ValueError as error:
            told = str(error)
        else:
            told = ";" * bool(found.nodes or found.socket)
        assert ";" in told, url


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("redis://u:p%40@store", {"p%40", "p@"}),
        ("rediss+sentinel://u:one@h,[::1]:1,b/main?sentinel_password=two", {"one", "two"}),
        ("redis+cluster://a:1,b:2", set()),
        ("https://x.test/a:b@c", set()),
        ("just-a-token", set()),
    ],
)
def test_every_password_in_it_is_known_for_the_mask(url: str, secret: set[str]) -> None:
    assert passwords(url) == secret
