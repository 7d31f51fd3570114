"""The routing policy by revision: the newest is in force, at once and in every process."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.errors import PolicyMovedOn
from services.escalation.policy.findings import check_owners, policy_findings
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read
from services.escalation.rules import PolicySource
from services.kit.audit import note
from services.kit.errors import InvalidInput, NotFound, Problem
from services.kit.locks import Lock, lock
from services.people.rules import SYSTEM, Actor, Verb


class Revision(NamedTuple):
    """A routing policy as somebody put it into force."""

    number: int
    content: str
    source: str
    by: str
    at: datetime


_COLUMNS = "revision, content, source, put_by, put_at"
_ONE = text(f"SELECT {_COLUMNS} FROM routing_policy WHERE revision = :number")
_BEFORE = text(f"""
SELECT {_COLUMNS} FROM routing_policy WHERE revision < :number ORDER BY revision DESC LIMIT 1
""")
_NEWEST = text(f"SELECT {_COLUMNS} FROM routing_policy ORDER BY revision DESC LIMIT 1")
_LAST_FILE = text("""
SELECT content FROM routing_policy WHERE source = 'file' ORDER BY revision DESC LIMIT 1
""")
_NUMBER = text("SELECT max(revision) FROM routing_policy")
_HISTORY = text(f"SELECT {_COLUMNS} FROM routing_policy ORDER BY revision DESC LIMIT :limit")
_PUT = text("""
INSERT INTO routing_policy (content, source, put_by, put_at)
VALUES (:content, :source, :by, :now) RETURNING revision
""")


def newest(session: Session) -> Revision | None:
    """The revision that is in force; None where nobody has put any."""
    found = session.execute(_NEWEST).first()
    return Revision(*found) if found is not None else None


def history(session: Session, *, limit: int = 50) -> Sequence[Revision]:
    """The newest revisions, the one in force first."""
    return [Revision(*row) for row in session.execute(_HISTORY, {"limit": limit})]


def at(session: Session, number: int) -> Revision | None:
    """The revision of a number, if there is one."""
    found = session.execute(_ONE, {"number": number}).first()
    return Revision(*found) if found is not None else None


def revision(session: Session, number: int) -> Revision:
    """One revision.

    Raises:
        NotFound: there is none of that number.
    """
    found = at(session, number)
    if found is None:
        raise NotFound(f"There is no revision {number} of the routing policy.")
    return found


def before(session: Session, number: int) -> Revision | None:
    """The revision that was in force before another one; None before the first."""
    found = session.execute(_BEFORE, {"number": number}).first()
    return Revision(*found) if found is not None else None


@lru_cache(maxsize=64)
def as_policy(found: Revision) -> RoutingPolicy:
    """What a revision says; kept, as none ever changes."""
    return read(found.content).model_copy(update={"revision": str(found.number)})


class PolicyInForce:
    """The policy in force, read anew when there is another revision."""

    def __init__(self) -> None:
        self._known: tuple[int, RoutingPolicy] | None = None

    def __call__(self, session: Session) -> RoutingPolicy | None:
        """The policy; None where nobody has put any."""
        number = session.execute(_NUMBER).scalar_one()
        if number is None:
            return None
        if self._known is None or self._known[0] != number:
            found = newest(session)
            assert found is not None
            self._known = found.number, as_policy(found)
        return self._known[1]


def put(
    session: Session,
    content: str,
    *,
    actor: Actor,
    source: PolicySource = PolicySource.COMMAND,
    upon: int | None = None,
    now: datetime,
) -> int:
    """Put a policy into force, for all cases that open from now on; answers its revision.

    Args:
        session: the transaction.
        content: the YAML.
        actor: who does it.
        source: by what way.
        upon: the revision that was in force when it was looked at, 0 where there was none.
        now: the time.

    Raises:
        NotAllowed: the actor does not route cases.
        InvalidInput: it is no policy, something is to be found in it, or it names what is not
            there; the one of before stays.
        PolicyMovedOn: another revision than `upon` is in force by now.
    """
    actor.require(Verb.ROUTE_CASES)
    policy = read(content)
    lock(session, Lock.PUT_ROUTING)
    _require_unmoved(session, upon)
    problems = policy_findings(session, policy, now=now).problems
    if problems:
        hint = "`secondlook route check` finds the same, before it is put."
        raise InvalidInput(
            f"The routing policy, {problems[0]}.",
            problems=tuple(Problem(f"line {one.line}", one.problem, hint) for one in problems),
        )
    return _add(session, content, source, by=actor.id, now=now)


def _require_unmoved(session: Session, upon: int | None) -> None:
    number = session.execute(_NUMBER).scalar_one() or 0
    if upon is not None and number != upon:
        raise PolicyMovedOn(
            f"Somebody put revision {number} of the routing policy into force meanwhile. Look at"
            " what it changed, then decide again.",
            revision=number,
        )


def is_news(session: Session, content: str) -> bool:
    """Whether the file that the settings name is another than when it last was put into force."""
    last: str | None = session.execute(_LAST_FILE).scalar()
    return last != content


def take_file(session: Session, content: str, *, now: datetime) -> None:
    """Put the file that the settings name into force, if it is news.

    So a policy that somebody put since stays in force until the file itself changes.

    Raises:
        InvalidInput: it is no policy, something is to be found in it, or it names what is not
            there; the one of before stays.
    """
    lock(session, Lock.PUT_ROUTING)
    if not is_news(session, content):
        return
    policy = read(content)
    check_owners(session, policy)
    problems = policy_findings(session, policy, now=now).problems
    if problems:
        raise InvalidInput(
            f"SECONDLOOK_ROUTING_FILE: the routing policy, {problems[0]}. `secondlook route check`"
            " finds all of it; change the file, or unset the setting to go on with the policy in"
            " force."
        )
    _add(session, content, PolicySource.FILE, by=SYSTEM, now=now)


def _add(session: Session, content: str, source: PolicySource, *, by: str, now: datetime) -> int:
    given = {"content": content, "source": source.value, "by": by, "now": now}
    number = int(session.execute(_PUT, given).scalar_one())
    note(session, now, by, "put", "routing policy", str(number), source=source.value)
    return number
