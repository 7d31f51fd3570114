"""Text that no column takes, refused at the door with its place."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import Request
from pydantic import AfterValidator

from services.kit.errors import InvalidInput, Problem
from services.kit.web.problems import pointer_step

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


def _require_storable(given: Iterable[tuple[str, Any]]) -> None:
    problems = tuple(
        Problem(f"/{pointer_step(name)}", problem, "Take that character out.")
        for name, value in given
        if (problem := unstorable(name) or unstorable(str(value)))
    )
    if problems:
        first = problems[0]
        raise InvalidInput(f"{first.pointer[1:]}: {first.problem}.", problems=problems)
