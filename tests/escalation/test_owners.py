"""Every open case has an owner who may review, whatever is done to people and teams."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.escalation import queries, service
from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import LAST_RESORT, Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.people import service as people_service
from services.people.errors import StillOwns
from services.people.rules import REVIEWERS, Role
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests.factories import (
    ADMIN,
    LEAD,
    OUTSIDER,
    OWNER,
    POLICY,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR

PAT = "pat@example.org"
LOSSES = [{"role": Role.REP}, {"teams": []}, {"active": False}]
EACH_LOSS = pytest.mark.parametrize("loss", LOSSES, ids=["role", "team", "active"])
OF_PAT = f"""
version: 1
catch_all: {{team: other, sla: {{claim: 30m, resolve: 2h}}, escalate: long}}
rules:
  - {{id: all, when: {{tool: "*"}}, owner: {{user: {PAT}}}}}
ladders:
  long:
    - {{at: 1h, own: user:never@example.org}}
    - {{at: 2h, own: user:{LEAD}}}
"""
OF_OTHER = "version: 1\ncatch_all: {team: other, sla: {claim: 30m, resolve: 2h}}"
SHORT = re.sub(r"  long:.*", "  long: [{at: 0s, own: team:other}]\n", OF_PAT, flags=re.DOTALL)


def change(populated: Database, email: str, **given: Any) -> None:
    with populated.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.change_person(session, email, **given, actor=OPERATOR, duties=(), now=now)


def change_by_admin(
    populated: Database, email: str, policy: str | None = None, **given: Any
) -> int:
    with populated.transaction() as session:
        now, actor = DatabaseClock().now(session), actor_of(session, ADMIN)
        named = read_policy(policy) if policy is not None else None
        duties = (CaseDuty(lambda _: named),)
        return people_service.change_person(
            session, email, **given, duties=duties, actor=actor, now=now
        )


def run(populated: Database, statement: str, **given: Any) -> None:
    with populated.transaction() as session:
        session.execute(text(statement), given)


def unowned(populated: Database) -> dict[str, int]:
    with populated.transaction() as session:
        return queries.unowned(session)


def owners(populated: Database) -> list[str]:
    query = 'SELECT coalesce(owner_team, owner_person) FROM "case" ORDER BY id'
    return [row[0] for row in rows(populated, query)]


def skipped(populated: Database) -> list[Any]:
    query = "SELECT detail->>'owner', note FROM timeline_entry WHERE event = 'rung skipped'"
    return [tuple(row) for row in rows(populated, query)]


@contextmanager
def behind_the_back(populated: Database) -> Iterator[Any]:
    """A transaction in which people change without the database's own refusal."""
    with populated.transaction() as session:
        session.execute(text("ALTER TABLE person DISABLE TRIGGER USER"))
        yield session
        session.execute(text("ALTER TABLE person ENABLE TRIGGER USER"))


# --- who may go ---------------------------------------------------------------------------


@EACH_LOSS
def test_database_lets_no_last_reviewer_of_a_team_with_open_cases_go(
    loss: dict[str, Any], populated: Database
) -> None:
    Delivery(populated).take(output("o-1", confidence=0.1))
    Casework(populated).do("reassign", OWNER, 1, owner=Owner("team", "other"))
    with pytest.raises(
        StillOwns, match="somebody else a reviewer of team 'other' first"
    ) as refused:
        change(populated, OUTSIDER, **loss)
    (field,) = loss
    assert refused.value.problems[0].pointer == f"/{field.removesuffix('s')}"
    change(populated, REP, role=Role.OWNER, teams=["support", "other"])
    change(populated, OUTSIDER, **loss)
    assert unowned(populated) == {}


@EACH_LOSS
def test_last_reviewer_of_a_team_with_a_tool_stays(
    loss: dict[str, Any], populated: Database
) -> None:
    with populated.transaction() as session:
        given = {"kind": OutputKind.TEXT, "team": "other", "maturity_seconds": 0}
        now = DatabaseClock().now(session)
        tool_service.add_tool(session, "writer", **given, actor=OPERATOR, now=now)
    with pytest.raises(StillOwns, match="team 'other'"):
        change(populated, OUTSIDER, **loss)


@EACH_LOSS
def test_last_reviewer_of_a_team_that_answers_for_nothing_may_go(
    loss: dict[str, Any], populated: Database
) -> None:
    change(populated, OUTSIDER, **loss)


@EACH_LOSS
def test_rep_of_a_team_may_go(loss: dict[str, Any], populated: Database) -> None:
    with behind_the_back(populated) as session:
        session.execute(text("UPDATE person SET role = 'rep' WHERE role IN ('owner', 'lead')"))
    change(populated, REP, **loss)


def test_reviewer_who_stays_in_the_team_may_change_the_rest(populated: Database) -> None:
    with populated.transaction() as session:
        given = {"kind": OutputKind.TEXT, "team": "other", "maturity_seconds": 0}
        now = DatabaseClock().now(session)
        tool_service.add_tool(session, "writer", **given, actor=OPERATOR, now=now)
    change(populated, OUTSIDER, role=Role.LEAD, teams=["other", "support"])
    change(populated, OUTSIDER, teams=["other"])


