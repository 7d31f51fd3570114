"""Claims, releases and what is done under them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from services.escalation import service
from services.escalation.errors import HeldBySomebody, MovedOn, StaleToken
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound
from tests.factories import (
    ADMIN,
    LEAD,
    LEASE,
    OUTSIDER,
    OWNER,
    REP,
    TEAMMATE,
    Casework,
    one,
    rows,
)


def events_of(database: Database, case: int) -> list[str]:
    found = rows(
        database, "SELECT event FROM timeline_entry WHERE case_id = :c ORDER BY id", c=case
    )
    return [row.event for row in found]


def test_claim_has_one_winner_and_the_others_learn_who(
    case: int, casework: Casework, database: Database
) -> None:
    def attempt(who: str) -> str:
        try:
            return casework.claim(who, case)
        except HeldBySomebody as error:
            return f"held by {error.extra['holder']}"

    people = [OWNER, TEAMMATE, LEAD, ADMIN] * 5
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(attempt, people))
    holder = one(database, 'SELECT claimant FROM "case"')
    winners = {who for who, said in zip(people, answers, strict=True) if "held" not in said}
    assert winners == {holder}
    assert {said for said in answers if "held" in said} == {f"held by {holder}"}
    assert events_of(database, case).count("claimed") == 1


def test_claim_again_by_the_holder_renews_the_same_token(case: int, casework: Casework) -> None:
    assert casework.claim(OWNER, case) == casework.claim(OWNER, case)


def test_claim_stops_the_claim_clock_and_release_resumes_it(
    case: int, casework: Casework, database: Database
) -> None:
    due = one(database, 'SELECT claim_due_at FROM "case"')
    token = casework.claim(OWNER, case)
    assert one(database, "SELECT stopped_at IS NOT NULL FROM timer WHERE kind = 'claim'")
    casework.do("release", OWNER, case, token=token)
    later: datetime = one(database, "SELECT due_at FROM timer WHERE kind = 'claim'")
    assert timedelta(0) < later - due < timedelta(seconds=5)
    assert one(database, 'SELECT state FROM "case"') == "open"


def test_write_past_the_lease_is_refused(case: int, casework: Casework, database: Database) -> None:
    token = casework.claim(OWNER, case, lease=timedelta(0))
    with pytest.raises(StaleToken):
        casework.give_verdict(OWNER, case, token=token)
    with database.transaction() as session:
        assert service.expire_leases(session, now=DatabaseClock().now(session)) == 1
    assert one(database, 'SELECT state FROM "case"') == "open"


def test_write_with_an_old_token_is_refused(
    case: int, casework: Casework, database: Database
) -> None:
    old = casework.claim(OWNER, case, lease=timedelta(0))
    casework.claim(TEAMMATE, case)
    for late in (
        lambda: casework.give_verdict(OWNER, case, token=old),
        lambda: casework.do("release", OWNER, case, token=old),
    ):
        with pytest.raises(StaleToken) as refused:
            late()
        assert refused.value.extra["holder"] == TEAMMATE
    assert one(database, 'SELECT claimant FROM "case"') == TEAMMATE


def test_reassign_moves_the_case_and_ends_the_claim(
    case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    casework.do("reassign", OWNER, case, owner=Owner("team", "other"), token=token)
    row = rows(database, 'SELECT owner_team, team, state, claimant FROM "case"')[0]
    assert tuple(row) == ("other", "other", "open", None)
    with pytest.raises(NotFound):
        casework.claim(OWNER, case)
    assert casework.claim(OUTSIDER, case)


def test_reassign_to_nobody_is_refused(case: int, casework: Casework) -> None:
    for owner in (Owner("person", REP), Owner("person", "x@y.z"), Owner("team", "nobody")):
        with pytest.raises(InvalidInput):
            casework.do("reassign", OWNER, case, owner=owner)


def test_reassign_over_a_live_claim_is_for_leads(case: int, casework: Casework) -> None:
    casework.claim(OWNER, case)
    with pytest.raises(HeldBySomebody):
        casework.do("reassign", TEAMMATE, case, owner=Owner("person", TEAMMATE))
    casework.do("reassign", LEAD, case, owner=Owner("person", TEAMMATE))


def test_comment_renews_the_claim(case: int, casework: Casework, database: Database) -> None:
    token = casework.claim(OWNER, case, lease=timedelta(minutes=1))
    casework.do("comment", OWNER, case, note="asked the customer", token=token, lease=LEASE)
    left = one(database, 'SELECT lease_expires_at - now() FROM "case"')
    assert left > timedelta(minutes=10)


def test_comment_by_a_role_that_sees_no_cases_finds_none(
    case: int, casework: Casework, database: Database
) -> None:
    with pytest.raises(NotFound):
        casework.do("comment", REP, case, note="hi", lease=LEASE)
    assert "commented" not in events_of(database, case)


def test_a_case_is_handed_on_by_whom_it_is_theirs_to(case: int, casework: Casework) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", OWNER))
    with pytest.raises(NotAllowed, match="owns this case"):
        casework.do("reassign", TEAMMATE, case, owner=Owner("person", TEAMMATE))
    # Whoever works on it knows what it needs.
    token = casework.claim(TEAMMATE, case)
    casework.do("reassign", TEAMMATE, case, owner=Owner("team", "other"), token=token)


def test_a_claim_that_has_just_run_out_is_not_said_to_hold(
    case: int, casework: Casework, database: Database
) -> None:
    casework.claim(TEAMMATE, case)
    over = """UPDATE "case" SET lease_expires_at = now() - interval '1 s' RETURNING id"""
    rows(database, over)
    given = {"until": datetime.now(UTC) + timedelta(hours=1), "reason": "later"}
    with pytest.raises(MovedOn, match="has just run out"):
        casework.do("snooze", LEAD, case, **given, limit=timedelta(days=3))
