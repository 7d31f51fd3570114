"""Numbers over a database with outputs in it."""

from datetime import timedelta

from services.insight import queries
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from tests.factories import TOOL, Delivery, correction, output, populate
from tests.factories.people import OPERATOR


def matured(database: Database, ahead: timedelta = timedelta(0)) -> tuple[int, int]:
    """Matured outputs and the overridden among them, as counters show them."""
    with database.transaction() as session:
        now = DatabaseClock().now(session) + ahead
        tool = tool_queries.tool(session, TOOL)
        outputs, overridden, _ = queries.matured_totals(session, tool, now=now)
    return sum(outputs.values()), sum(overridden.values())


def test_counters_of_what_is_mature_never_fall(database: Database) -> None:
    populate(database, maturity_seconds=0)
    log = Delivery(database)
    log.take(*(output(f"o-{n}") for n in range(5)), correction("o-1", value="tax"))
    assert matured(database) == (5, 1)
    for seconds in (864_000, 3_600, 7_200):
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            change = {"maturity_seconds": seconds}
            tool_service.change_tool(session, TOOL, change, actor=OPERATOR, now=now)
        assert matured(database) == (5, 1)
        log.take(output(f"young-{seconds}"))
        assert matured(database) == (5, 1)
    assert matured(database, timedelta(hours=3)) == (8, 1)