def test_owner_of_open_cases_is_not_demoted(populated: Database) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", value="tax", confidence=0.1))
    with pytest.raises(StillOwns, match=f"role: {LEAD} owns open cases; hand them over first"):
        change(populated, LEAD, role=Role.AUDITOR)
    change(populated, LEAD, role=Role.OWNER)


@pytest.mark.parametrize("loss", [{"role": Role.LEAD}, {"active": False}], ids=["role", "active"])
def test_last_active_admin_stays(loss: dict[str, Any], populated: Database) -> None:
    with pytest.raises(StillOwns, match="make somebody else an admin first"):
        change(populated, ADMIN, **loss)
    change(populated, REP, role=Role.ADMIN)
    change(populated, ADMIN, **loss)


@pytest.mark.parametrize("role", list(Role))
def test_database_knows_who_reviews(role: Role, populated: Database) -> None:
    with behind_the_back(populated) as session:
        session.execute(text("UPDATE person SET role = :role"), {"role": role.value})
    assert one(populated, "SELECT can_own('support')") == (role in REVIEWERS)


def at_once(first: Callable[[Any], None], second: Callable[[], None], populated: Database) -> Any:
    """Do `second` while the transaction of `first` is not over; answers what `second` raised."""
    begun = threading.Event()

    def then() -> Any:
        begun.set()
        try:
            second()
        except (StillOwns, IntegrityError) as error:
            return error
        return None

    with ThreadPoolExecutor(1) as threads:
        with populated.transaction() as session:
            first(session)
            later = threads.submit(then)
            begun.wait()
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not (one(populated, query) or later.done()):
                pass
        return later.result(10)


@EACH_LOSS
def test_last_two_reviewers_do_not_leave_at_once(loss: dict[str, Any], populated: Database) -> None:
    change(populated, LEAD, role=Role.REP)
    Delivery(populated).take(output("o-1", confidence=0.1))

    def leave(session: Any) -> None:
        now = DatabaseClock().now(session)
        given = {"actor": OPERATOR, "duties": (), "now": now}
        people_service.change_person(session, OWNER, **loss, **given)

    error = at_once(leave, lambda: change(populated, TEAMMATE, **loss), populated)
    assert isinstance(error, StillOwns)
    assert unowned(populated) == {}
    assert one(populated, "SELECT can_own('support')")


RAW = [
    "UPDATE person SET role = 'rep' WHERE email = :email",
    "UPDATE person SET active = false WHERE email = :email",
    "DELETE FROM membership WHERE person = :email",
]


@pytest.mark.parametrize("statement", RAW, ids=["role", "active", "team"])
def test_database_itself_keeps_the_last_of_two(statement: str, populated: Database) -> None:
    change(populated, LEAD, role=Role.REP)
    error = at_once(
        lambda session: session.execute(text(statement), {"email": OWNER}),
        lambda: run(populated, statement, email=TEAMMATE),
        populated,
    )
    assert isinstance(error, IntegrityError)
    assert one(populated, "SELECT can_own('support')")


def test_last_two_admins_do_not_leave_at_once(populated: Database) -> None:
    change(populated, REP, role=Role.ADMIN)

    def leave(session: Any) -> None:
        session.execute(text("UPDATE person SET role = 'rep' WHERE email = :e"), {"e": ADMIN})

    error = at_once(leave, lambda: change(populated, REP, role=Role.REP), populated)
    assert isinstance(error, StillOwns)


def test_case_opened_while_the_last_reviewer_leaves_falls_to_an_admin(populated: Database) -> None:
    log = Delivery(populated, read_policy(OF_OTHER))

    def leave(session: Any) -> None:
        now = DatabaseClock().now(session)
        people_service.change_person(
            session, OUTSIDER, role=Role.REP, actor=OPERATOR, duties=(), now=now
        )

    assert at_once(leave, lambda: log.take(output("o-1", confidence=0.1)), populated) is None
    assert owners(populated) == [ADMIN]
    assert unowned(populated) == {}


# --- who owns instead ---------------------------------------------------------------------


def test_case_of_a_team_without_a_reviewer_falls_to_an_admin(populated: Database) -> None:
    with behind_the_back(populated) as session:
        session.execute(text("UPDATE person SET role = 'rep' WHERE role IN ('owner', 'lead')"))
    Delivery(populated).take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    assert owners(populated) == [ADMIN, ADMIN]
    said = ("team:support", f"team:support cannot own it; user:{ADMIN} does")
    assert skipped(populated) == [said, said]
    assert unowned(populated) == {}


@pytest.mark.parametrize("known", [True, False], ids=["left", "never-there"])
@pytest.mark.parametrize(("policy", "instead"), [(OF_PAT, LEAD), (SHORT, "other")])
def test_case_of_an_owner_who_is_gone_falls_to_the_next(
    policy: str, instead: str, known: bool, populated: Database
) -> None:
    if known:
        with populated.transaction() as session:
            given = {"name": "Pat", "role": Role.OWNER, "teams": ["support"]}
            now = DatabaseClock().now(session)
            people_service.add_person(session, PAT, **given, actor=OPERATOR, now=now)
        change(populated, PAT, active=False)
    Delivery(populated, read_policy(policy)).take(output("o-1", confidence=0.1))
    assert owners(populated) == [instead]
    assert [owner for owner, _ in skipped(populated)] == [f"user:{PAT}"]
    assert unowned(populated) == {}


