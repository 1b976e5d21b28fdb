"""Addresses that nothing is ever sent to, and the ways to write them. Pure."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local; 169.254.169.254 hands out cloud credentials
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS: metadata, and the credentials of pods and tasks
        "fd20:ce::254/128",  # Google Cloud metadata
        "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud metadata
        "fd00:42::42/128",  # Scaleway metadata
        "100.100.100.200/32",  # Alibaba Cloud metadata
        "168.63.129.16/32",  # Azure's platform channel
        "192.0.0.192/32",  # Oracle Cloud metadata
    )
)

_IPV4_AT_THE_END: Final = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_NAT64_WITHIN: Final = IPv6Network("64:ff9b:1::/48")
"""NAT64 within one network, which divides it as it likes: its prefix may have any length of RFC 6052 from 48."""


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL's host is, also as some systems take it: ``0xa9fea9fe``. None: it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host.removesuffix(".")))
        except (OSError, ValueError):
            return None


def is_never_sent_to(ip: IPv4Address | IPv6Address) -> bool:
    """Whether it is link-local or a cloud's metadata service, or an IPv6 address that stands for such an IPv4 one."""
    return any(form in refused for form in _forms(ip) for refused in _NEVER)


def _forms(ip: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, and the IPv4 addresses that it may lead to, if it only stands for one."""
    if isinstance(ip, IPv4Address):
        yield ip
        return
    number = int(ip)
    yield IPv6Address(number)  # without a zone, which no network would contain
    if ip.ipv4_mapped is not None:
        yield ip.ipv4_mapped
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if any(ip in network for network in _IPV4_AT_THE_END):
        yield IPv4Address(number & 0xFFFF_FFFF)
    if ip in _NAT64_WITHIN:
        # Prefixes of 48, 56, 64 and 96 bits; the eight bits after the 64th belong to no address.
        yield IPv4Address((number >> 48 & 0xFFFF_0000) | (number >> 40 & 0xFFFF))
        yield IPv4Address((number >> 40 & 0xFF00_0000) | (number >> 32 & 0xFF_FFFF))
        yield IPv4Address(number >> 24 & 0xFFFF_FFFF)
        yield IPv4Address(number & 0xFFFF_FFFF)
