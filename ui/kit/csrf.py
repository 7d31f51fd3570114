"""What every unsafe request must prove: that a page of ours sent it, for the one signed in."""

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request

from services.kit.errors import NotAllowed, NotSignedIn, SecondlookError
from ui.kit.forms import read_form

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
DRAFT_BYTES = 256 * 1024
"""Most that is read of a form of somebody who is not signed in any more, to give it back."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_PORTS = {"http": 80, "https": 443}

ExpectedToken = Callable[[Request], str]


class StalePage(NotAllowed):
    """The page was made for another sign-in than the one it is sent under."""


class CsrfProtection:
    """A dependency of all routes: lets an unsafe request through only with both proofs.

    The browser says that the request is of this origin (`Sec-Fetch-Site` same-origin or none;
    where a browser sends none, an `Origin` equal to ours), and the field `csrf_token` or the
    header `X-CSRF-Token` holds what `expected` answers for the request. `expected` raises
    `NotSignedIn` where nobody is signed in, before anything of the body is parsed for others.
    """

    def __init__(self, expected: ExpectedToken, *, public_url: str | None = None) -> None:
        self._expected = expected
        self._public_url = public_url

    async def __call__(self, request: Request) -> None:
        """Check it.

        Raises:
            NotAllowed: it came from another site.
            StalePage: its token is another one, or missing.
            NotSignedIn: nobody is signed in; what was typed is kept with the request.
        """
        if request.method in _SAFE_METHODS:
            return
        self._require_same_origin(request)
        try:
            expected = self._expected(request)
        except NotSignedIn:
            await _keep_draft(request)
            raise
        token = request.headers.get(CSRF_HEADER) or (await read_form(request)).text(CSRF_FIELD)
        if not token or not secrets.compare_digest(token.encode(), expected.encode()):
            raise StalePage("This page was open too long, or you signed in again since. Reload it.")

    def _require_same_origin(self, request: Request) -> None:
        site = request.headers.get("sec-fetch-site")
        if site in ("same-origin", "none"):
            return
        origin = request.headers.get("origin")
        if site is not None or origin is None:
            raise NotAllowed("This came from another site, so it was not done.")
        ours = self._public_url or str(request.base_url)
        if _origin_of(origin) is None or _origin_of(origin) != _origin_of(ours):
            raise NotAllowed(
                f"This came from {origin[:100]}, and this is {ours.rstrip('/')}, so it was not"
                " done. If both are the same installation, whoever runs it sets"
                " SECONDLOOK_PUBLIC_URL to the address that people open."
            )


async def _keep_draft(request: Request) -> None:
    """Read what was typed, as far as it is worth keeping, so that the answer can hold it."""
    try:
        await read_form(request, DRAFT_BYTES)
    except SecondlookError:
        return


def _origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port, or nothing where `url` has no origin (`null`, junk)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.lower(), port or _PORTS[parts.scheme]
