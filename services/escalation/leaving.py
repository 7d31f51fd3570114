"""What happens to cases when somebody leaves, or may no longer review."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import claims, handover, impartial, owners
from services.escalation.answering import Found
from services.escalation.models import OPEN
from services.escalation.routing import Policy
from services.escalation.rules import Owner
from services.escalation.timeline import Entry, Happening, tell
from services.people import ownership, reviewing, schedule_queries
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.duties import Change, PersonChange, PresenceChange, TeamRemoval
from services.people.errors import StillOwns
from services.people.rules import REVIEWERS, Actor, Verb


class CaseDuty:
    """Cases as a duty of people: handed over in the transaction in which somebody leaves."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def kept(self, session: Session, change: Change) -> AbstractContextManager[int]:
        """Around a change: hand over what would have no owner, or one who is not there; answers
        how many cases moved before it.

        Raises:
            StillOwns: a case would go to nobody, or whom the routing policy names could own
                none any more.
        """
        if isinstance(change, PresenceChange):
            return handover.around(session, change)
        if isinstance(change, TeamRemoval):
            return self._of_team(session, change)
        return self._of_person(session, change)

    @contextmanager
    def _of_person(self, session: Session, change: PersonChange) -> Iterator[int]:
        # Whoever leaves is locked by the change itself, and cases come before people: so this
        # only looks.
        before = owners.able_now(session)
        emptied = _emptied(session, change, self._named(session))
        moved = _leave_teams(session, change, emptied, gone=change.email)
        if change.active is False:
            moved += _hand_over(session, change, emptied)
        elif _loses_review(session, change):
            _end_claims(session, change.email, by="role", now=change.now)
        yield moved
        self._require_named_able(session, before)

    @contextmanager
    def _of_team(self, session: Session, change: TeamRemoval) -> Iterator[int]:
        team = Owner("team", change.team)
        if team in self._named(session):
            raise _still_named(team)
        yield _leave_teams(session, change, {change.team})
        self._require_named_able(session, {team})

    def _require_named_able(self, session: Session, before: Collection[Owner]) -> None:
        # A policy that was put meanwhile waited for who leaves, or these for it.
        named = self._named(session)
        for owner in sorted((named & set(before)) - owners.able_now(session), key=str):
            raise _still_named(owner)

    def _named(self, session: Session) -> frozenset[Owner]:
        policy = self._policy(session)
        return policy.owners if policy is not None else frozenset()


def _still_named(owner: Owner) -> StillOwns:
    return StillOwns(
        f"The routing policy names {owner}, who could own no case any more;"
        " change the policy first."
    )


def _emptied(session: Session, change: PersonChange, named: Collection[Owner]) -> frozenset[str]:
    """The teams in which nobody is left who may review: none of those that the routing policy
    names, whose last reviewer stays."""
    alone = reviewing.alone_in(session, change.email)
    if change.active is not False and not _loses_review(session, change):
        alone = alone - set(change.teams) if change.teams is not None else frozenset()
    return frozenset(team for team in alone if Owner("team", team) not in named)


_OF_TEAMS = text(f"""
SELECT id FROM "case" WHERE {OPEN} AND owner_team = ANY(:teams) ORDER BY id FOR UPDATE
""")


def _leave_teams(
    session: Session, change: PersonChange | TeamRemoval, emptied: Collection[str], gone: str = ""
) -> int:
    """Give what these teams own to whoever is wanted next; answers how many cases that were."""
    if not emptied:
        return 0
    cases = session.scalars(_OF_TEAMS, {"teams": sorted(emptied)}).all()
    found = handover.after_leaving(session, cases, gone=gone, emptied=emptied, now=change.now)
    handover.give(session, found, now=change.now)
    note = "Nobody is left in its team who may review."
    tell(session, _reassigned(found, change.actor, note), now=change.now)
    return len(found)


def _reassigned(found: Mapping[int, Found], actor: Actor, note: str) -> list[Entry]:
    return [
        Entry(id_, Happening.REASSIGNED, actor.id, note, {"owner": one.owner.as_answer()})
        for id_, one in found.items()
    ]


def _loses_review(session: Session, change: PersonChange) -> bool:
    """Whether somebody gets a role that may not review, and has one that may."""
    if change.role is None or change.role in REVIEWERS:
        return False
    return people_queries.person(session, change.email).role in REVIEWERS


