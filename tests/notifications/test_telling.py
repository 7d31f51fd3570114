"""Who is told of what: cases' owners, and those who disputed or corrected."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from secondlook import events
from secondlook.events import models as contracts
from sqlalchemy import text

from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from services.notifications import choices, inbox, mailing, service
from services.notifications.choices import Wanted
from services.notifications.rules import CHOOSABLE
from tests.escalation.incidents import GROUPED
from tests.escalation.opinions import delivery
from tests.factories import (
    ADMIN,
    LEAD,
    NOON,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    REP,
    TEAM,
    TEAMMATE,
    TOOL,
    Casework,
    Delivery,
    actor_of,
    add_schedule,
    correction,
    output,
    rows,
    withdrawal,
)

REVIEWERS = [LEAD, OWNER, TEAMMATE]


def told(database: Database) -> list[tuple[str, str]]:
    """Who was told what, in their order."""
    query = "SELECT person, what FROM notification ORDER BY person, id"
    return [tuple(row) for row in rows(database, query)]


def mails(database: Database) -> list[Any]:
    """Mails that were made, by address."""
    return rows(database, "SELECT destination, payload FROM delivery ORDER BY destination, id")


def moved(what: str, owner: str, **more: Any) -> events.CaseMoved:
    """Something that happened to a case of somebody."""
    kind = "person" if "@" in owner else "team"
    facts = {
        "case_id": "7",
        "output_id": "o-7",
        "tool": TOOL,
        "trigger": "low_confidence",
        "queue": "q",
        "owner": contracts.Owner(kind=kind, id=owner),
        "due_at": NOON,
        "state": "open",
        "level": 0,
        "team": TEAM,
        "priority": "P3",
    }
    facts |= {"at": datetime.now(UTC), **more}
    return events.case_event(what, **facts)


def test_case_of_a_person_is_mailed_at_once(database: Database, log: Delivery) -> None:
    log.take(moved("escalated", OWNER))
    assert told(database) == [(OWNER, "escalated")]
    ((to, payload),) = mails(database)
    assert to == OWNER
    assert f"Case 7 of {TOOL} was escalated to you." in payload
    assert "/c/7" in payload


def test_case_of_a_team_is_told_to_its_reviewers_as_a_digest(
    database: Database, log: Delivery
) -> None:
    log.take(output("o-1", confidence=0.1))
    assert told(database) == [(person, "opened") for person in REVIEWERS]
    assert mails(database) == []
    waiting = "SELECT mail_at - made_at FROM notification"
    assert all(timedelta(0) < row[0] <= timedelta(minutes=15) for row in rows(database, waiting))


@pytest.mark.parametrize(
    ("what", "priority"),
    [("opened", "P1"), ("opened", "P2"), ("escalated", "P4"), ("overdue", "P3")],
)
def test_what_is_urgent_is_mailed_to_a_team_at_once(
    what: str, priority: str, database: Database, log: Delivery
) -> None:
    log.take(moved(what, TEAM, priority=priority))
    assert [to for to, _ in mails(database)] == REVIEWERS


def test_flood_of_what_is_urgent_is_mailed_once_and_then_together(
    database: Database, log: Delivery
) -> None:
    for number in range(1, 6):
        log.take(moved("opened", TEAM, case_id=str(number), priority="P1"))
    assert [to for to, _ in mails(database)] == REVIEWERS
    waiting = "SELECT case_id, mail_at FROM notification WHERE mail_at IS NOT NULL"
    assert {row.case_id for row in rows(database, waiting)} == {2, 3, 4, 5}
    (at,) = {row.mail_at for row in rows(database, f"{waiting} AND person = '{OWNER}'")}
    with database.transaction() as session:
        mailing.gather(session, now=at + timedelta(seconds=1))
    assert [to for to, _ in mails(database)].count(OWNER) == 2
    assert "4 things wait for you" in [said for to, said in mails(database) if to == OWNER][1]


def test_surge_of_one_cause_is_mailed_once_and_its_incident_once(
    database: Database,
) -> None:
    log = Delivery(
        database,
        read_policy(
            GROUPED.replace("claim: 30m", "claim: 15m", 1).replace(
                "    owner:", "    priority: P1\n    owner:"
            )
        ),
    )
    for number in range(6):
        log.take(output(f"o-{number}", confidence=0.1))
    assert [to for to, _ in mails(database)] == REVIEWERS
    # The first alone, the second, and the incident that the third made: of no part of it.
    assert len([one for one in told(database) if one[0] == OWNER]) == 3


def test_team_of_nobody_is_told_to_who_answers_in_its_stead(
    database: Database, log: Delivery
) -> None:
    log.take(moved("opened", "last-resort"))
    assert told(database) == [("ada@example.org", "opened")]


def test_who_did_it_is_not_told(database: Database, log: Delivery) -> None:
    log.take(moved("reassigned", OTHER_TEAM, actor="otto@example.org"))
    log.take(moved("reassigned", TEAM, actor=OWNER))
    assert told(database) == [(LEAD, "reassigned"), (TEAMMATE, "reassigned")]


def test_same_event_again_tells_nobody_twice(database: Database, log: Delivery) -> None:
    event = moved("overdue", OWNER)
    log.take(event)
    log.take(event, event)
    assert told(database) == [(OWNER, "overdue")]
    assert len(mails(database)) == 1


def test_several_at_once_are_one_mail(database: Database, log: Delivery) -> None:
    log.take(*(moved("opened", OWNER, case_id=str(n)) for n in range(1, 31)))
    assert len(told(database)) == 30
    ((_, payload),) = mails(database)
    assert "30 things wait for you" in payload
    assert "And 10 more" in payload


def test_old_news_are_in_the_inbox_alone(database: Database, log: Delivery) -> None:
    log.take(moved("opened", OWNER, at=NOON - timedelta(days=400)))
    assert told(database) == [(OWNER, "opened")]
    assert mails(database) == []


def test_verdict_is_told_to_who_disputed_or_corrected(database: Database, log: Delivery) -> None:
    log.take(output("o-1", confidence=0.1))
    log.take(correction("o-1", value="tax"), correction("o-1", value="tax", who="x@y.org"))
    case = rows(database, 'SELECT id FROM "case"')[0][0]
    Casework(database).give_verdict(OWNER, case)
    log.relay()
    assert (REP, "verdict") in told(database)
    ((line,),) = rows(database, "SELECT line FROM notification WHERE what = 'verdict'")
    assert line == f"Verdict on o-1 of {TOOL}, which you spoke up on: the tool was right."
    Casework(database).undo(OWNER, case)
    log.relay()
    assert (REP, "verdict_undone") in told(database)


def test_word_that_is_heard_after_the_verdict_is_answered_all_the_same(
    database: Database, log: Delivery
) -> None:
    log.take(output("o-1", confidence=0.1))
    early, late = correction("o-1", value="tax"), correction("o-1", value="tax", minutes=10**7)
    case = rows(database, 'SELECT id FROM "case"')[0][0]
    Casework(database).give_verdict(OWNER, case)
    log.relay()
    assert (REP, "verdict") not in told(database)
    log.take(late)
    assert (REP, "verdict") not in told(database)
    log.take(early, early)
    assert told(database).count((REP, "verdict")) == 1


def test_who_has_left_is_not_mailed(database: Database, log: Delivery) -> None:
    log.take(moved("opened", TEAM))
    with database.transaction() as session:
        session.execute(text("UPDATE notification SET mail_at = now()"))
        session.execute(text("UPDATE person SET active = false WHERE email = :p"), {"p": LEAD})
        mailing.gather(session, now=datetime.now(UTC))
    assert [to for to, _ in mails(database)] == [OWNER, TEAMMATE]


def test_what_was_read_before_is_not_mailed(database: Database, log: Delivery) -> None:
    log.take(moved("opened", TEAM))
    with database.transaction() as session:
        inbox.mark_all_read(session, actor_of(session, OWNER), now=NOON)
        session.execute(text("UPDATE notification SET mail_at = now()"))
        mailing.gather(session, now=datetime.now(UTC))
    assert [to for to, _ in mails(database)] == [LEAD, TEAMMATE]


def test_choices_decide_what_is_mailed_and_when(database: Database, log: Delivery) -> None:
    mailed = [what.value for what in CHOOSABLE if what.value != "opened"]
    wanted = Wanted(mailed, "60", "", "", "Europe/Berlin")
    with database.transaction() as session:
        choices.choose(session, wanted, actor=actor_of(session, OWNER), now=NOON)
    log.take(moved("opened", OWNER), moved("reassigned", OWNER, case_id="8"))
    assert mails(database) == []
    waiting = rows(database, "SELECT what FROM notification WHERE mail_at IS NOT NULL")
    assert [row.what for row in waiting] == ["reassigned"]


def test_test_of_oneself_comes_at_once_whatever_one_chose(database: Database) -> None:
    mailed = [what.value for what in CHOOSABLE]
    with database.transaction() as session:
        owner, now = actor_of(session, OWNER), datetime.now(UTC)
        wanted = Wanted(
            mailed,
            "1440",
            f"{now - timedelta(hours=1):%H:%M}",
            f"{now + timedelta(hours=1):%H:%M}",
            "UTC",
        )
        choices.choose(session, wanted, actor=owner, now=now)
        service.tell_oneself(session, actor=owner, now=now)
    ((to, said),) = mails(database)
    assert to == OWNER
    assert "This is a test" in said


def test_inbox_shows_what_is_unread_until_it_is_read(database: Database, log: Delivery) -> None:
    log.take(moved("opened", OWNER), moved("escalated", OWNER, case_id="8"))
    with database.transaction() as session:
        owner = actor_of(session, OWNER)
        first, second = inbox.entries(session, owner, limit=10)
        assert (first.what, second.what) == ("escalated", "opened")
        assert inbox.unread(session, OWNER) == 2
        inbox.mark_read(session, owner, [first.id], now=NOON)
        assert inbox.unread(session, OWNER) == 1
        inbox.mark_read(session, actor_of(session, REP), [second.id], now=NOON)
        assert inbox.unread(session, OWNER) == 1
        inbox.mark_all_read(session, owner, now=NOON)
        assert inbox.unread(session, OWNER) == 0


def test_whoever_a_comment_mentions_is_told_at_once(database: Database, log: Delivery) -> None:
    actor = contracts.Actor(id=OWNER)
    log.take(moved("mentioned", TEAM, mentioned=(TEAMMATE, OWNER), actor=actor))
    assert told(database) == [(TEAMMATE, "mentioned")]
    ((to, payload),) = mails(database)
    assert to == TEAMMATE
    assert f"{OWNER} mentions you in a comment on case 7 of {TOOL}." in payload


def test_mention_on_a_part_of_an_incident_is_told_as_well(
    database: Database, log: Delivery
) -> None:
    log.take(moved("mentioned", TEAM, mentioned=(TEAMMATE,), state="merged"))
    assert told(database) == [(TEAMMATE, "mentioned")]


def test_whoever_heard_a_verdict_hears_its_undo_though_they_took_their_word_back(
    database: Database, log: Delivery
) -> None:
    casework = Casework(database)
    log.take(output("o-1"), correction("o-1", kind="dispute", event_id="said", who=REP))
    casework.give_verdict(OWNER, 1)
    log.relay()
    log.take(withdrawal("said", "o-1", who=REP))
    casework.undo(OWNER, 1)
    log.relay()
    assert [what for who, what in told(database) if who == REP] == ["verdict", "verdict_undone"]


def test_mention_is_not_mailed_to_who_chose_not_to_be(database: Database, log: Delivery) -> None:
    with database.transaction() as session:
        wanted = Wanted(
            [what for what in CHOOSABLE if what.value != "mentioned"], "0", "", "", "UTC"
        )
        now = datetime.now(UTC)
        choices.choose(session, wanted, actor=actor_of(session, TEAMMATE), now=now)
    log.take(moved("mentioned", TEAM, mentioned=(TEAMMATE,)))
    assert told(database) == [(TEAMMATE, "mentioned")]
    assert mails(database) == []


def test_lead_is_told_where_reviewers_differ(database: Database, log: Delivery) -> None:
    log.take(moved("divided", OWNER))
    assert told(database) == [(LEAD, "divided")]


def test_admin_is_told_where_the_team_has_no_lead(database: Database, log: Delivery) -> None:
    log.take(moved("divided", OTHER_TEAM, team=OTHER_TEAM))
    assert told(database) == [("ada@example.org", "divided")]


def test_team_is_told_where_another_reviewer_is_asked(database: Database, log: Delivery) -> None:
    actor = contracts.Actor(id=OWNER)
    log.take(moved("reviewed", OWNER, actor=actor, waits_for="reviewer"))
    assert told(database) == [(LEAD, "reviewed"), (TEAMMATE, "reviewed")]
    assert mails(database) == []


@pytest.mark.parametrize("waits_for", [None, "lead"])
def test_opinion_that_asks_for_no_other_is_told_to_nobody(
    waits_for: str | None, database: Database, log: Delivery
) -> None:
    log.take(moved("reviewed", OWNER, waits_for=waits_for))
    assert told(database) == []


def asked(
    database: Database, log: Delivery, *apart: str, actor: str, team: str = TEAM
) -> list[str]:
    """Who is told that another reviewer is needed."""
    who = contracts.Actor(id=actor)
    log.take(moved("reviewed", team, actor=who, waits_for="reviewer", team=team, apart=apart))
    return [person for person, what in told(database) if what == "reviewed"]


def test_team_is_told_where_who_is_on_duty_spoke_already(database: Database, log: Delivery) -> None:
    with database.transaction() as session:
        add_schedule(session, "duty", OWNER)
    assert asked(database, log, OWNER, actor=OWNER) == [LEAD, TEAMMATE]


def test_who_is_on_duty_is_told_alone_where_they_may_judge(
    database: Database, log: Delivery
) -> None:
    with database.transaction() as session:
        add_schedule(session, "duty", OWNER)
    assert asked(database, log, TEAMMATE, actor=TEAMMATE) == [OWNER]


def test_nobody_with_a_part_is_asked(database: Database, log: Delivery) -> None:
    assert asked(database, log, OWNER, TEAMMATE, actor=OWNER) == [LEAD]


def test_admin_is_asked_where_nobody_of_the_team_may_judge(
    database: Database, log: Delivery
) -> None:
    assert asked(database, log, OUTSIDER, actor=OUTSIDER, team=OTHER_TEAM) == [ADMIN]


def test_lead_is_told_where_nobody_may_judge(database: Database, log: Delivery) -> None:
    everybody = (OWNER, TEAMMATE, LEAD, ADMIN)
    assert asked(database, log, *everybody, actor=ADMIN) == [LEAD]


def test_stored_opinion_asks_those_who_gave_none(database: Database) -> None:
    log = delivery(database, 3)
    log.take(output("o-1", confidence=0.1))
    work = Casework(database)
    for who, names in ((OWNER, [LEAD, TEAMMATE]), (TEAMMATE, [LEAD])):
        before = len(told(database))
        work.give_verdict(who, 1, "corrected", value="tax")
        log.relay()
        assert len(told(database)) - before == len(names)
    said = [one for one in told(database) if one[1] == "reviewed"]
    assert said == [(LEAD, "reviewed"), (LEAD, "reviewed"), (TEAMMATE, "reviewed")]


def test_outsider_on_duty_hears_nothing_of_the_team(database: Database, log: Delivery) -> None:
    with database.transaction() as session:
        add_schedule(session, "duty", OWNER)
        session.execute(text("DELETE FROM membership WHERE person = :p"), {"p": OWNER})
    log.take(moved("opened", TEAM))
    assert told(database) == [(LEAD, "opened"), (TEAMMATE, "opened")]
