"""Nobody judges what they have a part in, by whatever door they come."""

from typing import Any

import pytest
from sqlalchemy import text

from services.escalation import lists
from services.escalation.errors import OwnDispute, OwnVerdict
from services.escalation.lists import Filter
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.people import service as people_service
from services.people.rules import Role
from tests.factories import (
    ADMIN,
    LEAD,
    OWNER,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    add_person,
    correction,
    one,
    output,
    rows,
    withdrawal,
)
from tests.factories.people import OPERATOR
from tests.factories.routing import SEVERAL

_OWNER = 'SELECT coalesce(owner_team, owner_person) FROM "case"'


@pytest.fixture
def appealed(log: Delivery, casework: Casework) -> int:
    """A case whose verdict, by our owner, is appealed."""
    log.take(output("o-1", confidence=0.4))
    casework.give_verdict(OWNER, 1, "corrected", value="tax")
    log.take(correction("o-1", kind="appeal", note="look again", event_id="appeal-1"))
    return 1


def decided(log: Delivery, casework: Casework, *, by: str) -> None:
    """A case that Olga owns, and that somebody decided."""
    log.take(output("o-1", confidence=0.1))
    casework.do("reassign", LEAD, 1, owner=Owner("person", OWNER))
    casework.give_verdict(by, 1)


def next_of(database: Database, who: str) -> int | None:
    with database.transaction() as session:
        found = lists.next_case(session, actor_of(session, who), Filter())
    return found.id if found else None


def bulk_answer(database: Database, casework: Casework, who: str, case: int) -> Any:
    from datetime import timedelta

    from services.escalation import bulk
    from services.escalation.verbs import Limits, Work

    limits = Limits(timedelta(minutes=5), timedelta(hours=1), timedelta(days=1))
    with database.transaction() as session:
        now = casework.clock.now(session)
        work = Work(session, actor_of(session, who), case, limits, now)
        return bulk.do_to_all(work, "verdict", [case], {"verdict": "upheld"})


def test_appeal_goes_to_somebody_else_than_who_decided(
    appealed: int, casework: Casework, database: Database
) -> None:
    for attempt in (
        lambda: casework.claim(OWNER, appealed),
        lambda: casework.give_verdict(OWNER, appealed),
    ):
        with pytest.raises(OwnVerdict):
            attempt()
    assert "appealed" in bulk_answer(database, casework, OWNER, appealed).skipped[0].why
    assert (next_of(database, OWNER), next_of(database, TEAMMATE)) == (None, appealed)
    assert casework.give_verdict(TEAMMATE, appealed) == "upheld"


def test_who_decided_may_again_once_the_appeal_is_taken_back(
    log: Delivery, appealed: int, casework: Casework, database: Database
) -> None:
    log.take(withdrawal("appeal-1", "o-1"))
    assert next_of(database, OWNER) == appealed
    assert casework.give_verdict(OWNER, appealed) == "upheld"


def test_dispute_of_a_decided_output_is_an_appeal(log: Delivery, casework: Casework) -> None:
    log.take(output("o-1", confidence=0.4))
    casework.give_verdict(OWNER, 1)
    log.take(correction("o-1", kind="dispute"))
    with pytest.raises(OwnVerdict):
        casework.claim(OWNER, 1)
    assert casework.give_verdict(TEAMMATE, 1) == "upheld"


def test_who_decided_a_dispute_decides_again_what_a_lead_opens_again(
    log: Delivery, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.4), correction("o-1", kind="dispute"))
    casework.give_verdict(OWNER, 1)
    casework.do("reopen", LEAD, 1)
    assert casework.give_verdict(OWNER, 1) == "upheld"


def test_second_appeal_bars_all_who_ever_decided(
    log: Delivery, appealed: int, casework: Casework
) -> None:
    casework.give_verdict(TEAMMATE, appealed)
    log.take(correction("o-1", kind="appeal", note="again", event_id="appeal-2"))
    for who in (OWNER, TEAMMATE):
        with pytest.raises(OwnVerdict):
            casework.claim(who, appealed)
    assert casework.claim(LEAD, appealed)


