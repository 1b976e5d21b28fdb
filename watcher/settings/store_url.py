"""The URL of the store, taken apart. Pure; no message shows more of a URL than its scheme: the rest may be secret.

| form | store |
|---|---|
| ``redis://[user:password@]host[:6379][/db]`` | one server |
| ``unix://[user:password@]/path/to/socket[?db=0]`` | one server on this machine |
| ``redis+sentinel://[user:password@]host[:26379],…/service[/db]`` | the master that these sentinels name |
| ``redis+cluster://[user:password@]host[:6379],…`` | a cluster; a few of its nodes are enough |

With ``rediss`` in place of ``redis`` every connection is encrypted. Options follow as a query: ``ssl_ca_certs``,
``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs`` and ``ssl_check_hostname``, ``username`` and ``password``,
``client_name``, and for the sentinels themselves ``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

SERVER_PORT: Final = 6379
SENTINEL_PORT: Final = 26_379

_FORMS: Final = (
    "give redis://host:6379/0, rediss://host:6379/0, unix:///path/to/socket, "
    "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:6379,host:6379"
)
_URL: Final = re.compile(r"([^:/?#]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_SCHEMES: Final = re.compile(r"(redis|rediss)(\+sentinel|\+cluster)?|unix")
_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\[\]:@/\s]+))(?::(?P<port>\d+))?")
_LOGIN: Final = {"username", "password", "client_name"}
_TLS: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_SENTINEL: Final = {"sentinel_username", "sentinel_password"}
_CHOICES: Final = {
    "ssl_cert_reqs": {"none", "optional", "required"},
    "ssl_check_hostname": {"true", "false", "yes", "no", "0", "1"},
}

Node = tuple[str, int]
"""A host and its port."""


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where the store is and how it is spoken to.

    ``options`` are what every connection is made with, and ``sentinel_options`` those to the sentinels, by
    redis-py's names. One of ``nodes`` and ``socket`` is empty; ``service`` is the name of the master that the
    sentinels watch, empty where there are none.
    """

    nodes: tuple[Node, ...] = ()
    socket: str = ""
    tls: bool = False
    cluster: bool = False
    service: str = ""
    db: int = 0
    options: Mapping[str, str | bool] = field(default_factory=dict)
    sentinel_options: Mapping[str, str | bool] = field(default_factory=dict)


def parse_store_url(value: str) -> StoreUrl:
    """Take the URL of a store apart.

    Raises:
        ValueError: it is none; the message says what is wrong and how to mend it.
    """
    if not value or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("is empty or holds white space; give the bare URL")
    if "#" in value:
        raise ValueError("holds a #; write it as %23 where it belongs to a password")
    # Not by urlsplit: it knows nothing of several hosts.
    parts = _URL.fullmatch(value)
    scheme = parts[1].lower() if parts else ""
    if parts is None or not _SCHEMES.fullmatch(scheme):
        raise ValueError(f"is not the URL of a Redis server; {_FORMS}")
    netloc, path = parts[2], parts[3]
    kind = scheme.partition("+")[2]
    tls = scheme.startswith("rediss")
    given = _options(parts[4] or "", kind, tls)
    login, _, hosts = netloc.rpartition("@")
    user, _, password = login.partition(":")
    options: dict[str, str | bool] = {
        name: unquote(word) for name, word in (("username", user), ("password", password)) if word
    }
    options |= {name: _option(name, word) for name, word in given.items() if name in _LOGIN | _TLS}
    if scheme == "unix":
        return _socket(unquote(path), hosts, options, given.get("db", ""))
    nodes = _nodes(hosts, SENTINEL_PORT if kind == "sentinel" else SERVER_PORT, many=bool(kind))
    if kind == "cluster":
        if path not in ("", "/", "/0"):
            raise ValueError("names a database or a path, and a cluster has database 0 alone; take it out")
        return StoreUrl(nodes, tls=tls, cluster=True, options=options)
    if kind == "sentinel":
        service, db = _service(path)
        ours: dict[str, str | bool] = {
            name.removeprefix("sentinel_"): word for name, word in given.items() if name in _SENTINEL
        }
        ours |= {name: word for name, word in options.items() if name in _TLS}
        return StoreUrl(nodes, tls=tls, service=service, db=db, options=options, sentinel_options=ours)
    db = _database(path.removeprefix("/") or given.get("db", ""))
    return StoreUrl(nodes, tls=tls, db=db, options=options)


def _options(query: str, kind: str, tls: bool) -> dict[str, str]:
    allowed = _LOGIN | _TLS | (_SENTINEL if kind == "sentinel" else set()) | ({"db"} if not kind else set())
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, word in given.items():
        if name not in allowed:
            raise ValueError(
                f"carries an option that is not allowed; allowed are {', '.join(sorted(allowed))}"
            )
        if name in _TLS and not tls:
            raise ValueError(f"carries {name}, but no TLS; begin it with rediss, or take the option out")
        if name in _CHOICES and word.lower() not in _CHOICES[name]:
            raise ValueError(f"has a wrong {name}; give one of {', '.join(sorted(_CHOICES[name]))}")
    if ("ssl_keyfile" in given) != ("ssl_certfile" in given):
        raise ValueError("has one of ssl_certfile and ssl_keyfile; give both, or neither")
    return given


def _option(name: str, word: str) -> str | bool:
    return word.lower() in ("true", "yes", "1") if name == "ssl_check_hostname" else word


def _socket(path: str, host: str, options: Mapping[str, str | bool], db: str) -> StoreUrl:
    if host or not path.startswith("/") or path == "/":
        raise ValueError(f"names no socket; {_FORMS}")
    return StoreUrl(socket=path, db=_database(db), options=options)


def _nodes(hosts: str, port: int, *, many: bool) -> tuple[Node, ...]:
    if not hosts:
        raise ValueError(f"names no host; {_FORMS}")
    if "," in hosts and not many:
        raise ValueError(
            "names several hosts; begin it with redis+sentinel:// or redis+cluster://, or give one"
        )
    found = [_HOST.fullmatch(each) for each in hosts.split(",")]
    nodes = [(each["six"] or each["host"], int(each["port"] or port)) for each in found if each]
    if len(nodes) < len(found) or any(not 0 < number < 65_536 for _, number in nodes):
        raise ValueError("has a host or a port that cannot be read; give a host, and a port from 1 to 65535")
    return tuple(dict.fromkeys(nodes))


def _service(path: str) -> tuple[str, int]:
    service, _, db = path.removeprefix("/").partition("/")
    if not service:
        raise ValueError("names no service; give the name of the master that the sentinels watch as its path")
    return unquote(service), _database(db)


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{0,6}", text, re.ASCII):
        raise ValueError(f"names a database that is not a number; {_FORMS}")
    return int(text or 0)
