"""HTTP manners that every app of the house shares: problems, limits, cursors."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import InvalidInput, Problem, SecondlookError, Unavailable
from services.kit.eventlog.port import LogUnavailable

PROBLEM = "application/problem+json"
ErrorAnswer = Callable[[Request, SecondlookError], Awaitable[Any] | Any]

_log = structlog.get_logger()
_ECHO = 80


class HttpError(SecondlookError):
    """What the web framework itself refuses: no such route, no such method."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status  # type: ignore[misc]


def problem_response(_: Request, error: SecondlookError) -> JSONResponse:
    """An error as `application/problem+json` (RFC 9457)."""
    headers = {"Retry-After": "1"} if error.status in (429, 503) else None
    return JSONResponse(error.as_problem(), error.status, headers=headers, media_type=PROBLEM)


def install_errors(app: FastAPI, answer: ErrorAnswer = problem_response) -> None:
    """Make every error of this app leave as `answer` says; none leaves as a traceback."""

    def say(request: Request, error: Exception) -> Any:
        return answer(request, _as_ours(request, error))

    for kind in (
        SecondlookError,
        RequestValidationError,
        HTTPException,
        OperationalError,
        LogUnavailable,
        Exception,
    ):
        app.add_exception_handler(kind, say)


def _as_ours(request: Request, error: Exception) -> SecondlookError:
    """Any error as one of ours."""
    if isinstance(error, SecondlookError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidInput("The request is not valid.", problems=_request_problems(error))
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, str(error.detail))
    if isinstance(error, OperationalError | LogUnavailable):
        _log.warning("unavailable", path=request.url.path, error=str(error)[:200])
        return Unavailable(
            "Storage cannot be reached just now. Send it again; nothing counts twice."
        )
    _log.error("unhandled", path=request.url.path, exc_info=error)
    return HttpError(500, "Something went wrong on our side. It has been logged.")


def _request_problems(error: RequestValidationError) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            pointer="/" + "/".join(_escape(str(part)) for part in item["loc"][1:]),
            problem=str(item["msg"])[:_ECHO].removeprefix("Value error, "),
            mend=f"Mend this part of the {item['loc'][0]}; /openapi.json says what it takes.",
        )
        for item in error.errors()
    )


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")[:_ECHO]


class RefuseEncodedBody:
    """Answer 415 to a compressed body: what it inflates to could not be bounded."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but requests that name a content encoding."""
        if scope["type"] == "http" and any(
            name == b"content-encoding" and value.lower() != b"identity"
            for name, value in scope["headers"]
        ):
            error = HttpError(415, "Send the body as it is, without Content-Encoding.")
            await problem_response(Request(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class OneOrigin:
    """Pages and API on one origin: each request passes through its own app alone."""

    def __init__(self, *, pages: FastAPI, api: FastAPI, api_paths: tuple[str, ...]) -> None:
        self.pages, self.api, self._api_paths = pages, api, api_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the API's paths to the API, everything else to the pages."""
        of_api = scope["type"] == "http" and scope["path"].startswith(self._api_paths)
        await (self.api if of_api else self.pages)(scope, receive, send)


def encode_cursor(*parts: Any) -> str:
    """Where a list goes on, as an opaque word for the next request."""
    return base64.urlsafe_b64encode(json.dumps(parts, default=str).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, length: int) -> list[Any] | None:
    """What `encode_cursor` was given, or None at the start of the list.

    Raises:
        InvalidInput: it is no cursor of ours.
    """
    if not cursor:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != length:
        found = Problem("/cursor", "it is no cursor of this list", "Take next_cursor as it came.")
        raise InvalidInput("The cursor cannot be used.", problems=(found,))
    return parts