@pytest.mark.parametrize(
    ("decided_by", "owner"), [(OWNER, "support"), (TEAMMATE, OWNER)], ids=["theirs", "others"]
)
def test_appealed_case_leaves_its_owner_where_they_decided_it(
    decided_by: str, owner: str, log: Delivery, casework: Casework, database: Database
) -> None:
    decided(log, casework, by=decided_by)
    log.take(correction("o-1", kind="appeal"))
    assert one(database, _OWNER) == owner
    if owner == "support":
        said = "SELECT note FROM timeline_entry WHERE event = 'rung skipped'"
        assert one(database, said) == f"user:{OWNER} cannot own it; team:support does"


def test_verdict_taken_back_leaves_the_case_to_nobody_who_corrected_it(
    log: Delivery, casework: Casework, database: Database
) -> None:
    decided(log, casework, by=TEAMMATE)
    log.take(correction("o-1", value="tax", who=OWNER))
    casework.undo(TEAMMATE, 1)
    assert one(database, _OWNER) == "support"


def test_appealed_case_is_not_given_back_to_who_decided(appealed: int, casework: Casework) -> None:
    with pytest.raises(InvalidInput, match="gave the verdict that is appealed"):
        casework.do("reassign", LEAD, appealed, owner=Owner("person", OWNER))


def test_everybody_of_several_who_had_a_part_is_barred_from_the_appeal(
    database: Database, casework: Casework
) -> None:
    log = Delivery(database, read_policy(SEVERAL.format(reviewers=2)))
    log.take(output("o-1", confidence=0.4))
    casework.give_verdict(OWNER, 1, "corrected", value="tax")
    casework.give_verdict(TEAMMATE, 1, "corrected", value="tax")
    log.take(correction("o-1", kind="appeal"))
    assert rows(database, "SELECT person FROM decider ORDER BY person") == [(OWNER,), (TEAMMATE,)]
    for who in (OWNER, TEAMMATE):
        with pytest.raises(OwnVerdict):
            casework.claim(who, 1)
    casework.give_verdict(LEAD, 1, "corrected", value="tax")
    casework.give_verdict(ADMIN, 1, "corrected", value="tax")
    assert one(database, 'SELECT verdict FROM "case"') == "corrected"


@pytest.mark.parametrize("door", ["claim", "verdict", "bulk"])
def test_own_dispute_is_refused_at_every_door(
    door: str, log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1"), correction("o-1", kind="dispute", who=OWNER))
    if door == "bulk":
        assert "disputed" in bulk_answer(database, casework, OWNER, 1).skipped[0].why
    else:
        with pytest.raises(OwnDispute):
            casework.claim(OWNER, 1) if door == "claim" else casework.give_verdict(OWNER, 1)
    assert next_of(database, OWNER) is None
    with database.transaction() as session:
        held = session.execute(text('SELECT claimant, verdict FROM "case"')).one()
    assert tuple(held) == (None, None)


def test_who_corrected_the_output_does_not_judge_it(
    log: Delivery, casework: Casework, database: Database
) -> None:
    said = correction("o-1", value="tax", who=OWNER, event_id="own-1")
    log.take(output("o-1", confidence=0.1), said)
    with pytest.raises(OwnDispute, match="corrected this output"):
        casework.claim(OWNER, 1)
    assert "corrected" in bulk_answer(database, casework, OWNER, 1).skipped[0].why
    assert (next_of(database, OWNER), next_of(database, TEAMMATE)) == (None, 1)
    with pytest.raises(InvalidInput, match="corrected this output"):
        casework.do("reassign", LEAD, 1, owner=Owner("person", OWNER))
    log.take(withdrawal("own-1", "o-1", who=OWNER))
    assert casework.give_verdict(OWNER, 1) == "upheld"


def test_correction_before_there_is_a_case_counts_as_well(
    log: Delivery, casework: Casework
) -> None:
    log.take(output("o-1"), correction("o-1", value="tax", who=OWNER))
    log.take(correction("o-1", kind="dispute"))
    with pytest.raises(OwnDispute):
        casework.give_verdict(OWNER, 1)
    assert casework.give_verdict(TEAMMATE, 1) == "upheld"


def change(casework: Casework, who: str, **said: Any) -> None:
    with casework.database.transaction() as session:
        now = casework.clock.now(session)
        people_service.change_person(session, who, **said, actor=OPERATOR, now=now, duties=[])


def test_rep_who_corrected_does_not_judge_it_once_promoted(
    log: Delivery, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1), correction("o-1", value="tax", event_id="own-1"))
    change(casework, REP, role=Role.OWNER)
    with pytest.raises(OwnDispute):
        casework.give_verdict(REP, 1, "corrected", value="tax")
    log.take(withdrawal("own-1", "o-1"))
    assert casework.give_verdict(REP, 1) == "upheld"


