"""A comment names people, who are told; nobody is who may not see the case."""

import pytest
from secondlook import events

from services.escalation.mentions import names_in
from services.kit.database import Database
from services.kit.errors import InvalidInput
from tests.factories import (
    LEAD,
    LEASE,
    OUTSIDER,
    OWNER,
    REP,
    TEAMMATE,
    TOOL,
    Casework,
    Delivery,
    add_person,
    one,
    rows,
)

_PEOPLE = "SELECT detail->'people' FROM timeline_entry WHERE event = 'mentioned'"


def comment(casework: Casework, case: int, note: str) -> None:
    casework.do("comment", OWNER, case, note=note, lease=LEASE)


@pytest.mark.parametrize(
    ("note", "named"),
    [
        ("@tim please look", ["tim"]),
        ("ask @tim@example.org.", ["tim@example.org"]),
        ("(@lea), @tim, @lea", ["lea", "tim"]),
        ("write to tim@example.org", []),
        ("https://example.org/@tim", []),
        ("@ tim, @@tim, a@b", []),
        ("@anna.b.", ["anna.b"]),
    ],
)
def test_names_are_found_where_a_word_begins_with_them(note: str, named: list[str]) -> None:
    assert names_in(note) == named


@pytest.mark.parametrize(
    ("note", "people"),
    [
        ("@tim, is this VAT?", [TEAMMATE]),
        ("@TIM@example.org and @le", [TEAMMATE, LEAD]),
        ("@ada must see this", ["ada@example.org"]),
        ("@Tim@example.org and @tim@example.org, @TIM", [TEAMMATE]),
    ],
)
def test_whoever_is_named_is_told(
    note: str, people: list[str], case: int, log: Delivery, casework: Casework, database: Database
) -> None:
    comment(casework, case, note)
    assert one(database, _PEOPLE) == people
    told = """SELECT convert_from(value, 'UTF8')::jsonb->'data'->'mentioned' FROM outbox
        WHERE convert_from(value, 'UTF8')::jsonb->>'type' = 'secondlook.case.mentioned.v1'"""
    assert one(database, told) == people
    log.relay()
    inbox = """SELECT person, line, mail_at IS NOT NULL OR EXISTS (SELECT FROM delivery)
        FROM notification WHERE what = 'mentioned' ORDER BY id"""
    line = f"{OWNER} mentions you in a comment on case {case} of {TOOL}."
    assert [(who, said[: len(line)]) for who, said, _ in rows(database, inbox)] == [
        (who, line) for who in people
    ]


def test_word_that_is_nobodys_name_is_a_word(
    case: int, casework: Casework, database: Database
) -> None:
    comment(casework, case, "the shop @acme sold it")
    assert rows(database, _PEOPLE) == []
    assert one(database, "SELECT note FROM timeline_entry WHERE event = 'commented'") == (
        "the shop @acme sold it"
    )


@pytest.mark.parametrize(
    ("note", "who"),
    [
        (f"@{OUTSIDER}", OUTSIDER),
        ("@otto", OUTSIDER),
        ("@rita", REP),
        ("@nobody@example.org", "nobody@example.org"),
        ("@tim and @otto", OUTSIDER),
    ],
)
def test_comment_is_refused_that_names_somebody_who_cannot_see_the_case(
    note: str, who: str, case: int, casework: Casework, database: Database
) -> None:
    with pytest.raises(InvalidInput) as refused:
        comment(casework, case, note)
    (problem,) = refused.value.problems
    assert problem.pointer == "/note"
    assert problem.problem == f"{who} cannot see this case"
    assert rows(database, "SELECT FROM timeline_entry WHERE event = 'commented'") == []


def test_name_of_two_people_is_refused_and_both_are_named(
    case: int, casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        add_person(session, "timo@example.org")
        add_person(session, "timur@example.org")
    with pytest.raises(InvalidInput, match=r"timo@example\.org, timur@example\.org"):
        comment(casework, case, "@timu or @tim, but which @ti... @timo @timur? @t")
    comment(casework, case, "@tim it is, whose name is no longer than that")
    assert one(database, _PEOPLE) == [TEAMMATE]


def test_event_of_another_happening_names_nobody() -> None:
    assert events.CaseEvent.model_fields["mentioned"].default == ()
