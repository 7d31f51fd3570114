"""What a person was told, the newest first; nobody sees another's."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.database import affected
from services.notifications.rules import path_of
from services.people.rules import Actor

MOST_COUNTED = 100
"""Nobody needs to know by how much it is more."""


class Entry(NamedTuple):
    """One thing that a person was told."""

    id: int
    what: str
    line: str
    case_id: int | None
    tool: str | None
    output_id: str | None
    made_at: datetime
    read_at: datetime | None

    @property
    def path(self) -> str:
        """The page where something can be done about it."""
        return path_of(self.case_id, self.tool, self.output_id)

    def as_answer(self) -> dict[str, Any]:
        """It as the API shows it."""
        return {
            "id": self.id,
            "what": self.what,
            "text": self.line,
            "case_id": self.case_id,
            "tool": self.tool,
            "output_id": self.output_id,
            "at": self.made_at,
            "read_at": self.read_at,
        }


_ENTRIES = text(f"""
SELECT {", ".join(Entry._fields)} FROM notification
WHERE person = :person AND id < :before AND (NOT :unread OR read_at IS NULL)
ORDER BY id DESC LIMIT :limit
""")
_END = 2**63 - 1


def entries(
    session: Session,
    actor: Actor,
    *,
    before: int | None = None,
    unread: bool = False,
    limit: int,
) -> list[Entry]:
    """What the actor was told before a notification of that number, the newest first."""
    given = {"person": actor.email, "before": before or _END, "unread": unread, "limit": limit}
    return [Entry(*row) for row in session.execute(_ENTRIES, given)]


_UNREAD = text("""
SELECT count(*) FROM (SELECT FROM notification
    WHERE person = :person AND read_at IS NULL LIMIT :most) counted
""")


def unread(session: Session, person: str) -> int:
    """How much somebody has not read, up to `MOST_COUNTED`."""
    given = {"person": person, "most": MOST_COUNTED}
    found: int = session.execute(_UNREAD, given).scalar_one()
    return found


_READ = text("""
UPDATE notification SET read_at = :now
WHERE person = :person AND id = ANY(:ids) AND read_at IS NULL
""")
_READ_ALL = text("""
UPDATE notification SET read_at = :now WHERE person = :person AND read_at IS NULL
""")


def mark_read(session: Session, actor: Actor, ids: Sequence[int], *, now: datetime) -> int:
    """The actor has read these; answers how many were new to them."""
    given = {"person": actor.email, "ids": list(ids), "now": now}
    return affected(session.execute(_READ, given))


def mark_all_read(session: Session, actor: Actor, *, now: datetime) -> int:
    """The actor has read everything; answers how much was new to them."""
    return affected(session.execute(_READ_ALL, {"person": actor.email, "now": now}))
