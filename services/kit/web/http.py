"""What every app has in common over HTTP: problems, limits, cursors."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.errors import InvalidInput, Problem, SecondlookError, Unavailable
from services.kit.eventlog.port import LogUnavailable

PROBLEM = "application/problem+json"
ErrorAnswer = Callable[[Request, SecondlookError], Awaitable[Any] | Any]
K = TypeVar("K", int, str)

_log = structlog.get_logger()
_ECHO = 80
_BIGGEST = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")


class HttpError(SecondlookError):
    """What the web framework itself refuses: no such route, no such method."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status  # type: ignore[misc]


class _ProblemJson(JSONResponse):
    """JSON that may quote what came in, halves of surrogate pairs included."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, default=str).encode("utf-8", "replace")


def problem_response(_: Request, error: SecondlookError) -> JSONResponse:
    """An error as `application/problem+json` (RFC 9457)."""
    headers = {"Retry-After": "1"} if error.status in (429, 503) else None
    return _ProblemJson(error.as_problem(), error.status, headers=headers, media_type=PROBLEM)


def install_errors(app: FastAPI, answer: ErrorAnswer = problem_response) -> None:
    """Make every error of this app leave as `answer` says; none leaves as a traceback.

    What is added to the app after this stands around it: add what completes every answer
    after it, and what may fail before.
    """

    def say(request: Request, error: Exception) -> Any:
        return answer(request, _as_ours(request, error))

    for kind in (
        SecondlookError,
        RequestValidationError,
        HTTPException,
        OperationalError,
        DataError,
        LogUnavailable,
    ):
        app.add_exception_handler(kind, say)
    app.add_middleware(_AnswerUnhandled, say=say)


class _AnswerUnhandled:
    """Answers what nothing else did, and ends it there.

    A handler of `Exception` would do so too, but Starlette raises the error again after it:
    the server logs it a second time and drops the connection.
    """

    def __init__(self, app: ASGIApp, *, say: Callable[[Request, Exception], Any]) -> None:
        self._app, self._say = app, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun:  # Only a broken connection tells the client that the rest is missing.
                raise
            answer = self._say(Request(scope), error)
            await (await answer if isawaitable(answer) else answer)(scope, receive, send)


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
            "Storage cannot be reached just now. Try again, with the same ids: what was "
            "taken already counts once."
        )
    if isinstance(error, DataError):
        # Its message quotes what was sent, so only its kind is logged.
        kind = type(error.orig).__name__
        _log.warning("refused by the database", path=request.url.path, kind=kind)
        found = Problem(
            "",
            "something in it cannot be stored",
            "Take out the character U+0000 and numbers of more than 18 digits.",
        )
        return InvalidInput("The request holds what cannot be stored.", problems=(found,))
    _log.error("unhandled", path=request.url.path, exc_info=error)
    return HttpError(500, "Something went wrong on our side. It has been logged.")


def _request_problems(error: RequestValidationError) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            pointer="/" + "/".join(_escape(str(part)) for part in item["loc"][1:]),
            problem=str(item["msg"])[:_ECHO].removeprefix("Value error, "),
            hint=f"Correct this part of the {item['loc'][0]}; /openapi.json says what it takes.",
        )
        for item in error.errors()
    )


def _escape(part: str) -> str:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in part[:_ECHO])
    return printable.replace("~", "~0").replace("/", "~1")


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


def read_cursor(cursor: str | None, kind: type[K]) -> tuple[datetime, K] | None:
    """The time and id that `encode_cursor` was given, or None at the start of the list.

    Raises:
        InvalidInput: it is no cursor of ours.
    """
    if not cursor:
        return None
    try:
        at, last = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        time = datetime.fromisoformat(at).astimezone(UTC)
    except (TypeError, ValueError, OverflowError, RecursionError):
        time, last = None, None
    if time is None or type(last) is not kind or not _can_be_stored(last):
        found = Problem("/cursor", "it is no cursor of this list", "Take next_cursor as it came.")
        raise InvalidInput("The cursor cannot be used.", problems=(found,))
    return time, last


def _can_be_stored(value: int | str) -> bool:
    if isinstance(value, int):
        return abs(value) < _BIGGEST
    return _unstorable(value) is None


# --- what no column takes ---------------------------------------------------------------


def _unstorable(value: str) -> str | None:
    """What PostgreSQL does not take in this text, or None."""
    if "\x00" in value:
        return "it holds the character U+0000"
    return "it holds half a surrogate pair" if _SURROGATE.search(value) else None


def _storable(value: Any) -> Any:
    """JSON as it came, if all of its texts and names can be stored."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _storable(name)
            _storable(inner)
    elif isinstance(value, list):
        for inner in value:
            _storable(inner)
    elif isinstance(value, str) and (problem := _unstorable(value)):
        raise ValueError(problem)
    return value


def _storable_part(value: Any) -> Any:
    try:
        return _storable(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


Storable = AfterValidator(_storable_part)
"""For a body's fields: refuses text that no column takes."""
Text = Annotated[str, Storable]


async def require_storable(request: Request) -> None:
    """Refuse a path or a query with text that no column takes: a dependency of the whole app.

    Raises:
        InvalidInput: naming the parameters.
    """
    _require_storable((*request.path_params.items(), *request.query_params.multi_items()))


async def require_storable_form(request: Request) -> None:
    """The same for an app whose bodies are forms; the views read what is parsed here.

    Raises:
        InvalidInput: naming the fields.
    """
    await require_storable(request)
    _require_storable((await request.form()).multi_items())


def _require_storable(given: Iterable[tuple[str, Any]]) -> None:
    problems = tuple(
        Problem(f"/{_escape(name)}", problem, "Take that character out.")
        for name, value in given
        if (problem := _unstorable(name) or _unstorable(str(value)))
    )
    if problems:
        first = problems[0]
        raise InvalidInput(f"{first.pointer[1:]}: {first.problem}.", problems=problems)
