"""Where a request comes from, as far as those can be believed who passed it on."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from fastapi import Request

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_ONE_OF_IPV6 = 64
"""Whoever has one address of IPv6 has all of its network of this length."""


class ClientAddresses:
    """Finds the address of who sent a request.

    A proxy's `X-Forwarded-For` counts where the proxy's own address lies in one of the
    `trusted` networks; what stands left of the first address that is not trusted anybody may
    have written.
    """

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)

    def network(self, request: Request) -> str:
        """The network that stands for one sender: an address of IPv4, or the /64 of IPv6."""
        found = self._sender(request)
        if found is None:
            return "unknown"
        if isinstance(found, IPv6Address):
            return str(ip_network((found, _ONE_OF_IPV6), strict=False))
        return str(found)

    def _sender(self, request: Request) -> Address | None:
        found = _address(request.client.host) if request.client is not None else None
        for passed_on in _from_the_right(request):
            if found is None or not self._is_trusted(found):
                break
            address = _address(passed_on)
            if address is None:
                break
            found = address
        return found

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _from_the_right(request: Request) -> Iterator[str]:
    written = ",".join(request.headers.getlist("x-forwarded-for"))
    return reversed([part.strip() for part in written.split(",")]) if written else iter(())


def _address(text: str) -> Address | None:
    """The address, without a port; of IPv4 written as IPv6 the former."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
