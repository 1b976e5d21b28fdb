"""Which addresses webhooks are sent to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.webhooks.address import is_allowed, leads_outside

ALWAYS_REFUSED = [
    "169.254.169.254",  # metadata of AWS, Azure, Google Cloud and most others
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:ec2:ffff::1",
    "fd00:42::42",
    "fd00:c1::a9fe:a9fe",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:a9:fe:a9fe::",
    "64:ff9b:1:2:a9:fea9:fe00:0",
    "::ffff:0:a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "localhost",
    "",
    "1.2.3",
    "0x7f.1",
    "2130706433",
]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
]


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_link_local_and_metadata_are_always_refused(address: str) -> None:
    assert not is_allowed(address, "any")
    assert not is_allowed(address, "public")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_private_address_is_for_any_network_only(address: str) -> None:
    assert is_allowed(address, "any")
    assert not is_allowed(address, "public")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_for_both(address: str) -> None:
    assert is_allowed(address, "any")
    assert is_allowed(address, "public")


_WITHIN = 0x64FF9B0001 << 80


@given(st.ip_addresses(v=4) | st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_way_of_writing_an_ipv4_address_in_ipv6_gets_round_the_policy(address: IPv4Address) -> None:
    number = int(address)
    forms = {
        "mapped": IPv6Address((0xFFFF << 32) | number),
        "compatible": IPv6Address(number),
        "nat64": IPv6Address((0x64FF9B << 96) | number),
        "translated": IPv6Address((0xFFFF << 48) | number),
        "6to4": IPv6Address((0x2002 << 112) | (number << 80) | 1),
        "nat64 within, 48": IPv6Address(_WITHIN | (number >> 16 << 64) | ((number & 0xFFFF) << 40)),
        "nat64 within, 56": IPv6Address(_WITHIN | (number >> 24 << 64) | ((number & 0xFFFFFF) << 32)),
        "nat64 within, 64": IPv6Address(_WITHIN | (number << 24)),
        "nat64 within, 96": IPv6Address(_WITHIN | number),
    }
    for form in forms.values():
        assert not is_allowed(str(form), "public")
        if not is_allowed(str(address), "any"):
            assert not is_allowed(str(form), "any")


@given(st.ip_addresses(v=6, network="fe80::/10"))
def test_every_link_local_address_is_refused(address: IPv6Address) -> None:
    assert not is_allowed(str(address), "any")


@given(st.ip_addresses())
def test_what_is_public_is_allowed_anywhere(address: IPv4Address | IPv6Address) -> None:
    if is_allowed(str(address), "public"):
        assert is_allowed(str(address), "any")
        assert address.is_global


@pytest.mark.parametrize(
    ("host", "outside"),
    [
        ("example.com", True),
        ("hooks.example.com.", True),
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("localhost", False),
        ("app.localhost", False),
        ("shop", False),
        ("shop.default.svc.cluster.local", False),
        ("shop.corp.internal", False),
        ("nas.home.arpa", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("::1", False),
    ],
)
def test_hosts_that_lead_outside(host: str, outside: bool) -> None:
    assert leads_outside(host) is outside
