"""What every answer says to the browser, and what every unsafe request must prove."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
BODY_LIMIT = 1024 * 1024
_FIELD_LIMIT = 5000
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"

TokenCheck = Callable[[Request, str], bool | Awaitable[bool]]
Refusal = Callable[[Request, int, str], Response]


def content_security_policy(*, frame_ancestors: str = "'none'", form_action: str = "'self'") -> str:
    """The policy of every page; the widget alone names other frame ancestors."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "font-src 'self'",
            "connect-src 'self'",
            f"form-action {form_action}",
            "base-uri 'none'",
            f"frame-ancestors {frame_ancestors}",
        )
    )


_HEADERS = {
    "Content-Security-Policy": content_security_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), publickey-credentials-get=(self), usb=()",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """Adds the headers that an answer does not set itself.

    An answer that sets one of them keeps its own: static files their `Cache-Control`, the
    widget its `Content-Security-Policy`. `https` adds Strict-Transport-Security: only where
    the public address is https.
    """

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": _HSTS} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the answer's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _plain_refusal(_request: Request, status: int, detail: str) -> Response:
    return PlainTextResponse(detail, status)


class CsrfProtection:
    """Lets an unsafe request through only when this site made it and it carries the token.

    Both must hold: the browser says that the request is of this origin (`Sec-Fetch-Site`
    same-origin or none; where a browser sends none, an `Origin` equal to ours), and
    `check(request, token)` knows the token from the field `csrf_token` or the header
    `X-CSRF-Token`. The body is buffered only when the token is looked for in it, at most
    1 MiB of it, and the app reads it as if nobody had.

    A request with `Authorization: Bearer` is let through: no browser adds that by itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        check: TokenCheck,
        public_origin: str | None = None,
        refuse: Refusal = _plain_refusal,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._app = app
        self._check = check
        self._public_origin = _origin_of(public_origin) if public_origin else None
        self._refuse = refuse
        self._limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on or answer 403 or 413."""
        if scope["type"] != "http" or not self._concerns(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        if not self._same_origin(request):
            await self._answer(request, 403, "This came from another site, so it was not done.")(
                scope, receive, send
            )
            return
        token = request.headers.get(CSRF_HEADER, "")
        if not token and _form_kind(request):
            try:
                body = await _read_body(request, self._limit)
            except _TooLargeError:
                await self._answer(request, 413, "The form is larger than 1 MiB.")(
                    scope, receive, send
                )
                return
            receive = _replay(body, receive)
            token = await _token_in(body, request)
        if not token or not await self._known(Request(scope), token):
            detail = "This page was open too long, or you signed in again since. Reload it."
            await self._answer(request, 403, detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _concerns(self, scope: Scope) -> bool:
        if scope["method"] in _SAFE_METHODS:
            return False
        scheme = Headers(scope=scope).get("authorization", "").partition(" ")[0]
        return scheme.lower() != "bearer"

    def _same_origin(self, request: Request) -> bool:
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin = request.headers.get("origin")
        if origin is None:
            return False
        expected = self._public_origin or _origin_of(str(request.url))
        return expected is not None and _origin_of(origin) == expected

    async def _known(self, request: Request, token: str) -> bool:
        answer = self._check(request, token)
        return bool(await answer) if inspect.isawaitable(answer) else bool(answer)

    def _answer(self, request: Request, status: int, detail: str) -> Response:
        response = self._refuse(request, status, detail)
        response.headers["Connection"] = "close"
        return response


class _TooLargeError(Exception):
    """The body is over the limit."""


def _origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port, or nothing where `url` has no origin (`null`, junk)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.lower(), port or {"http": 80, "https": 443}[parts.scheme]


def _form_kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind if kind in (_FORM, _MULTIPART) else ""


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _TooLargeError
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body that was read, then goes on as before."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _token_in(body: bytes, request: Request) -> str:
    """The token in a form's body; empty where there is none or the body is no form."""
    if _form_kind(request) == _FORM:
        try:
            pairs = parse_qsl(
                body.decode("utf-8", "replace"), max_num_fields=_FIELD_LIMIT, keep_blank_values=True
            )
        except ValueError:
            return ""
        return next((value for name, value in pairs if name == CSRF_FIELD), "")

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(
            request.headers, once(), max_files=50, max_fields=_FIELD_LIMIT
        ).parse()
    except (MultiPartException, KeyError, ValueError):
        return ""
    try:
        value = form.get(CSRF_FIELD)
        return value if isinstance(value, str) else ""
    finally:
        await form.close()