def test_who_corrected_while_deactivated_does_not_judge_it(
    log: Delivery, casework: Casework
) -> None:
    change(casework, TEAMMATE, active=False)
    log.take(output("o-1", confidence=0.1), correction("o-1", value="tax", who=TEAMMATE))
    change(casework, TEAMMATE, active=True)
    with pytest.raises(OwnDispute):
        casework.give_verdict(TEAMMATE, 1)


def test_correction_withdrawn_before_it_came_bars_nobody(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1), withdrawal("own-1", "o-1"))
    log.take(correction("o-1", value="tax", event_id="own-1"))
    assert rows(database, "SELECT FROM own_correction") == []


_ASSIGNING = """
version: 1
catch_all: {team: support, sla: {claim: 4h, resolve: 1d}, escalate: up}
rules:
  - id: disputes
    when: {trigger: dispute}
    owner: {team: support}
    assign: {by: least_loaded}
    sla: {claim: 30m, resolve: 2h}
  - id: audits
    when: {trigger: low_confidence, predicted.category: refund}
    owner: {user: lea@example.org}
    sla: {claim: 30m, resolve: 2h}
    escalate: up
ladders:
  up:
    - {at: 0m, own: user:lea@example.org}
    - {at: 1h, own: user:lea@example.org}
    - {at: 2h, own: user:olga@example.org}
    - {at: 3h, own: team:support}
"""


@pytest.fixture
def assigning(database: Database) -> Delivery:
    """Both consumers; disputes are given to somebody of the team, else a lead owns."""
    return Delivery(database, read_policy(_ASSIGNING))


def test_case_is_not_given_to_who_corrected_its_output(
    assigning: Delivery, database: Database
) -> None:
    assigning.take(output("o-1"))
    assigning.take(correction("o-1", value="tax", who=LEAD))
    assigning.take(correction("o-1", kind="dispute", minutes=2))
    assert one(database, _OWNER) == OWNER


def test_first_owner_is_nobody_who_corrected_the_output(
    assigning: Delivery, database: Database
) -> None:
    assigning.take(output("o-1", confidence=0.1, value="refund"))
    assert one(database, _OWNER) == LEAD
    assigning.take(correction("o-2", value="tax", who=LEAD))
    assigning.take(output("o-2", confidence=0.1, value="refund"))
    assert rows(database, _OWNER)[1][0] == OWNER


def test_who_disputes_does_not_become_the_owner_by_it(
    assigning: Delivery, casework: Casework, database: Database
) -> None:
    decided(assigning, casework, by=OWNER)
    assigning.take(correction("o-1", kind="dispute", who=OWNER))
    assert one(database, _OWNER) == "support"


def test_ladder_passes_over_who_may_not_judge(
    assigning: Delivery, casework: Casework, database: Database
) -> None:
    assigning.take(output("o-1", confidence=0.1))
    assigning.take(correction("o-1", value="tax", who=LEAD))
    casework.do("escalate", OWNER, 1, level=0)
    assert one(database, _OWNER) == OWNER
    skipped = "SELECT note FROM timeline_entry WHERE event = 'rung skipped' ORDER BY id DESC"
    assert rows(database, skipped)[0][0] == f"user:{LEAD} has a part in the case"


