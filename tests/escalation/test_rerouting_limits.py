"""Open cases that another policy leaves as they are, and what happens side by side."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Event

import pytest

from services.escalation import rerouting, service
from services.escalation.errors import StaleToken
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.reapply import Reapplied
from services.escalation.routing import policies
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import NotAllowed
from tests.escalation.reroutes import (
    LATER,
    SOONER,
    TO_OTHERS,
    delivery_by_policy,
    open_some,
    put,
    reapply,
    stored,
    story,
)
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OWNER,
    POLICY,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    total,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    return delivery_by_policy(database)


# --- what is left as it is ------------------------------------------------------------------


def test_owner_chosen_by_hand_stays_unless_that_is_asked_for(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", TEAMMATE))
    put(database, TO_OTHERS)
    found = reapply(database)
    why = f"user:{TEAMMATE} was made its owner by hand"
    assert (found.changed, [tuple(left) for left in found.left]) == (0, [(case, why)])
    assert found.owners.of[f"user:{TEAMMATE}"].after == 1
    assert reapply(database, also_reassigned=True).changed == 1
    assert stored(database, case).owner_team == OTHER_TEAM
    put(database, POLICY)
    assert reapply(database).left == [], "the policy chose last"


def test_case_of_another_team_is_not_there_for_a_lead(
    log: Delivery, case: int, database: Database
) -> None:
    put(database, SOONER)
    with database.transaction() as session:
        known = policies(session, PolicyInForce()(session))
        stranger = replace(actor_of(session, LEAD), teams=frozenset({OTHER_TEAM}))
        given = {"actor": stranger, "now": DatabaseClock().now(session)}
        found = rerouting.reroute(session, known, [case], **given)
    assert found == ([], [], [])


def test_owner_by_ladder_or_by_leaving_is_none_chosen_by_hand(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", TEAMMATE))
    casework.do("escalate", LEAD, case, level=0)
    put(database, TO_OTHERS)
    assert reapply(database).left == []


def test_claim_goes_on_where_its_holder_sees_the_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    put(database, POLICY.replace("{team: support, p", "{user: lea@example.org, queue: q2, p"))
    assert reapply(database).changed == 1
    row = stored(database, case)
    assert (row.claimant, row.owner_person, row.queue) == (OWNER, LEAD, "q2")
    assert casework.give_verdict(OWNER, case, token=token) == "upheld"


def test_claim_of_somebody_who_would_not_see_it_any_more_keeps_the_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    put(database, TO_OTHERS)
    found = reapply(database)
    why = f"{OWNER} holds it, and does not see team '{OTHER_TEAM}'"
    assert [tuple(left) for left in found.left] == [(case, why)]
    assert stored(database, case).team == TEAM
    casework.do("release", OWNER, case, token=token)
    casework.claim(ADMIN, case)
    assert reapply(database).changed == 1, "an admin sees all teams"


def test_parts_and_decided_cases_are_left_alone(
    log: Delivery, casework: Casework, database: Database
) -> None:
    part, whole, decided = open_some(log, database, 3)
    casework.do("merge", LEAD, part, into=whole)
    casework.give_verdict(OWNER, decided)
    before = [stored(database, number) for number in (part, decided)]
    put(database, SOONER)
    found = reapply(database)
    assert (found.cases, found.first) == (1, [whole])
    assert [stored(database, number) for number in (part, decided)] == before


def test_whole_case_answers_for_its_parts_by_their_earliest_deadline(
    log: Delivery, casework: Casework, database: Database
) -> None:
    part, whole = open_some(log, database, 2)
    casework.do("merge", LEAD, part, into=whole)
    put(database, LATER)
    said = reapply(database, dry_run=True)
    assert reapply(database).as_answer() == said.as_answer() | {"dry_run": False}
    assert stored(database, whole).due_at == stored(database, part).due_at


def test_owners_do_not_route(log: Delivery, case: int, database: Database) -> None:
    put(database, TO_OTHERS)
    for dry_run in (True, False):
        with pytest.raises(NotAllowed):
            reapply(database, OWNER, dry_run=dry_run)
    assert stored(database, case).team == TEAM


def test_rerouting_counts_no_case_twice(log: Delivery, case: int, database: Database) -> None:
    put(database, TO_OTHERS)
    reapply(database)
    assert total(database, "cases") == total(database, "routed") == 1


# --- races ----------------------------------------------------------------------------------


def test_a_claim_that_is_first_keeps_its_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    put(database, TO_OTHERS)
    claimed, routing = Event(), Event()

    def claim() -> str:
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            held = service.claim(
                session, actor_of(session, OWNER), case, lease=timedelta(minutes=5), now=now
            )
            claimed.set()
            routing.wait(5)
            # The other one waits for the case by now, or comes to it later.
            return held.token

    def route() -> Reapplied:
        claimed.wait(5)
        routing.set()
        return reapply(database)

    with ThreadPoolExecutor(2) as people:
        first, second = people.submit(claim), people.submit(route)
        token, found = first.result(), second.result()
    assert [left.id for left in found.left] == [case]
    assert casework.give_verdict(OWNER, case, token=token) == "upheld"


def test_claims_and_routing_side_by_side_end_with_one_truth(
    log: Delivery, casework: Casework, database: Database
) -> None:
    cases = open_some(log, database, 20)
    put(database, TO_OTHERS)
    tokens: dict[int, str] = {}

    def claim_all() -> None:
        for number in reversed(cases):
            tokens[number] = casework.claim(ADMIN, number)

    with ThreadPoolExecutor(2) as people:
        first, second = people.submit(claim_all), people.submit(reapply, database)
        first.result()
        assert second.result().changed == len(cases)
    for number, token in tokens.items():
        row = stored(database, number)
        assert (row.team, row.claimant, str(row.claim_seq)) == (OTHER_TEAM, ADMIN, token)
        assert story(database, number).count("rerouted") == 1
    casework.do("release", ADMIN, cases[0], token=tokens[cases[0]])
    with pytest.raises(StaleToken):
        casework.do("release", ADMIN, cases[0], token=tokens[cases[0]])
