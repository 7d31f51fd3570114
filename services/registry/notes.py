"""What every verb of the registry needs: an audit entry, and an error that names a field."""

from datetime import datetime
from typing import Any

from secondlook import events
from sqlalchemy.orm import Session

from services.kit import audit
from services.kit.errors import InvalidInput, Problem


def invalid(field: str, problem: str, mend: str) -> InvalidInput:
    """The error for one field that cannot be used."""
    found = Problem(pointer=f"/{field}", problem=problem, mend=mend)
    return InvalidInput(f"{field}: {problem}. {mend}", problems=(found,))


def refused(error: events.InvalidEvent) -> InvalidInput:
    """What the contracts do not take, as an error that names the fields."""
    problems = tuple(Problem(p.pointer, p.problem, p.mend) for p in error.problems)
    return InvalidInput(str(error.problems[0]), problems=problems)


def note(
    session: Session, at: datetime, actor: str, verb: str, kind: str, object_id: str, **detail: Any
) -> None:
    """Leave an audit entry."""
    audit.record(
        session,
        at=at,
        actor=actor,
        verb=verb,
        object_kind=kind,
        object_id=object_id,
        **detail,
    )
