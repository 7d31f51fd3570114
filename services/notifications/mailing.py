"""What is due to be mailed, gathered: of each person one mail, however much there is.

Each of their devices is pushed the same, in one line.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.locks import Lock
from services.notifications import choices, deliveries
from services.notifications.channels.message import Line, Message, message_of
from services.notifications.channels.push import notice_of
from services.notifications.deliveries import NewDelivery
from services.notifications.rules import Channel, path_of
from services.people import push_devices
from services.people import queries as people_queries
from services.people.push_devices import Device

_PEOPLE = 100
_LINES = 20
"""So many lines are in a mail; of the others it says how many there are."""

# A person's news are taken whole, by whoever holds the lock on them: who else looks meanwhile
# passes the person over. (A row that is skipped is just being read, and is looked at next time.)
# What was read before it was mailed is not mailed any more.
_TAKE = text(
    """
WITH due AS MATERIALIZED (
    SELECT person, min(mail_at) AS first FROM notification WHERE mail_at <= :now
    GROUP BY person ORDER BY first LIMIT :people
), ours AS MATERIALIZED (
    SELECT person FROM due
    WHERE pg_try_advisory_xact_lock(CAST(:lock AS integer), hashtext(person))
), held AS (
    SELECT n.id FROM notification n JOIN ours ON ours.person = n.person
    WHERE n.mail_at <= :now ORDER BY n.person, n.id FOR UPDATE OF n SKIP LOCKED
), taken AS (
    UPDATE notification n SET mail_at = NULL FROM held WHERE n.id = held.id
    RETURNING n.person, n.id, n.line, n.case_id, n.tool, n.output_id, n.read_at, n.urgent
)
SELECT t.person, count(*) AS n, max(t.id) AS last, (array_agg(
    jsonb_build_array(t.line, t.case_id, t.tool, t.output_id) ORDER BY t.id)
    )[1\\:CAST(:lines AS int)] AS said, bool_or(t.urgent) AS urgent
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
    urgent: bool

    def message(self) -> Message:
        """All of it."""
        lines = tuple(
            Line(text=line, path=path_of(case_id, tool, output_id))
            for line, case_id, tool, output_id in self.said
        )
        return message_of(lines, more=self.n - len(lines))

    @property
    def about(self) -> str:
        """The number of the last notification stands for all of them: each is sent once."""
        return f"notification {self.last}"


def gather(session: Session, *, now: datetime) -> int:
    """Make a mail of what is due for each person; answers for how many there was something.

    Call it again, in a new transaction, while it answers `BATCH`.
    """
    given = {"now": now, "people": _PEOPLE, "lines": _LINES, "lock": Lock.GATHER_MAIL}
    told = [_Told(*row) for row in session.execute(_TAKE, given)]
    # Who has left since hears no more.
    active = people_queries.names(session, [one.person for one in told]) if told else {}
    heard = [one for one in told if one.person in active]
    deliveries.write(session, [_mail(one) for one in heard], now=now)
    deliveries.write(session, _pushes(session, heard), now=now)
    return len(told)


BATCH = _PEOPLE


def _mail(told: _Told) -> NewDelivery:
    said = told.message().model_dump_json()
    return NewDelivery(Channel.EMAIL, told.person, said, told.about)


def _pushes(session: Session, told: Sequence[_Told]) -> list[NewDelivery]:
    """One for each device of those who want it."""
    devices = push_devices.of_people(session, [one.person for one in told]) if told else {}
    if not devices:
        return []
    wanted = choices.of_people(session, devices)
    return [
        _push(one, device)
        for one in told
        if one.person in devices and wanted[one.person].pushed
        for device in devices[one.person]
    ]


def _push(told: _Told, device: Device) -> NewDelivery:
    said = notice_of(told.message(), urgent=told.urgent).model_dump_json()
    return NewDelivery(Channel.PUSH, told.person, said, told.about, device=device)
