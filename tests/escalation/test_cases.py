"""Cases: who gets them, who may review them, what their deadlines do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from secondlook import events
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.escalation import ladder, queries, service
from services.escalation.api import case_answer
from services.escalation.cases import Case, as_answer
from services.escalation.clocks import Timer
from services.escalation.errors import HeldBySomebody, MovedOn, OwnDispute, StaleToken
from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotFound, SecondlookError
from services.people import service as people_service
from services.people.errors import StillOwns
from services.tools.rules import OutputKind, VerdictKind
from tests.factories import (
    ADMIN,
    LEAD,
    LEASE,
    OUTSIDER,
    OWNER,
    POLICY,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    failure,
    one,
    output,
    populate,
    rows,
    total,
)
from tests.factories.people import OPERATOR
from tests.factories.storage import CASES


@pytest.fixture
def log(database: Database) -> Delivery:
    populate(database)
    return Delivery(database, read_policy(POLICY))


@pytest.fixture
def case(log: Delivery, database: Database) -> int:
    log.take(output("o-1", confidence=0.4))
    return int(one(database, 'SELECT id FROM "case"'))


@pytest.fixture
def casework(database: Database) -> Casework:
    return Casework(database)


def events_of(database: Database, case: int) -> list[str]:
    found = rows(
        database, "SELECT event FROM timeline_entry WHERE case_id = :c ORDER BY id", c=case
    )
    return [row.event for row in found]


def test_open_case_for_what_the_gate_holds(log: Delivery, database: Database) -> None:
    log.take(output("sure"), output("unsure", confidence=0.69), output("mute", confidence=None))
    found = rows(
        database,
        f"SELECT output_id, trigger, owner_team FROM {CASES} ORDER BY output_id",
    )
    assert found == [("mute", "low_confidence", "support"), ("unsure", "low_confidence", "support")]
    assert total(database, "exceptions", "low_confidence") == 2


def test_open_case_once_however_often_the_output_comes(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    log.take(output("o-1", confidence=0.1), output("o-1", confidence=0.1))
    assert one(database, 'SELECT count(*) FROM "case"') == 1
    assert total(database, "cases") == 1
    assert one(database, "SELECT count(*) FROM timer") == 3


def test_output_without_a_tool_opens_nothing_until_it_is_retried(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", tool="later", confidence=0.1))
    assert one(database, "SELECT reason FROM dead_letter") == "unknown_tool"
    assert one(database, 'SELECT count(*) FROM "case"') == 0


def test_one_review_is_requested_of_an_output_however_often_it_comes(
    log: Delivery, database: Database
) -> None:
    for _ in range(3):
        log.take(output("o-1", confidence=0.1))
    requested = "SELECT count(*) FROM outbox WHERE topic = 'secondlook.reviews'"
    assert one(database, requested) == 1
    assert (total(database, "stored"), total(database, "duplicate")) == (1, 2)


def test_open_case_for_a_dispute_with_its_words(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", kind="dispute", note="not about money"))
    row = rows(
        database,
        f"SELECT trigger, value, dispute, disputed_by FROM {CASES}",
    )[0]
    assert (row.trigger, row.value, row.disputed_by) == ("dispute", "billing", REP)
    assert row.dispute["note"] == "not about money"


def test_open_case_for_a_policy_hit(log: Delivery, database: Database) -> None:
    log.take(output("o-1", attributes={"vip": "yes"}), output("o-2", attributes={"vip": "no"}))
    assert rows(database, f"SELECT output_id, trigger FROM {CASES}") == [("o-1", "policy")]


def test_open_audit_case_blind_and_not_as_an_exception(database: Database) -> None:
    populate(database, audit_rate=1.0)
    Delivery(database).take(output("o-1"))
    assert one(database, 'SELECT trigger FROM "case" WHERE blind') == "audit"
    assert total(database, "exceptions") == 0
    with database.transaction() as session:
        shown = as_answer(queries.case(session, 1))
    assert not {"value", "confidence", "alternatives"} & shown["output"].keys()


def test_dispute_of_an_audited_output_counts_once(database: Database) -> None:
    populate(database, audit_rate=1.0)
    log = Delivery(database)
    log.take(output("o-1"))
    dispute = correction("o-1", kind="dispute", event_id="d-1")
    log.take(dispute)
    log.take(dispute)
    assert total(database, "exceptions", "dispute") == 1
    assert total(database, "cases") == 1


def test_blind_case_keeps_what_was_said_against_the_tool_to_itself(database: Database) -> None:
    populate(database, audit_rate=1.0)
    log, casework = Delivery(database), Casework(database)
    log.take(output("o-1"), correction("o-1", kind="dispute", note="it said tax"))
    with database.transaction() as session:
        shown = case_answer(session, actor_of(session, OWNER), 1)
    assert shown["blind"]
    assert "it said tax" not in repr(shown)
    casework.give_verdict(OWNER, 1, "corrected", value="refund")
    with database.transaction() as session:
        shown = case_answer(session, actor_of(session, OWNER), 1)
    assert shown["dispute"]["note"] == "it said tax"
    assert "disputed" in [entry["event"] for entry in shown["timeline"]]


def test_route_by_the_first_rule_that_matches(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    row = rows(database, 'SELECT owner_person, priority, rule, queue FROM "case"')[0]
    assert tuple(row) == (LEAD, "P1", "taxes", "taxes")


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
    for verb in ("give_verdict", "release"):
        given = {"verdict": VerdictKind.UPHELD} if verb == "give_verdict" else {}
        with pytest.raises(StaleToken) as refused:
            casework.do(verb, OWNER, case, token=old, **given)
        assert refused.value.extra["holder"] == TEAMMATE
    assert one(database, 'SELECT claimant FROM "case"') == TEAMMATE


def test_judge_sends_the_verdict_back_to_feedback(
    case: int, casework: Casework, log: Delivery, database: Database
) -> None:
    casework.give_verdict(OWNER, case, "corrected", value="refund", note="it says refund")
    log.relay()
    assert rows(database, "SELECT decided_value, decided_by, overridden FROM output") == [
        ("refund", "verdict", True)
    ]
    assert total(database, "verdicts", "corrected") == 1
    assert one(database, "SELECT count(*) FROM timer WHERE stopped_at IS NULL") == 0


@pytest.mark.parametrize(
    ("verdict", "value", "field"),
    [
        ("corrected", None, "/value"),
        ("corrected", "nonsense", "/value"),
        ("corrected", True, "/value"),
        ("corrected", "billing", "/value"),
        ("upheld", "refund", "/value"),
    ],
)
def test_judge_with_an_unfit_value_names_the_field(
    verdict: str, value: object, field: str, case: int, casework: Casework
) -> None:
    with pytest.raises(InvalidInput) as refused:
        casework.give_verdict(OWNER, case, verdict, value=value)
    assert refused.value.problems[0].pointer == field


@pytest.mark.parametrize(
    ("kind", "said", "value", "field"),
    [
        ("text", "A", "x" * 100_000, "/value"),
        ("text", "A", "a\0b", "/value"),
        ("text", "A", " \n", "/value"),
        ("fields", {"a": {"value": "b"}}, {}, "/value"),
        ("fields", {"a": {"value": "b"}}, {"a": "\0"}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {"a": None}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {"a": {"b": {"c": [1]}}}, "/value/a/value"),
        ("fields", {"a": {"value": "b"}}, {"a": "x" * 200_000}, "/value/a"),
        ("fields", {"a": {"value": "b"}}, {str(n): "x" * 60_000 for n in range(20)}, ""),
    ],
)
def test_judge_with_a_value_that_the_contract_refuses_writes_nothing(
    kind: str, said: Any, value: Any, field: str, database: Database
) -> None:
    populate(database, kind=OutputKind(kind))
    Delivery(database).take(output("o-1", kind=kind, value=said, confidence=0.1))
    with pytest.raises(InvalidInput) as refused:
        Casework(database).give_verdict(OWNER, 1, "corrected", value=value)
    problem = refused.value.problems[0]
    assert problem.pointer == field
    assert problem.hint
    assert one(database, 'SELECT state FROM "case"') == "claimed"


def test_judge_with_a_note_that_the_contract_refuses_names_it(
    case: int, casework: Casework
) -> None:
    with pytest.raises(InvalidInput) as refused:
        casework.give_verdict(OWNER, case, note="x" * 4_001)
    assert refused.value.problems[0].pointer == "/note"
    casework.give_verdict(OWNER, case, note="x" * 4_000)


def test_judge_blind_with_the_tools_value_upholds(database: Database) -> None:
    populate(database, audit_rate=1.0)
    Delivery(database).take(output("o-1"))
    assert Casework(database).give_verdict(OWNER, 1, "corrected", value="billing") == "upheld"


def test_judge_own_dispute_is_refused(
    log: Delivery, casework: Casework, database: Database
) -> None:
    dispute = correction("o-1", kind="dispute")
    data = dispute.data.model_copy(update={"actor": events.Actor(id=OWNER)})
    log.take(output("o-1"), dispute.model_copy(update={"data": data}))
    with pytest.raises(OwnDispute):
        casework.give_verdict(OWNER, 1)
    assert casework.give_verdict(TEAMMATE, 1) == "upheld"


@pytest.mark.parametrize(
    ("who", "error"), [(OUTSIDER, NotFound), (REP, NotFound)], ids=["outsider", "rep"]
)
def test_case_is_not_found_by_those_who_may_not_see_it(
    who: str, error: type[SecondlookError], case: int, casework: Casework
) -> None:
    with pytest.raises(error):
        casework.claim(who, case)


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


def test_missed_claim_deadline_escalates_once(
    case: int, casework: Casework, database: Database
) -> None:
    for _ in range(3):
        casework.fire(timedelta(minutes=31))
    row = rows(database, 'SELECT level, owner_person, overdue_since FROM "case"')[0]
    assert (row.level, row.owner_person) == (1, LEAD)
    assert row.overdue_since is not None
    assert events_of(database, case).count("escalated") == 1
    assert total(database, "overdue", "support/claim") == 1


def test_rung_reached_after_a_missed_deadline_does_not_climb_again(
    case: int, casework: Casework, database: Database
) -> None:
    casework.fire(timedelta(minutes=31))
    casework.fire(timedelta(minutes=61))
    assert one(database, 'SELECT level FROM "case"') == 1
    casework.fire(timedelta(minutes=121))
    assert one(database, 'SELECT level FROM "case"') == 2
    assert events_of(database, case).count("escalated") == 2


def test_last_rung_repeats_for_ever(case: int, casework: Casework, database: Database) -> None:
    for hours in range(1, 8):
        casework.fire(timedelta(hours=hours, minutes=1))
    row = rows(database, 'SELECT level, owner_person FROM "case"')[0]
    assert tuple(row) == (2, ADMIN)
    assert events_of(database, case).count("reminded") == 4


def test_timers_fire_once_between_three_engines(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(60)))
    with ThreadPoolExecutor(3) as engines:
        list(engines.map(lambda _: casework.fire(timedelta(minutes=31)), range(9)))
    assert one(database, "SELECT count(*) FROM timeline_entry WHERE event = 'overdue'") == 60
    assert one(database, 'SELECT count(*) FROM "case" WHERE level = 1') == 60


def test_step_that_cannot_fire_holds_up_no_other(
    log: Delivery, casework: Casework, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    broken = one(database, 'SELECT min(id) FROM "case"')
    miss = ladder._miss_deadline

    def fail(session: Session, case: Case, timer: Timer, *, now: datetime) -> None:
        miss(session, case, timer, now=now)
        if case.id == broken:
            raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(ladder, "_miss_deadline", fail)
    # All three are looked at, and the one that fails is told apart with its error.
    assert casework.fire(timedelta(minutes=31)) == 3
    overdue = 'SELECT id FROM "case" WHERE overdue_since IS NOT NULL'
    assert len(rows(database, overdue)) == 2
    parked = "SELECT case_id, failures, error FROM timer WHERE parked_until IS NOT NULL"
    assert rows(database, parked) == [(broken, 1, "RuntimeError: nobody thought of this")]
    monkeypatch.undo()
    assert casework.fire(timedelta(minutes=31)) == 0
    assert casework.fire(timedelta(minutes=32)) == 1
    assert len(rows(database, overdue)) == 3
    assert rows(database, parked) == []


def test_rung_whose_owner_left_is_passed_over(
    case: int, casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(
            queries.text("UPDATE person SET active = false WHERE email = :e"), {"e": LEAD}
        )
    casework.fire(timedelta(minutes=31))
    row = rows(database, 'SELECT level, owner_person FROM "case"')[0]
    assert tuple(row) == (2, ADMIN)


def test_escalate_by_a_person_needs_the_level_seen(
    case: int, casework: Casework, database: Database
) -> None:
    casework.do("escalate", OWNER, case, level=0, note="beyond me")
    with pytest.raises(MovedOn):
        casework.do("escalate", OWNER, case, level=0)
    assert events_of(database, case).count("escalated") == 1


def test_appeal_reopens_a_judged_case(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    casework.give_verdict(OWNER, 1)
    log.take(correction("o-1", kind="appeal", note="look again"))
    row = rows(database, 'SELECT state, cycle, verdict FROM "case"')[0]
    assert tuple(row) == ("open", 2, None)
    assert one(database, "SELECT count(*) FROM timer WHERE cycle = 2") == 3


def test_timed_rung_is_reached_past_one_that_has_no_time(database: Database) -> None:
    populate(database)
    untimed = POLICY.replace("{at: 1h, own: user:lea", "{own: user:lea")
    Delivery(database, read_policy(untimed)).take(output("o-1", confidence=0.1))
    timed = "SELECT rung, due_at - now() FROM timer WHERE kind = 'rung' AND fired_at IS NULL"
    assert rows(database, timed)[0].rung == 2
    rows(database, "UPDATE timer SET stopped_at = now() WHERE kind <> 'rung' RETURNING 1")
    assert Casework(database).fire(timedelta(hours=3, minutes=1)) == 1
    assert tuple(rows(database, 'SELECT level, owner_person FROM "case"')[0]) == (2, ADMIN)
    assert Casework(database).fire(timedelta(hours=4, minutes=1)) == 1
    assert one(database, "SELECT count(*) FROM timeline_entry WHERE event = 'reminded'") == 1


def test_reopened_case_gets_its_first_deadlines_again(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    for _ in range(3):
        # What a holder gives back counts on: the claim deadline moves, its length does not.
        token = casework.claim(OWNER, 1)
        rows(
            database,
            "UPDATE timer SET stopped_at = stopped_at - interval '10m' WHERE kind = 'claim'"
            " RETURNING 1",
        )
        casework.do("release", OWNER, 1, token=token)
    casework.give_verdict(OWNER, 1)
    log.take(correction("o-1", kind="appeal", note="look again"))
    query = 'SELECT claim_due_at - cycle_opened_at, due_at - cycle_opened_at, cycle FROM "case"'
    assert rows(database, query) == [(timedelta(minutes=30), timedelta(minutes=30), 2)]


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


def test_timeline_cannot_be_rewritten(case: int, database: Database) -> None:
    for statement in ("UPDATE timeline_entry SET note = 'x'", "DELETE FROM timeline_entry"):
        with pytest.raises(Exception, match="are never changed"), database.transaction() as session:
            session.execute(queries.text(statement))


def test_person_who_leaves_hands_cases_over(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        assert service.hand_over(session, LEAD, actor=actor_of(session, ADMIN), now=now) == 1
    assert rows(database, 'SELECT owner_team, owner_person FROM "case"') == [("support", None)]


def test_person_who_leaves_gives_back_what_they_hold(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.claim(TEAMMATE, case)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        actor = actor_of(session, ADMIN)
        people_service.change_person(
            session, TEAMMATE, active=False, duties=(CaseDuty(None),), actor=actor, now=now
        )
    assert rows(database, 'SELECT state, claimant FROM "case"') == [("open", None)]
    assert one(database, "SELECT stopped_at IS NULL FROM timer WHERE kind = 'claim'")
    assert events_of(database, case)[-1] == "released"


def leave(database: Database, email: str) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.change_person(
            session, email, active=False, actor=OPERATOR, duties=(), now=now
        )


def test_owner_of_an_open_case_cannot_leave(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    with pytest.raises(StillOwns):
        leave(database, LEAD)
    assert one(database, "SELECT active FROM person WHERE email = :e", e=LEAD)


def test_nobody_who_left_becomes_an_owner(case: int, database: Database) -> None:
    leave(database, TEAMMATE)
    statement = queries.text('UPDATE "case" SET owner_team = NULL, owner_person = :who')
    with pytest.raises(IntegrityError, match="not active"), database.transaction() as session:
        session.execute(statement, {"who": TEAMMATE})


def test_list_shows_the_soonest_due_first_and_only_what_is_in_sight(
    log: Delivery, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(5)), failure("f-1"))
    with database.transaction() as session:
        mine = queries.cases(session, actor_of(session, OWNER), queries.Filter())
        theirs = queries.cases(session, actor_of(session, OUTSIDER), queries.Filter())
        everything = queries.cases(session, actor_of(session, ADMIN), queries.Filter())
        first = queries.cases(session, actor_of(session, OWNER), queries.Filter(), limit=2)
        after = (first[-1].due_at, first[-1].id)
        rest = queries.cases(session, actor_of(session, OWNER), queries.Filter(), after=after)
    assert len(mine) == len(everything) == 6
    assert theirs == []
    assert [row.id for row in mine] == [row.id for row in first + rest]
    assert [row.due_at for row in mine] == sorted(row.due_at for row in mine)


def test_counts_tell_nothing_of_other_teams(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        for who, seen in ((OWNER, 1), (OUTSIDER, 0), (ADMIN, 1)):
            actor, everything = actor_of(session, who), queries.Filter()
            assert queries.count(session, actor, everything, most=9) == seen
            assert queries.newer_than(session, actor, everything, 0, most=9) == seen


def test_next_case_is_found_behind_any_number_that_others_hold(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(30)))
    with database.transaction() as session:
        listed = [
            row.id for row in queries.cases(session, actor_of(session, OWNER), queries.Filter())
        ]
    for case in listed[:-2]:
        casework.claim(TEAMMATE, case)
    log.take(correction(output_of(database, listed[-2]), kind="dispute", reason="no"))
    with database.transaction() as session:
        rep = queries.Filter(reviewable_by=REP)
        assert [row.id for row in queries.cases(session, actor_of(session, OWNER), rep)] == [
            listed[-1]
        ]
        assert queries.next_case(session, actor_of(session, OWNER), queries.Filter()) == listed[-2]


def output_of(database: Database, case: int) -> str:
    return str(
        one(
            database,
            f"SELECT output_id FROM {CASES} WHERE id = :c",
            c=case,
        )
    )


def test_unowned_counts_cases_whose_team_has_nobody_to_judge(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        assert queries.unowned(session) == {}
        # Past the database, which refuses this: the check must not lean on it.
        session.execute(text("ALTER TABLE person DISABLE TRIGGER USER"))
        session.execute(text("UPDATE person SET role = 'rep'"))
        assert queries.unowned(session) == {"categoriser": 1}
