"""What is due to be mailed, gathered: of each person one mail, however much there is."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.notifications import deliveries
from services.notifications.channels.message import Line, message_of
from services.notifications.deliveries import NewDelivery
from services.notifications.rules import Channel, path_of
from services.people import queries as people_queries

_PEOPLE = 100
_LINES = 20
"""So many lines are in a mail; of the others it says how many there are."""

# A person's news are taken whole, by one sender: whoever else looks meanwhile passes them over.
# What was read before it was mailed is not mailed any more.
_TAKE = text(
    """
WITH due AS (
    SELECT person, min(mail_at) AS first FROM notification WHERE mail_at <= :now
    GROUP BY person ORDER BY first LIMIT :people
), held AS (
    SELECT n.id FROM notification n JOIN due ON due.person = n.person
    WHERE n.mail_at <= :now ORDER BY n.person, n.id FOR UPDATE OF n SKIP LOCKED
), taken AS (
    UPDATE notification n SET mail_at = NULL FROM held WHERE n.id = held.id
    RETURNING n.person, n.id, n.line, n.case_id, n.tool, n.output_id, n.read_at
)
SELECT t.person, count(*) AS n, max(t.id) AS last, (array_agg(
    jsonb_build_array(t.line, t.case_id, t.tool, t.output_id) ORDER BY t.id)
    )[1\\:CAST(:lines AS int)] AS said
FROM taken t WHERE t.read_at IS NULL GROUP BY t.person ORDER BY t.person
"""
)


class _Told(NamedTuple):
    """What one person is mailed."""

    person: str
    n: int
    last: int
    said: Sequence[tuple[str, int | None, str | None, str | None]]
    """The lines, each with the case and the output that it is about."""


def gather(session: Session, *, now: datetime) -> int:
    """Make a mail of what is due for each person; answers for how many there was something.

    Call it again, in a new transaction, while it answers `BATCH`.
    """
    found = session.execute(_TAKE, {"now": now, "people": _PEOPLE, "lines": _LINES})
    told = [_Told(*row) for row in found]
    # Who has left since hears no more.
    active = people_queries.names(session, [one.person for one in told]) if told else {}
    mails = [_mail(one) for one in told if one.person in active]
    deliveries.write(session, mails, now=now)
    return len(told)


BATCH = _PEOPLE


def _mail(told: _Told) -> NewDelivery:
    lines = tuple(
        Line(text=line, path=path_of(case_id, tool, output_id))
        for line, case_id, tool, output_id in told.said
    )
    message = message_of(lines, more=told.n - len(lines))
    # The number of the last notification stands for all of them: each is mailed once.
    return NewDelivery(
        Channel.EMAIL, told.person, message.model_dump_json(), f"notification {told.last}"
    )
