"""The registry's verbs: what they refuse, and that nothing of a refused change stays."""

from typing import Any

import pytest

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import OutputKind, Version
from services.tools.versions import (
    OTHERS,
    VERSIONS_COUNTED,
    ToolVersion,
    VersionCache,
    all_versions,
)
from tests.factories import TOOL, add_tool, populate
from tests.factories.people import OPERATOR


def change(database: Database, slug: str, **changes: Any) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        tool_service.change_tool(session, slug, changes, actor=OPERATOR, now=now)


def thresholds(database: Database, slug: str) -> dict[str, float]:
    with database.transaction() as session:
        return tool_queries.tool(session, slug).policy.category_thresholds


def test_threshold_of_an_unknown_category_is_refused(database: Database) -> None:
    populate(database)
    change(database, TOOL, category_thresholds={"tax": 0.9})
    with pytest.raises(InvalidInput) as refused:
        change(database, TOOL, category_thresholds={"tax": 0.8, "taxx": 0.95})
    (problem,) = refused.value.problems
    assert problem.pointer == "/category_thresholds/taxx"
    assert thresholds(database, TOOL) == {"tax": 0.9}


def test_threshold_of_a_category_that_comes_along_is_taken(database: Database) -> None:
    populate(database)
    # Whoever changes a tool has looked at it before: it is in memory, as it was.
    assert thresholds(database, TOOL) == {}
    change(database, TOOL, categories=["tax", "newcomer"], category_thresholds={"newcomer": 0.9})
    assert thresholds(database, TOOL) == {"newcomer": 0.9}


def test_category_thresholds_of_a_tool_that_returns_no_category_are_refused(
    database: Database,
) -> None:
    populate(database)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        given = {"kind": OutputKind.FLAG, "team": "support", "maturity_seconds": 0}
        tool_service.add_tool(session, "scanner", actor=OPERATOR, now=now, **given)
    with pytest.raises(InvalidInput, match="not a category"):
        change(database, "scanner", category_thresholds={"true": 0.9})


@pytest.mark.parametrize(
    "bad", [{"ö" * 150: 0.5}, {" ": 0.5}, {"tax": 0.9, " tax": 0.1}, {"\ud800": 0.5}]
)
def test_threshold_under_a_name_that_is_none_is_refused(
    bad: dict[str, float], database: Database
) -> None:
    populate(database)
    with pytest.raises(InvalidInput) as refused:
        change(database, TOOL, category_thresholds=bad)
    assert refused.value.problems[0].pointer == "/category_thresholds"
    assert thresholds(database, TOOL) == {}


def test_flood_of_versions_of_one_tool_takes_none_from_another(database: Database) -> None:
    populate(database)
    flood = [ToolVersion(TOOL, Version(f"m-{n}")) for n in range(VERSIONS_COUNTED + 100)]
    other = ToolVersion("scanner", Version("only"))
    with database.transaction() as session:
        add_tool(session, "scanner", kind=OutputKind.FLAG)
        ids = VersionCache().ids(session, [*flood, other])
        counted = all_versions(session)
    assert counted[ids[other]] == other
    of_flood = [counted[number] for number in {ids[one] for one in flood}]
    assert len(of_flood) == VERSIONS_COUNTED + 1
    assert sum(one.version == OTHERS for one in of_flood) == 1
