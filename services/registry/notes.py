"""What every verb of the registry needs: an audit entry, and an error that names a field."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from services.kit import audit
from services.kit.errors import InvalidInput, Problem


def invalid(field: str, problem: str, mend: str) -> InvalidInput:
    """The error for one field that cannot be used."""
    found = Problem(pointer=f"/{field}", problem=problem, mend=mend)
    return InvalidInput(f"{field}: {problem}. {mend}", problems=(found,))


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