def _hand_over(session: Session, change: PersonChange, emptied: Collection[str]) -> int:
    """End the claims of a person who is leaving, and give every open case that they own to whoever
    has the duty through which they own it, else to the case's team, else, where nobody may review
    in that, as in those that they leave `emptied`, to whoever is wanted next; answers how many they
    owned. Whoever else has claimed one works on, and what is put off stays so.

    All at once, because the cases and the person's teams are locked while it lasts. Call it in
    the transaction that deactivates the person.

    Raises:
        NotAllowed: the actor does not manage people.
    """
    change.actor.require(Verb.MANAGE_PEOPLE)
    cases = _end_claims(session, change.email, by="deactivation", now=change.now)
    owned = [case for case in cases if case.owned]
    if owned:
        heirs = _heirs(session, change.email, owned, change.now)
        teams = {Owner("team", case.team) for case in owned}
        unable = {team.id for team in teams - owners.able(session, teams)}
        _give(session, owned, heirs, change, {*emptied, *unable})
    return len(owned)


class _Theirs(NamedTuple):
    """An open case that somebody owns, or that they hold a claim on, or both."""

    id: int
    team: str
    owned: bool
    schedule: str | None


_THEIRS = f"""
SELECT id, team, coalesce(owner_person = :email, false) AS owned, owner_schedule FROM "case"
WHERE {OPEN} AND (owner_person = :email OR claimant = :email) ORDER BY id
"""
_SEE_THEIRS, _LOCK_THEIRS = text(_THEIRS), text(f"{_THEIRS} FOR UPDATE")


def _hold(session: Session, email: str) -> list[_Theirs]:
    """Lock somebody's cases, then the teams that these go to, and then the person.

    A case that became theirs between the two is not waited for with others in hand, as whoever
    moves it may wait for those: all are let go, and the case is locked with them.
    """
    given = {"email": email}
    while True:
        with session.begin_nested() as attempt:
            cases = [_Theirs(*row) for row in session.execute(_LOCK_THEIRS, given)]
            teams = {case.team for case in cases if case.owned}
            on_duty = _reviewers(session) if any(case.schedule for case in cases) else set()
            people_service.hold_person(session, email, teams=teams, beside=on_duty)
            if set(cases).issuperset(_Theirs(*row) for row in session.execute(_SEE_THEIRS, given)):
                return cases
            attempt.rollback()


def _end_claims(session: Session, email: str, *, by: str, now: datetime) -> list[_Theirs]:
    """Free what somebody holds who may work on it no more; answers their cases, locked."""
    cases = _hold(session, email)
    claims.drop_claims(session, email, [case.id for case in cases], by=by, now=now)
    return cases


def _reviewers(session: Session) -> frozenset[str]:
    return ownership.everybody_able(session).people


def _heirs(
    session: Session, email: str, owned: Sequence[_Theirs], now: datetime
) -> dict[str, Owner]:
    """Who has the duty of schedules once this person is gone, of those through which they own."""
    slugs = {case.schedule for case in owned if case.schedule is not None}
    found = schedule_queries.roster(session, slugs, now, now).without(email)
    people = {slug: person for slug in found.schedules if (person := found.on_duty(slug, now))}
    wanted = {Owner("person", person) for person in people.values()}
    able = owners.able(session, wanted) if wanted else set()
    heirs = {slug: Owner("person", person) for slug, person in people.items()}
    return {slug: owner for slug, owner in heirs.items() if owner in able}


def _give(
    session: Session,
    owned: Sequence[_Theirs],
    heirs: Mapping[str, Owner],
    change: PersonChange,
    emptied: Collection[str],
) -> None:
    apart = impartial.apart(session, [case.id for case in owned], opinions=True)
    found = {case.id: _found(case, heirs, apart[case.id]) for case in owned}
    homeless = [id_ for id_, one in found.items() if _is_one_of(emptied, one.owner)]
    gone = change.email
    found |= handover.after_leaving(session, homeless, gone=gone, emptied=emptied, now=change.now)
    handover.give(session, found, now=change.now)
    tell(session, _reassigned(found, change.actor, f"{gone} left"), now=change.now)


def _is_one_of(teams: Collection[str], owner: Owner) -> bool:
    return owner.kind == "team" and owner.id in teams


def _found(case: _Theirs, heirs: Mapping[str, Owner], apart: frozenset[str]) -> Found:
    """Who owns a case from now on: who has its duty and no part in it, else its team."""
    heir = heirs.get(case.schedule or "")
    if heir is None or heir.id in apart:
        return Found(Owner("team", case.team))
    return Found(heir, case.schedule)
