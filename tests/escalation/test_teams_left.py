"""What a team owns when nobody is left in it who may review, or it is removed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotFound
from services.people import service as people_service
from services.people.errors import StillOwns
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests.escalation.test_owners import (
    EACH_LOSS,
    OF_PAT,
    behind_the_back,
    change,
    change_by_admin,
    owners,
    run,
    unowned,
)
from tests.factories import (
    ADMIN,
    LEAD,
    OUTSIDER,
    OWNER,
    POLICY,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    add_schedule,
    one,
    output,
    rows,
)


@EACH_LOSS
def test_last_reviewer_of_a_team_hands_its_open_cases_over(
    loss: dict[str, Any], populated: Database
) -> None:
    """To the next of each case's ladder, in the transaction in which they go."""
    log = Delivery(populated)
    log.take(output("o-1", confidence=0.1))
    log.take(output("o-2", confidence=0.1))
    first, second = (row.id for row in rows(populated, 'SELECT id FROM "case" ORDER BY id'))
    for case in (first, second):
        Casework(populated).do("reassign", OWNER, case, owner=Owner("team", "other"))
    Casework(populated).claim(ADMIN, second)
    change_by_admin(populated, OUTSIDER, **loss)
    assert owners(populated) == ["support", "support"]
    assert unowned(populated) == {}
    told = "SELECT note FROM timeline_entry WHERE event = 'reassigned' ORDER BY id DESC LIMIT 2"
    notes = {row.note for row in rows(populated, told)}
    assert notes == {"Nobody is left in its team who may review."}
    claimant = one(populated, 'SELECT claimant FROM "case" WHERE id = :id', id=second)
    assert claimant == ADMIN


def test_person_who_leaves_hands_on_what_a_team_without_a_reviewer_would_get(
    populated: Database,
) -> None:
    Delivery(populated, read_policy(POLICY)).take(output("o-1", value="tax", confidence=0.1))
    with behind_the_back(populated) as session:
        given = {"them": [OWNER, TEAMMATE]}
        session.execute(text("UPDATE person SET role = 'rep' WHERE email = ANY(:them)"), given)
    run(populated, "ALTER TABLE membership DISABLE TRIGGER USER")
    run(populated, "DELETE FROM membership WHERE person = :lead", lead=LEAD)
    assert change_by_admin(populated, LEAD, active=False) == 1
    assert owners(populated) == [ADMIN]


def remove(populated: Database, team: str, policy: str | None = None) -> int:
    with populated.transaction() as session:
        now, actor = DatabaseClock().now(session), actor_of(session, ADMIN)
        named = read_policy(policy) if policy is not None else None
        duties = (CaseDuty(lambda _: named),)
        return people_service.remove_team(session, team, duties=duties, actor=actor, now=now)


def test_team_that_is_removed_hands_its_open_cases_over(populated: Database) -> None:
    Delivery(populated).take(output("o-1", confidence=0.1))
    Casework(populated).do("reassign", OWNER, 1, owner=Owner("team", "other"))
    assert remove(populated, "other") == 1
    assert owners(populated) == ["support"]
    assert one(populated, "SELECT count(*) FROM membership WHERE team = 'other'") == 0
    with pytest.raises(InvalidInput, match="no team 'other'"):
        change(populated, OUTSIDER, teams=["other"])
    with pytest.raises(NotFound):
        remove(populated, "other")


def test_team_that_is_needed_stays(populated: Database) -> None:
    with pytest.raises(StillOwns, match="team 'support' has tools"):
        remove(populated, "support")
    with pytest.raises(StillOwns, match="names team:other"):
        remove(populated, "other", policy=OF_PAT)
    with populated.transaction() as session:
        add_schedule(session, "nights", OUTSIDER, team="other")
    with pytest.raises(StillOwns, match="schedule 'nights' is team 'other's"):
        remove(populated, "other")
    assert one(populated, "SELECT count(*) FROM team WHERE active") == 3


def test_nothing_comes_to_a_team_that_is_removed(populated: Database) -> None:
    remove(populated, "other")
    with populated.transaction() as session:
        given: Any = {"kind": OutputKind.TEXT, "team": "other", "maturity_seconds": 0}
        by: Any = {"actor": actor_of(session, ADMIN), "now": DatabaseClock().now(session)}
        with pytest.raises(InvalidInput, match="no team 'other'"):
            tool_service.add_tool(session, "writer", **given, **by)
        with pytest.raises(InvalidInput, match="no team 'other'"):
            add_schedule(session, "nights", ADMIN, team="other")
    with pytest.raises(IntegrityError, match="there is no team other"):
        run(populated, "UPDATE tool SET team = 'other'")


def test_tool_that_comes_while_its_team_is_removed_is_refused(populated: Database) -> None:
    removed = threading.Event()

    def add() -> None:
        removed.wait(10)
        with populated.transaction() as session:
            given: Any = {"kind": OutputKind.TEXT, "team": "other", "maturity_seconds": 0}
            by: Any = {"actor": actor_of(session, ADMIN), "now": DatabaseClock().now(session)}
            tool_service.add_tool(session, "writer", **given, **by)

    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(add)
        with populated.transaction() as session:
            now, actor = DatabaseClock().now(session), actor_of(session, ADMIN)
            people_service.remove_team(session, "other", actor=actor, now=now)
            removed.set()
            with pytest.raises(TimeoutError):
                adding.result(0.5)
        with pytest.raises(InvalidInput, match="no team 'other'"):
            adding.result(10)
