"""Where webhooks may lead: forty cases, and that it holds at the connection itself."""

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from services.kit.errors import InvalidInput
from services.notifications import destinations
from services.notifications.channels.http import Poster
from services.notifications.channels.outcome import Result
from services.notifications.errors import ForbiddenDestination
from tests.notifications.receivers import web_server

INSIDE = "10.0.0.0/8 fd00:1::/32 127.0.0.0/8"
YES, NO = True, False

# What the name in the address stands for, the networks that are allowed, and whether it is sent.
CASES = [
    # public ones
    ("https", "93.184.216.34", "", YES),
    ("https", "2606:2800:220:1:248:1893:25c8:1946", "", YES),
    ("https", "::ffff:93.184.216.34", "", YES),
    ("https", "64:ff9b::5db8:d822", "", YES),
    # plain http reaches no public ones
    ("http", "93.184.216.34", "", NO),
    ("http", "93.184.216.34", INSIDE, NO),
    # this machine
    ("https", "127.0.0.1", "", NO),
    ("https", "127.255.255.254", "", NO),
    ("https", "::1", "", NO),
    ("https", "0.0.0.0", "", NO),
    ("https", "::", "", NO),
    ("https", "::ffff:127.0.0.1", "", NO),
    ("https", "::127.0.0.1", "", NO),
    # private networks
    ("https", "10.1.2.3", "", NO),
    ("https", "172.16.0.1", "", NO),
    ("https", "172.31.255.255", "", NO),
    ("https", "192.168.1.1", "", NO),
    ("https", "100.64.0.1", "", NO),
    ("https", "fd12:3456::1", "", NO),
    ("https", "fec0::1", "", NO),
    ("https", "::ffff:10.1.2.3", "", NO),
    ("https", "2002:a01:203::1", "", NO),
    ("https", "64:ff9b::a01:203", "", NO),
    ("https", "64:ff9b:1::a01:203", "", NO),
    # clouds' metadata
    ("https", "169.254.169.254", "", NO),
    ("https", "::ffff:169.254.169.254", "", NO),
    ("https", "64:ff9b::a9fe:a9fe", "", NO),
    ("https", "fd00:ec2::254", "", NO),
    ("https", "100.100.100.200", "", NO),
    ("https", "168.63.129.16", "", NO),
    ("https", "192.0.0.192", "", NO),
    # nobody's, everybody's
    ("https", "169.254.1.1", "", NO),
    ("https", "fe80::1", "", NO),
    ("https", "224.0.0.1", "", NO),
    ("https", "255.255.255.255", "", NO),
    ("https", "240.0.0.1", "", NO),
    ("https", "ff02::1", "", NO),
    ("https", "192.0.2.1", "", NO),
    ("https", "198.18.0.1", "", NO),
    ("https", "2001:db8::1", "", NO),
    ("https", "2001::1", "", NO),
    # networks that are named
    ("https", "10.1.2.3", INSIDE, YES),
    ("http", "10.1.2.3", INSIDE, YES),
    ("http", "::ffff:10.1.2.3", INSIDE, YES),
    ("http", "127.0.0.1", INSIDE, YES),
    ("http", "fd00:1::5", INSIDE, YES),
    ("https", "192.168.1.1", INSIDE, NO),
    ("https", "fd00:2::5", INSIDE, NO),
    ("https", "64:ff9b::a01:203", INSIDE, NO),
    ("https", "169.254.169.254", INSIDE, NO),
]


def networks(text: str) -> tuple[Any, ...]:
    return tuple(ip_network(one) for one in text.split())


@pytest.mark.parametrize(("scheme", "address", "allowed", "sent"), CASES)
def test_address_that_a_name_stands_for(
    scheme: str, address: str, allowed: str, *, sent: bool
) -> None:
    target = destinations.parse(f"{scheme}://hooks.example.org/in")
    found = [ip_address(address)]
    if sent:
        assert destinations.require(target, found, networks(allowed)) == found[0]
    else:
        with pytest.raises(ForbiddenDestination):
            destinations.require(target, found, networks(allowed))


def test_of_several_addresses_one_that_is_allowed_is_taken() -> None:
    target = destinations.parse("https://hooks.example.org/in")
    found = [ip_address("10.0.0.1"), ip_address("93.184.216.34")]
    assert destinations.require(target, found, ()) == found[1]


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x.org/", "https://", "https:///x", "//x.org/", "javascript:1", "x", ""),
        *("https://u:p@x.org/", "https://x.org:0/", "https://x.org:99999/", "https://x.org:y/"),
        *("https://x.org/a b", "https://x.org/\r\nHost: y", "https://ⓔxample.org/", "file:///etc"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        destinations.parse(url)


def post(url: str, allowed: str = "") -> Any:
    """One attempt."""
    return asyncio.run(Poster(networks(allowed), seconds=5).post(url, b"{}", {}))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]"]
)
def test_no_connection_is_made_to_this_machine(host: str) -> None:
    """However it is written: the system says what it stands for, and that is looked at."""
    with web_server() as web:
        for scheme in ("http", "https"):
            came = post(f"{scheme}://{host}:{web.port}/")
            assert came.result in (Result.NEVER, Result.AGAIN)
            assert came.result is Result.NEVER or "Name or service" in came.answer
        assert web.came == {}


def test_name_is_asked_once_and_the_connection_goes_where_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: the second answer would be a forbidden one."""
    asked = []

    async def resolve(target: destinations.Target) -> list[Any]:
        asked.append(target.host)
        return [ip_address("127.0.0.1" if len(asked) == 1 else "169.254.169.254")]

    monkeypatch.setattr(destinations, "resolve", resolve)
    with web_server() as web:
        url = f"http://hooks.example.org:{web.port}/in"
        assert post(url, "127.0.0.1/32").result is Result.SENT
        ((headers, _, _),) = web.came[""]
        assert headers["host"] == f"hooks.example.org:{web.port}"
        assert asked == ["hooks.example.org"]
        assert post(url, "127.0.0.1/32").result is Result.NEVER
        assert len(web.came[""]) == 1


def test_redirect_to_a_forbidden_address_is_not_followed() -> None:
    with web_server() as web, web_server() as secret:
        web.answers, web.location = (lambda _: 307), f"{secret.url}/latest/meta-data"
        assert post(web.url, "127.0.0.1/32").result is Result.AGAIN
        assert secret.came == {}
