"""Where webhooks, Slack and push may lead: what is forbidden, at saving and at the connection."""

import asyncio
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.notifications import destinations, push, webhooks
from services.notifications.channels.console import ConsoleChannel
from services.notifications.channels.http import Poster
from services.notifications.channels.message import Line, message_of
from services.notifications.channels.outcome import Result
from services.notifications.channels.push import PushChannel, new_key_pair, notice_of
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel, new_secret
from services.notifications.deliveries import Due
from services.notifications.errors import ForbiddenDestination
from services.notifications.rules import Channel
from services.notifications.sending import Channels
from services.people.push_devices import Device
from tests.factories import NOON, OWNER, actor_of, one
from tests.factories.people import OPERATOR
from tests.notifications.browsers import FakeBrowser
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
    ("https", "::ffff:0:127.0.0.1", "", NO),
    ("https", "64:ff9b::7f00:1", "", NO),
    ("https", "2002:7f00:1::", "", NO),
    ("https", "2606:2800:220:1:0:5efe:7f00:1", "", NO),
    ("https", "2606:2800:220:1:200:5efe:7f00:1", "", NO),
    # private networks
    ("https", "10.1.2.3", "", NO),
    ("https", "172.16.0.1", "", NO),
    ("https", "172.31.255.255", "", NO),
    ("https", "192.168.1.1", "", NO),
    ("https", "100.64.0.1", "", NO),
    ("https", "100.127.255.254", "", NO),
    ("https", "fc00::1", "", NO),
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
    ("https", "169.254.170.2", "", NO),
    ("https", "fd20:ce::254", "", NO),
    ("https", "fe80::a9fe:a9fe", "", NO),
    ("https", "2002:a9fe:a9fe::1", "", NO),
    # nobody's, everybody's
    ("https", "169.254.1.1", "", NO),
    ("https", "fe80::1", "", NO),
    ("https", "224.0.0.1", "", NO),
    ("https", "255.255.255.255", "", NO),
    ("https", "240.0.0.1", "", NO),
    ("https", "ff02::1", "", NO),
    ("https", "192.0.2.1", "", NO),
    ("https", "198.18.0.1", "", NO),
    ("https", "198.51.100.1", "", NO),
    ("https", "203.0.113.1", "", NO),
    ("https", "192.88.99.1", "", NO),
    ("https", "239.255.255.250", "", NO),
    ("https", "ff0e::1", "", NO),
    ("https", "2001:db8::1", "", NO),
    ("https", "3fff::1", "", NO),
    ("https", "2001::1", "", NO),
    ("https", "2001:0:4136:e378:8000:63bf:80ff:fffe", "", NO),
    ("https", "2001:10::1", "", NO),
    ("https", "100::1", "", NO),
    ("https", "100:0:0:1::1", "", NO),
    ("https", "5f00::1", "", NO),
    ("https", "4000::1", "", NO),
    ("https", "8000::1", "", NO),
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


