"""Which addresses a webhook may be sent to. Pure; it judges the very address that is about to be dialled."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

from watcher.settings.addresses import is_never_sent_to

Network = Literal["any", "public"]

_NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        "192.88.99.0/24",  # relays to 6to4
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 within one network
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local, of old
    )
)
"""What ``ipaddress`` calls global, or did in some version, though it leads back into a network or nowhere."""

_INSIDE: Final = frozenset({"localhost", "local", "internal", "lan", "test", "invalid", "alt", "svc"})
"""Top domains that lead to nobody else."""


def is_allowed(address: str, network: Network) -> bool:
    """Whether a connection may go there.

    Link-local addresses and those of cloud metadata services are refused always, also inside an IPv6 address
    that stands for an IPv4 one. ``public`` refuses every address that is not global unicast, and all that
    only stand for another. What is not an IP address is refused.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return not is_never_sent_to(ip) and (network == "any" or _is_public(ip))


def leads_outside(host: str) -> bool:
    """Whether a URL's host is, or by its name may be, a public address: one that others stand before.

    Names without a dot, and those under domains that are reserved for private use (RFC 6761, 6762, 8375, 9476 and
    ``.internal``), are taken for the inside's; nothing is resolved.
    """
    try:
        return _is_public(ip_address(host))
    except ValueError:
        *_, last = labels = host.lower().rstrip(".").split(".")
        return len(labels) > 1 and last not in _INSIDE and labels[-2:] != ["home", "arpa"]


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    local = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_unspecified
    special = local or ip.is_multicast or ip.is_reserved
    return ip.is_global and not special and not any(ip in network for network in _NOT_PUBLIC)