def test_case_of_a_team_that_never_was_falls_to_an_admin(populated: Database) -> None:
    policy = OF_OTHER.replace("other", "nowhere")
    log = Delivery(populated, read_policy(policy))
    log.take(output("o-1", confidence=0.1), correction("o-2", value="tax", who=ADMIN))
    log.take(output("o-2", confidence=0.1))
    owners_of = 'SELECT owner_person, team FROM "case" ORDER BY id'
    # Or to a lead, where the admin has a part in it.
    assert rows(populated, owners_of) == [(ADMIN, "support"), (LEAD, "support")]


def test_reopen_after_the_owner_left_falls_to_the_next(populated: Database) -> None:
    log = Delivery(populated, read_policy(POLICY))
    log.take(output("o-1", value="tax", confidence=0.1))
    Casework(populated).give_verdict(OWNER, 1)
    change_by_admin(populated, LEAD, active=False)
    log.take(correction("o-1", kind="dispute", note="look again"))
    assert rows(populated, 'SELECT state, owner_person FROM "case"') == [("open", ADMIN)]
    assert [owner for owner, _ in skipped(populated)] == [f"user:{LEAD}"]


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[2]], ids=["role", "active"])
def test_undo_after_the_owner_left_falls_to_the_next(
    loss: dict[str, Any], populated: Database
) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", value="tax", confidence=0.1))
    Casework(populated).do("reassign", LEAD, 1, owner=Owner("person", TEAMMATE))
    Casework(populated).give_verdict(OWNER, 1)
    change_by_admin(populated, TEAMMATE, **loss)
    Casework(populated).undo(OWNER, 1)
    query = 'SELECT state, owner_person, owner_since = opened_at, verdict FROM "case"'
    assert rows(populated, query) == [("open", LEAD, False, None)]
    said = f"user:{TEAMMATE} cannot own it; user:{LEAD} does"
    assert skipped(populated) == [(f"user:{TEAMMATE}", said)]
    assert unowned(populated) == {}


def test_undo_never_goes_down_the_ladder(populated: Database) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", confidence=0.1))
    Casework(populated).do("escalate", OWNER, 1, level=0)
    Casework(populated).give_verdict(OWNER, 1)
    change_by_admin(populated, LEAD, active=False)
    Casework(populated).undo(OWNER, 1)
    query = 'SELECT state, level, owner_person FROM "case"'
    assert rows(populated, query) == [("open", 1, ADMIN)]


def test_case_that_stays_its_owner_s_is_theirs_since_it_first_was(populated: Database) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", value="tax", confidence=0.1))
    since = 'SELECT owner_person, owner_since FROM "case"'
    before = rows(populated, since)
    Casework(populated).give_verdict(OWNER, 1)
    Casework(populated).undo(OWNER, 1)
    assert rows(populated, since) == before
    assert skipped(populated) == []
    Casework(populated).do("reassign", LEAD, 1, owner=Owner("person", LEAD))
    Casework(populated).do("escalate", TEAMMATE, 1, level=0)
    assert rows(populated, since) == before


# --- the routing policy -------------------------------------------------------------------


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[2]], ids=["role", "active"])
def test_person_whom_the_policy_names_stays(loss: dict[str, Any], populated: Database) -> None:
    with pytest.raises(StillOwns, match=f"names user:{LEAD}.*change the policy first"):
        change_by_admin(populated, LEAD, POLICY, **loss)
    assert change_by_admin(populated, LEAD, None, **loss) == 0


def test_last_reviewer_of_a_team_that_the_policy_names_stays(populated: Database) -> None:
    with pytest.raises(StillOwns, match="names team:other"):
        change_by_admin(populated, OUTSIDER, OF_PAT, teams=["support"])


def test_person_who_leaves_hands_over_in_the_same_verb(populated: Database) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", value="tax", confidence=0.1))
    assert change_by_admin(populated, LEAD, active=False) == 1
    assert owners(populated) == ["support"]


def test_policy_is_checked_against_the_people(populated: Database) -> None:
    with populated.transaction() as session:
        service.check_owners(session, read_policy(POLICY))
        with pytest.raises(InvalidInput, match=r"line 5: rule 'all' names user:pat@ex"):
            service.check_owners(session, read_policy(OF_PAT))


def test_nobody_hands_a_case_to_the_last_resort(populated: Database) -> None:
    Delivery(populated).take(output("o-1", confidence=0.1))
    with pytest.raises(InvalidInput) as refused:
        Casework(populated).do("reassign", OWNER, 1, owner=LAST_RESORT)
    assert [(one.pointer, bool(one.hint)) for one in refused.value.problems] == [("/owner", True)]
    assert one(populated, 'SELECT owner_team FROM "case"') == "support"
