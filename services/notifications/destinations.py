"""Where webhooks and push may lead: to public addresses, and to networks that the operator names.

What a name stands for is asked once, for each connection, and the connection goes to the very
address that was looked at: a name that changes its mind in between (DNS rebinding) gains nothing.
"""

import asyncio
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

from services.kit.errors import InvalidInput, Problem, invalid
from services.notifications.errors import ForbiddenDestination

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What Python calls global and is not, or what some cloud answers its machines' secrets on. Of IPv6
# all but 2000::/3, the one part of it that the internet's addresses are given out of.
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/3",
        "2001::/23",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""What stands before an IPv4 address that hosts of one site reach each other by (RFC 5214)."""
_LAST_PORT = 65_535
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]*)?", re.IGNORECASE)
_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_public(address: Address) -> bool:
    """Whether this is an address of the internet, and so is whatever it stands for."""
    return all(_is_global(one) for one in _meanings(address))


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether a connection may go there: it is public, or in a network that is named."""
    return is_public(address) or any(_lies_in(one, allowed) for one in _plain(address))


def _is_global(address: Address) -> bool:
    return address.is_global and not _lies_in(address, _NEVER_PUBLIC)


def _lies_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(one.version == address.version and address in one for one in networks)


def _plain(address: Address) -> Iterator[Address]:
    """The address, or where it is IPv4 written as IPv6, that."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    yield mapped or address


def _meanings(address: Address) -> Iterator[Address]:
    """Every address that a packet to this one may end at."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Target:
    """A web address in the parts that a connection needs."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return host if usual else f"{host}:{self.port}"

    def at(self, address: Address) -> str:
        """The same address with this one in place of the name."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(url: str) -> Target:
    """A web address that events can be sent to.

    Raises:
        InvalidInput: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _no_address(url) from None
    if parts.scheme not in ("http", "https") or not url.isascii() or any(c <= " " for c in url):
        raise _no_address(url)
    if parts.username is not None or parts.password is not None:
        raise invalid("url", "it holds a name or a password", "Leave them out; events are signed.")
    host = _host(parts.hostname or "") if _AUTHORITY.fullmatch(parts.netloc) else None
    if host is None or (port is not None and not 0 < port <= _LAST_PORT):
        raise _no_address(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Target(parts.scheme, host, port or default, path)


def shown(destination: str) -> str:
    """A destination as people may see it: of an address no more than its host, as whoever knows the
    whole of some, like Slack's, can write there."""
    if not destination.startswith(("https://", "http://")):
        return destination
    parts = urlsplit(destination)
    return f"{parts.scheme}://{parts.netloc}/…"


def _host(text: str) -> str | None:
    """A host's name, or its address, in the one way in which that is written; None if it is none.

    Systems read what ends in a number as an address of IPv4: `127.1`, `0x7f000001`, `017700000001`.
    It is read so here, too: what is looked at is what a connection is made to.
    """
    host = text.removesuffix(".")
    try:
        if ":" in host:
            return str(IPv6Address(host))
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(socket.inet_aton(host)))
    except (ValueError, OSError):
        return None
    return host if _NAME.fullmatch(host) else None


def _no_address(url: str) -> InvalidInput:
    return invalid("url", f"'{url[:80]}' is no web address", "Write https://host/path.")


def admit(url: str, allowed: Sequence[Network]) -> Target:
    """A web address that may be kept to send to. Where a name leads is known when it is asked, at
    each connection; of an address, and of plain `http`, it is known now.

    Raises:
        InvalidInput: it is none.
        ForbiddenDestination: nothing would ever be sent there.
    """
    target = parse(url)
    known = _known(target.host)
    if known or (target.scheme == "http" and not allowed):
        require(target, known, allowed)
    return target


def _known(host: str) -> list[Address]:
    """What a host stands for, where nobody needs to be asked."""
    if host == "localhost" or host.endswith(".localhost"):
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    try:
        return [ip_address(host)]
    except ValueError:
        return []


def require(target: Target, found: Sequence[Address], allowed: Sequence[Network]) -> Address:
    """The one of these addresses of a host to connect to.

    Raises:
        ForbiddenDestination: none may be connected to.
    """
    if target.scheme == "http":
        fit = [one for one in found if any(_lies_in(a, allowed) for a in _plain(one))]
    else:
        fit = [one for one in found if is_allowed(one, allowed)]
    if not fit:
        problem = _problem(target, found)
        hint = "Name one that is reached from everywhere by https."
        raise ForbiddenDestination(f"{problem}.", problems=(Problem("/url", problem, hint),))
    return fit[0]


def _problem(target: Target, found: Sequence[Address]) -> str:
    named = not found or str(found[0]) == target.host
    where = target.host if named else f"{target.host} ({found[0]})"
    if target.scheme == "http" and (not found or any(is_public(one) for one in found)):
        return f"{where} is reached by https alone"
    return f"{where} is no public address, and not in SECONDLOOK_OUTBOUND_ALLOW"


async def resolve(target: Target) -> list[Address]:
    """The addresses of a host, as the system finds them now.

    Raises:
        OSError: there are none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    # A scope (`%eth0`) belongs to link-local addresses alone, which are refused with it.
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return [ip_address(text) for text in texts]
