"""The tools in memory: never older than the last change that was committed."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.tools import service as tool_service
from services.tools.policies import state_since
from services.tools.queries import ToolCache
from services.tools.rules import OutputKind
from tests.factories import TOOL, populate
from tests.factories.people import OPERATOR

_CHANGE = text("UPDATE tool SET revision = nextval('tool_revision') WHERE slug = :tool")


def test_book_sees_a_change_that_was_numbered_first_and_committed_last(database: Database) -> None:
    populate(database)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        tool_service.add_tool(
            session,
            "other",
            kind=OutputKind.FLAG,
            team="other",
            maturity_seconds=0,
            actor=OPERATOR,
            now=now,
        )
    book = ToolCache()
    with Session(database.engine) as slow, Session(database.engine) as quick:
        slow.execute(_CHANGE, {"tool": TOOL})
        quick.execute(_CHANGE, {"tool": "other"})
        quick.commit()
        with database.transaction() as session:
            before = book.get(session, TOOL).revision
        slow.commit()
    with database.transaction() as session:
        assert book.get(session, TOOL).revision > before


def test_state_is_told_since_it_was_switched_to(database: Database) -> None:
    populate(database)
    moments = []
    for change in ({"state": "shadow"}, {"threshold": 0.5}, {"state": "live"}, {"threshold": 0.6}):
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            tool_service.change_tool(session, TOOL, change, actor=OPERATOR, now=now)
            newest = ToolCache().get(session, TOOL).policy
            moments.append((state_since(session, newest), now))
    switched = [since == now for since, now in moments]
    assert switched == [True, False, True, False]
    assert moments[3][0] == moments[2][1]
