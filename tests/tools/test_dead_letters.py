"""Who may do what with dead letters, whatever the door."""

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from services.kit.database import Database
from services.kit.errors import NotAllowed, NotFound
from services.people import queries as people
from services.people.rules import Actor
from services.tools import dead_letters
from tests.factories import FOREIGN, NOON, OPS, OWNER, REP, Delivery, one, output, populate_fully

_ACTS: dict[str, Callable[[Session, Actor, int], object]] = {
    "one": dead_letters.one,
    "retry": lambda s, who, number: dead_letters.retry(s, who, number, now=NOON),
    "discard": lambda s, who, number: dead_letters.discard(s, who, number, reason="x", now=NOON),
}


@pytest.fixture
def of_another_team(database: Database) -> int:
    """A dead letter of a tool that ops of our team do not see."""
    populate_fully(database)
    event = output("o-1", kind="text", value="A draft.")
    Delivery(database).take(event.model_copy(update={"source": f"/tools/{FOREIGN}"}))
    return int(one(database, "SELECT id FROM dead_letter"))


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
@pytest.mark.parametrize(
    ("email", "error"), [(REP, NotAllowed), (OWNER, NotAllowed), (OPS, NotFound)]
)
def test_handle_dead_letter_of_others(
    email: str,
    error: type[Exception],
    act: Callable[..., object],
    of_another_team: int,
    database: Database,
) -> None:
    with database.transaction() as session:
        who = people.actor(session, email)
        assert who is not None
        with pytest.raises(error):
            act(session, who, of_another_team)
    untouched = "SELECT retried_at IS NULL AND discarded_at IS NULL FROM dead_letter"
    assert one(database, untouched)
    assert one(database, "SELECT count(*) FROM audit_entry WHERE object_kind = 'dead letter'") == 0


_ALIKE: dict[str, Callable[[Session, Actor, dead_letters.Matching], list[int]]] = {
    "retry": lambda s, who, which: dead_letters.retry_matching(s, who, which, now=NOON),
    "discard": lambda s, who, which: dead_letters.discard_matching(
        s, who, which, reason="x", now=NOON
    ),
}


@pytest.mark.parametrize("act", _ALIKE.values(), ids=_ALIKE)
def test_handle_all_alike_leaves_those_of_others(
    act: Callable[..., list[int]], of_another_team: int, database: Database
) -> None:
    with database.transaction() as session:
        nobody, ops = people.actor(session, REP), people.actor(session, OPS)
        assert nobody is not None
        assert ops is not None
        which = dead_letters.match(session, ops)
        with pytest.raises(NotAllowed):
            act(session, nobody, which)
        assert act(session, ops, which) == []
    untouched = "SELECT retried_at IS NULL AND discarded_at IS NULL FROM dead_letter"
    assert one(database, untouched)
