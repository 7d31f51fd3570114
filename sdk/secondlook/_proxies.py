"""Which proxy the environment asks for: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`."""

import base64
import ipaddress
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy on the way to the server. Its password is never shown."""

    host: str
    port: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """What the proxy wants to know of us."""


def proxy_for(scheme: str, host: str) -> Proxy | None:
    """The proxy for requests to a host, by the rules that `urllib.request` has for it.

    This machine itself is never asked by way of a proxy.

    Raises:
        ValueError: the proxy is of a kind that is not spoken here.
    """
    if _is_this_machine(host):
        return None
    address = urllib.request.getproxies().get(scheme)
    if not address or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"the proxy for {scheme} is no http:// address")
    return Proxy(parts.hostname, parts.port or 80, _headers(parts.username, parts.password))


def _headers(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair).decode()}


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