# This machine and clouds' metadata, as a host can be written: known without asking anybody.
WRITTEN = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.1"),
    *("0177.0.0.1", "017700000001", "0x7f.0.0.01", "0", "0.0.0.0", "0x0", "localhost"),
    *("LocalHost", "localhost.", "www.localhost", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]"),
    *("[::ffff:7f00:1]", "[::FFFF:127.0.0.1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]"),
    *("[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "169.254.169.254", "2852039166", "0xa9fea9fe"),
    *("0251.0376.0251.0376", "169.254.43518", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"),
]
WIDE = "127".translate({ord(digit): ord(digit) + 0xFEE0 for digit in "127"})
"""Digits as wide as Chinese characters."""
# What some programs read as this machine, and we as no host at all.
UNREADABLE = [
    *("", "user:pw@x.org", "x.org@127.0.0.1", "@127.0.0.1", "x.org\\@127.0.0.1", "x.org:80@[::1]"),
    *("127.0.0.1\\.x.org", "%31%32%37.0.0.1", "127.0.0.1%2f.x.org", "127.0.0.1%00.x.org"),
    *(
        WIDE + ".0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "ⓛocalhost",
        "127.0.0.1..",
        ".127.0.0.1",
        "a..b",
    ),
    *("256.256.256.256", "1.2.3.4.5", "4294967296", "08.0.0.1", "0x7g.1", "127.0.0.1.0x"),
    *("[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%25lo]", "[::1].x.org", "x.org[::1]", "[v1.x]"),
    *("[::1", "::1", "[127.0.0.1]", "127.0.0.1\t", "127.0.0.1\r\nHost: x.org", "12 7.0.0.1"),
    *("x.org:0", "x.org:99999", "x.org:y", "x.org:-1", "x.org:80:443", f"{'a' * 64}.org"),
    *("x.org;127.0.0.1", "x.org,127.0.0.1", "127.0.0.1{}", "*.x.org", ".".join("a" * 200)),
]


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x.org/", "https:///x", "//x.org/", "javascript:1", "x", "", "file:///etc"),
        *("https:127.0.0.1", "https:/127.0.0.1/", "https:\\\\127.0.0.1", "gopher://127.0.0.1:25/"),
        *("https://x.org/a b", "https://x.org/\r\nHost: y", "https://x.org/ö"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        destinations.parse(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example.org./in", "hooks.example.org"),
        ("https://93.184.55330/in", "93.184.216.34"),
        ("https://[2606:2800:0220::1]:8443/in", "2606:2800:220::1"),
        ("https://xn--bcher-kva.example/in", "xn--bcher-kva.example"),
        ("https://my_hooks.x.org:/in?a=@127.0.0.1", "my_hooks.x.org"),
        ("https://x.org#@127.0.0.1/", "x.org"),
    ],
)
def test_host_is_read_in_one_way_and_may_be_kept(url: str, host: str) -> None:
    assert destinations.admit(url, ()).host == host


def test_what_is_forbidden_is_refused_at_every_entrance(database: Database) -> None:
    for host in (*WRITTEN, *UNREADABLE, *("[::ffff:10.1.2.3]", "10.1.2.3", "100.64.0.1")):
        for url in (f"https://{host}/in", f"http://{host}/in"):
            for channel in (Channel.WEBHOOK, Channel.SLACK):
                with pytest.raises(InvalidInput) as refused:
                    connect(database, url, "", channel)
                assert [one.pointer for one in refused.value.problems] == ["/url"], url
            with pytest.raises(InvalidInput, match=r"^push: "):
                allow_push(database, url, "")
    with pytest.raises(InvalidInput, match="by https alone"):
        connect(database, "http://hooks.example.org/in", "", Channel.WEBHOOK)
    assert one(database, "SELECT count(*) FROM webhook") == 0
    assert one(database, "SELECT count(*) FROM push_device") == 0


def test_networks_that_are_named_may_be_kept_at_every_entrance(database: Database) -> None:
    for url in ("https://10.1.2.3/in", "http://10.1.2.3/in", "http://hooks.internal/in"):
        connect(database, url, INSIDE, Channel.WEBHOOK)
        connect(database, url, INSIDE, Channel.SLACK)
    allow_push(database, "https://10.1.2.3/in", INSIDE)
    assert one(database, "SELECT count(*) FROM webhook") == 6


def connect(database: Database, url: str, allowed: str, channel: Channel) -> None:
    """Connect a webhook."""
    with database.transaction() as session:
        given: Any = {"allowed": networks(allowed), "actor": OPERATOR, "channel": channel}
        now = DatabaseClock().now(session)
        webhooks.add(session, url, types=["case.opened"], now=now, **given)


def allow_push(database: Database, endpoint: str, allowed: str) -> None:
    """Let a browser with this push service be pushed to."""
    asked = FakeBrowser(endpoint).subscription
    with database.transaction() as session:
        given: Any = {"user_agent": "", "allowed": networks(allowed)}
        actor, now = actor_of(session, OWNER), DatabaseClock().now(session)
        push.allow(session, asked, **given, actor=actor, now=now)


def post(url: str, allowed: str = "") -> Any:
    """One attempt."""
    return asyncio.run(Poster(networks(allowed), seconds=5).post(url, b"{}", {}))


def test_no_channel_connects_to_this_machine() -> None:
    """However it is written, and even though it was saved: it is looked at again."""
    poster = Poster((), seconds=5)
    ways = Channels(
        ConsoleChannel(),
        SlackChannel(poster, lambda: "https://sl.example.org"),
        WebhookChannel(poster),
        PushChannel(poster, "sl@example.org"),
    )

    async def send_to_all(port: int) -> None:
        for scheme, host in product(("http", "https"), (*WRITTEN, *UNREADABLE)):
            for due in by_every_channel(f"{scheme}://{host}:{port}/"):
                came = await ways.send(due)
                unknown = host == "www.localhost" and "Name or service" in came.answer
                assert came.result is (Result.AGAIN if unknown else Result.NEVER), host

    with web_server() as web:
        asyncio.run(send_to_all(web.port))
        assert web.came == {}


_SIGNED, _KEY = new_secret(), new_key_pair().private
_KEYS = FakeBrowser("").subscription
_SAID = message_of((Line(text="Case 7", path="/c/7"),))


def by_every_channel(url: str) -> list[Due]:
    """What leads there, by each of the channels that can."""
    device = Device(1, OWNER, url, _KEYS.p256dh, _KEYS.auth, "Firefox", NOON, None)
    event = Due(1, "webhook", url, "w", "m", "{}", 1, NOON, _SIGNED, None)
    notice = notice_of(_SAID, urgent=False).model_dump_json()
    return [
        event,
        event._replace(channel="slack", payload=_SAID.model_dump_json()),
        event._replace(channel="push", payload=notice, secret=_KEY, device=device),
    ]


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
        web.location = f"{secret.url}/latest/meta-data"
        for status in (300, 301, 302, 303, 307, 308):
            web.answers = lambda _, status=status: status
            came = post(web.url, "127.0.0.1/32")
            assert (came.result, came.answer) == (Result.AGAIN, str(status))
        assert secret.came == {}
