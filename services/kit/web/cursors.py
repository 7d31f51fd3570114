"""Where a list goes on."""

import base64
import json
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.kit.errors import InvalidInput, Problem
from services.kit.web.storable import unstorable

K = TypeVar("K", int, str)

_BIGGEST = 2**63


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
    return unstorable(value) is None
