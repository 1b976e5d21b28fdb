"""Checks of URLs. Pure; no message shows more of a URL than its scheme, since the rest may hold secrets."""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr
from yarl import URL

from watcher.settings.store_url import parse_store_url

_PROXY_FORM: Final = "give http://host:3128, or http://user:password@host:3128"
_PASSWORDS: Final = {"password", "sentinel_password"}
"""Options of a URL that are secret."""


def api_root(value: str) -> str:
    """The root of an HTTP API, without a slash at its end."""
    url = _http(value)
    if "@" in value:  # a password with a slash in it makes the rest look like a path
        raise ValueError(
            "carries credentials or an @; give the address alone and the token by its own setting"
        )
    if url.query or "?" in value:
        raise ValueError(
            "carries a query; give the root of the API, such as https://api.sandbox.monite.com/v1"
        )
    return value.rstrip("/")


def webhook_url(value: str) -> str:
    """Where webhooks are sent."""
    _http(value)
    host_of(value)
    return value


def host_of(value: str) -> str:
    """A URL's host as it is looked up: in ASCII, an IPv6 address without its brackets.

    Raises:
        ValueError: it can be no name, so that looking for it would fail in ways that name no reason.
    """
    try:
        url = URL(value)
        host = url.host and url.raw_host  # what is not to be decoded cannot be shown
    except ValueError:
        host = None
    labels = (host or "").removesuffix(".").split(".")
    if not host or (":" not in host and not all(0 < len(label) < 64 for label in labels)):
        raise ValueError(
            "has a host that cannot be a name, such as one with an empty part or one of more than 63 characters "
            "between its dots; give a host such as hooks.example.com"
        )
    return host


def proxy_url(value: SecretStr) -> SecretStr:
    """An HTTP proxy, with its user and password where it asks for them."""
    url = _web(value.get_secret_value())
    if url.path not in ("", "/") or "?" in value.get_secret_value() or "#" in value.get_secret_value():
        raise ValueError(f"carries more than a host and a port; {_PROXY_FORM}")
    host_of(value.get_secret_value())
    user, password = unquote(url.username or ""), unquote(url.password or "")
    # As HTTP's basic authentication takes them: the first colon ends the user's name.
    if ":" in user or not re.fullmatch(r"[ -~\xa0-\xff]*", user + password):
        raise ValueError(
            "has a colon in its user's name, or a character that HTTP does not allow; give other credentials"
        )
    return value


def _http(value: str) -> SplitResult:
    url = _web(value)
    if "@" in url.netloc:
        raise ValueError("carries credentials; take them out, since URLs end up in logs")
    if "#" in value:
        raise ValueError("carries a fragment (#...), which is never sent; take it out")
    return url


def _web(value: str) -> SplitResult:
    url = _split(value)
    if url.scheme not in ("http", "https"):
        raise ValueError("does not begin with https:// or http://; give the whole URL")
    if not url.hostname:
        raise ValueError("names no host; give the whole URL, such as https://example.com/path")
    return url


def redis_url(value: SecretStr) -> SecretStr:
    """Where the store is; the forms stand in ``watcher.settings.store_url``."""
    found = parse_store_url(value.get_secret_value())
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = found.options.get(name)
        if isinstance(path, str) and not os.path.isfile(path):  # noqa: PTH113 - it takes any text
            raise ValueError(f"has {name} that is no file that can be read; give the path of a PEM file")
    return value


def notification_url(value: SecretStr) -> SecretStr:
    """A URL that Apprise may know; only its form is looked at here."""
    if not re.match(r"[A-Za-z][\w+.-]*://\S", value.get_secret_value().strip()):
        raise ValueError(
            "is not an Apprise URL; give scheme://..., such as mailtos://user:password@example.com"
        )
    return SecretStr(value.get_secret_value().strip())


def passwords(url: str) -> set[str]:
    """The password that a URL carries, as it is written there and as it is meant."""
    # Not by urlsplit: it gives up on some lists of hosts.
    before, _, query = url.partition("?")
    login = before.partition("://")[2].partition("/")[0].rpartition("@")[0]
    inside = [
        login.partition(":")[2],
        *(given for option, given in parse_qsl(query) if option in _PASSWORDS),
    ]
    return {form for word in inside if word for form in (word, unquote(word))}


def _split(value: str) -> SplitResult:
    # urlsplit would silently take line breaks and tabs out.
    if not value or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("is empty or holds white space; give the bare URL")
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError(
            "has a host or a port that cannot be read; give a host, and a port from 1 to 65535"
        ) from None
    if port == 0:
        raise ValueError("has port 0; give a port from 1 to 65535")
    return url
