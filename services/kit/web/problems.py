"""Every error of an app as one answer: `application/problem+json`, or what the app says."""

import json
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.database import is_infrastructure
from services.kit.errors import InvalidInput, Problem, SecondlookError, Unavailable
from services.kit.eventlog.port import LogUnavailable

PROBLEM = "application/problem+json"
ErrorAnswer = Callable[[Request, SecondlookError], Awaitable[Any] | Any]

_log = structlog.get_logger()
_ECHO = 80
_TRY_LATER = (429, 503)
MOST_PROBLEMS = 20
"""As many problems of one request are told one by one; the others are counted."""


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
    headers = None
    if error.status in _TRY_LATER:
        headers = {"Retry-After": str(error.extra.get("retry_after", 1))}
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
        except ClientDisconnect:  # Nobody is there to be answered, and nothing of ours failed.
            _log.debug("the client hung up", path=scope["path"])
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
        return _invalid_request(error)
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, str(error.detail))
    if isinstance(error, LogUnavailable) or is_infrastructure(error):
        _log.warning("unavailable", path=request.url.path, error=str(error)[:200])
        return Unavailable(
            "Storage cannot be reached just now. Try again, with the same ids: what was "
            "taken already counts once."
        )
    if isinstance(error, DataError | psycopg.DataError):
        # Its message quotes what was sent, so only its kind is logged.
        kind = type(getattr(error, "orig", error)).__name__
        _log.warning("refused by the database", path=request.url.path, kind=kind)
        found = Problem(
            "",
            "something in it cannot be stored",
            "Take out the character U+0000 and numbers of more than 18 digits.",
        )
        return InvalidInput("The request holds what cannot be stored.", problems=(found,))
    _log.error("unhandled", path=request.url.path, exc_info=error)
    return HttpError(500, "Something went wrong on our side. It has been logged.")


def _invalid_request(error: RequestValidationError) -> InvalidInput:
    """The first problems and, where there are others, how many."""
    every = error.errors()
    problems = tuple(
        Problem(
            pointer="/" + "/".join(pointer_step(str(part)) for part in item["loc"][1:]),
            problem=str(item["msg"])[:_ECHO].removeprefix("Value error, "),
            hint=f"Correct this part of the {item['loc'][0]}; /openapi.json says what it takes.",
        )
        for item in every[:MOST_PROBLEMS]
    )
    more = {"more": len(every) - len(problems)} if len(every) > len(problems) else {}
    return InvalidInput("The request is not valid.", problems=problems, **more)


def pointer_step(part: str) -> str:
    """One step of a JSON pointer, short and fit to be shown."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in part[:_ECHO])
    return printable.replace("~", "~0").replace("/", "~1")
