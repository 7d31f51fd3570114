"""Text that no column takes, refused at the door with its place."""

import re
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import unquote_plus, unquote_to_bytes

from fastapi import Request
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import InvalidInput, Problem
from services.kit.web.problems import MOST_PROBLEMS, pointer_step

_SURROGATE = re.compile("[\ud800-\udfff]")


def unstorable(value: str) -> str | None:
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
    elif isinstance(value, str) and (problem := unstorable(value)):
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


class Utf8Addresses:
    """Refuses addresses that are no UTF-8, before anything looks at their path or query.

    Everything behind this is given text in which such bytes are replaced by U+FFFD, and that
    may be somebody else's id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            InvalidInput: naming the path or the parameters.
        """
        if scope["type"] == "http":
            path, query = scope.get("raw_path") or b"", scope["query_string"]
            if not (_is_utf8(path) and _is_utf8(query)):
                raise _no_utf8(path, query)
        await self._app(scope, receive, send)


def _is_utf8(escaped: bytes) -> bool:
    """Whether this part of an address is text, each byte beyond ASCII escaped as it must be."""
    if not escaped.isascii():
        return False
    try:
        unquote_to_bytes(escaped).decode()
    except UnicodeDecodeError:
        return False
    return True


def _no_utf8(path: bytes, query: bytes) -> InvalidInput:
    names = [] if _is_utf8(path) else ["path"]
    wrong = (parameter for parameter in query.split(b"&") if not _is_utf8(parameter))
    names += [unquote_plus(one.partition(b"=")[0].decode("ascii", "replace")) for one in wrong]
    hint = "Write it in UTF-8, each byte beyond ASCII as %XX."
    problems = tuple(
        Problem(f"/{pointer_step(name)}", "it is no UTF-8", hint) for name in names[:MOST_PROBLEMS]
    )
    more = {"more": len(names) - len(problems)} if len(names) > len(problems) else {}
    return InvalidInput(f"{problems[0].pointer[1:]}: it is no UTF-8.", problems=problems, **more)


def _require_storable(given: Iterable[tuple[str, Any]]) -> None:
    problems = tuple(
        Problem(f"/{pointer_step(name)}", problem, "Take that character out.")
        for name, value in given
        if (problem := unstorable(name) or unstorable(str(value)))
    )
    if problems:
        first = problems[0]
        raise InvalidInput(f"{first.pointer[1:]}: {first.problem}.", problems=problems)