def test_ladder_passes_over_who_decided_what_is_appealed(
    assigning: Delivery, casework: Casework, database: Database
) -> None:
    assigning.take(output("o-1", confidence=0.1))
    casework.give_verdict(LEAD, 1)
    assigning.take(correction("o-1", kind="appeal"))
    casework.do("escalate", OWNER, 1, level=0)
    assert one(database, _OWNER) == OWNER


@pytest.mark.parametrize("part", ["dispute", "appealed"])
def test_lead_does_not_undo_what_others_decided_of_their_own_affair(
    part: str, log: Delivery, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    if part == "dispute":
        log.take(correction("o-1", kind="dispute", who=LEAD))
    else:
        casework.give_verdict(LEAD, 1)
        log.take(correction("o-1", kind="appeal"))
    casework.give_verdict(OWNER, 1, "corrected", value="tax")
    with pytest.raises(OwnDispute if part == "dispute" else OwnVerdict):
        casework.undo(LEAD, 1)
    casework.undo(OWNER, 1)


# --- where nobody is left -------------------------------------------------------------------


@pytest.fixture
def all_barred(log: Delivery, casework: Casework) -> int:
    """A case that all who could review it have decided, each on an appeal against the last."""
    log.take(output("o-1", confidence=0.4))
    for n, who in enumerate((OWNER, TEAMMATE, LEAD, ADMIN)):
        casework.give_verdict(who, 1)
        log.take(correction("o-1", kind="appeal", event_id=f"appeal-{n}", minutes=n + 1))
    return 1


def test_admin_decides_what_nobody_else_is_left_for(
    all_barred: int, casework: Casework, database: Database
) -> None:
    for who in (OWNER, LEAD):
        with pytest.raises(OwnVerdict):
            casework.give_verdict(who, all_barred)
    assert (next_of(database, LEAD), next_of(database, ADMIN)) == (None, all_barred)
    assert casework.give_verdict(ADMIN, all_barred) == "upheld"
    last = "SELECT detail FROM timeline_entry WHERE event = 'resolved' ORDER BY id DESC LIMIT 1"
    assert one(database, last)["by"] == "the only one left"


def test_admin_with_a_part_waits_while_there_is_another(
    all_barred: int, casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        add_person(session, "anna@example.org")
    assert next_of(database, ADMIN) is None
    with pytest.raises(OwnVerdict):
        casework.give_verdict(ADMIN, all_barred)
    assert casework.give_verdict("anna@example.org", all_barred) == "upheld"


def test_admin_alone_decides_what_several_were_asked_for(
    database: Database, casework: Casework
) -> None:
    log = Delivery(database, read_policy(SEVERAL.format(reviewers=2)))
    log.take(output("o-1", confidence=0.4))
    for n, who in enumerate((OWNER, TEAMMATE, LEAD, ADMIN)):
        log.take(correction("o-1", value="tax", who=who, minutes=n))
    with pytest.raises(OwnDispute):
        casework.give_verdict(LEAD, 1, "corrected", value="tax")
    casework.give_verdict(ADMIN, 1, "corrected", value="tax")
    assert rows(database, 'SELECT verdict, verdict_by FROM "case"') == [("corrected", ADMIN)]


def test_nobody_opens_again_what_was_decided_of_their_own_affair(
    log: Delivery, casework: Casework, appealed: int
) -> None:
    """Neither who decided what was appealed, nor who disputed the output."""
    casework.give_verdict(TEAMMATE, appealed)
    log.take(output("o-2"), correction("o-2", kind="dispute", who=OWNER))
    log.relay()
    disputed = one(casework.database, "SELECT case_id FROM case_output WHERE output_id = 'o-2'")
    casework.give_verdict(TEAMMATE, disputed)
    for case, refusal in ((appealed, OwnVerdict), (disputed, OwnDispute)):
        with pytest.raises(refusal):
            casework.do("reopen", OWNER, case)
        casework.do("reopen", LEAD, case)
