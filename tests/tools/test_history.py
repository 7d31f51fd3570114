"""What a tool was before: kept for those who ask, and no burden to those who do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.tools import queries
from services.tools import service as tool_service
from services.tools.policies import PolicyHistory, PolicyNotKept, changes
from services.tools.queries import ToolCache, ToolInfo
from tests.factories import CATEGORIES, TOOL, Delivery, add_tool, failure, one, output, rows
from tests.factories.people import OPERATOR

OTHER = "other"
MANY = [f"category {number}" for number in range(500)]
_TAXONOMIES = "SELECT count(*) FROM taxonomy WHERE tool = :tool"
_NAMED = "SELECT taxonomy FROM gate_policy WHERE tool = :tool ORDER BY revision"


@pytest.fixture
def database(populated: Database) -> Database:
    with populated.transaction() as session:
        add_tool(session, OTHER)
    return populated


def change(database: Database, slug: str, **given: Any) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        tool_service.change_tool(session, slug, given, actor=OPERATOR, now=now)


def look(database: Database, book: ToolCache, slug: str = TOOL) -> ToolInfo:
    with database.transaction() as session:
        return book.get(session, slug)


@contextmanager
def counted(database: Database) -> Iterator[list[int]]:
    """How many rows each statement has returned or written."""
    counts: list[int] = []

    def count(_connection: Any, cursor: Any, *_: Any) -> None:
        counts.append(cursor.rowcount)

    event.listen(database.engine, "after_cursor_execute", count)
    yield counts
    event.remove(database.engine, "after_cursor_execute", count)


# --- taxonomies ---------------------------------------------------------------------------


def test_put_equal_categories_stores_none_anew(database: Database) -> None:
    for _ in range(3):
        change(database, TOOL, categories=CATEGORIES)
    assert one(database, _TAXONOMIES, tool=TOOL) == 1
    assert {row.taxonomy for row in rows(database, _NAMED, tool=TOOL)} == {1}
    tool = look(database, ToolCache())
    assert (tool.policy.revision, list(tool.policy.categories)) == (4, CATEGORIES)


def test_put_other_categories_is_another_taxonomy(database: Database) -> None:
    turned = CATEGORIES[::-1]
    for categories in (turned, CATEGORIES, turned, [*CATEGORIES, "new"]):
        change(database, TOOL, categories=categories)
    assert [row.taxonomy for row in rows(database, _NAMED, tool=TOOL)] == [1, 2, 3, 4, 5]
    assert one(database, "SELECT count(*) FROM category WHERE tool = :tool", tool=TOOL) == 4
    assert list(look(database, ToolCache()).categories) == [*CATEGORIES, "new"]


def test_retired_categories_stay_known(database: Database) -> None:
    change(database, TOOL, categories=["new"])
    change(database, TOOL, categories=[])
    tool = look(database, ToolCache())
    assert (tool.categories, tool.policy.categories) == (("new",), ())
    assert tool.ever_categories == {*CATEGORIES, "new"}


# --- what is read after a change ----------------------------------------------------------


def test_change_of_a_tool_reads_that_tool_alone(database: Database) -> None:
    book = ToolCache()
    before = {slug: look(database, book, slug) for slug in (TOOL, OTHER)}
    change(database, TOOL, state="stopped")
    assert look(database, book).state == "stopped"
    assert look(database, book, OTHER) is before[OTHER]
    assert look(database, book) is not before[TOOL]


def test_history_of_another_tool_costs_a_change_nothing(database: Database) -> None:
    for number in range(6):
        change(database, OTHER, categories=[*MANY, str(number)])
    book = ToolCache()
    look(database, book)
    with counted(database) as stopping:
        change(database, TOOL, state="stopped")
    with counted(database) as reading:
        look(database, book)
    assert max(stopping) == 1
    assert max(reading) <= max(2, len(CATEGORIES))


def test_history_of_a_tool_costs_those_who_read_it_nothing(database: Database) -> None:
    for number in range(30):
        change(database, TOOL, categories=MANY[number % 2 :], threshold=number / 100)
    with counted(database) as reading:
        look(database, ToolCache())
    assert sum(reading) < 2 * len(MANY)


def test_tools_are_read_from_memory(database: Database) -> None:
    with database.transaction() as session:
        queries.tools(session)
    with counted(database) as reading, database.transaction() as session:
        queries.tools(session)
    assert reading == [1]


def test_another_life_of_the_database_is_read_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = ToolCache()
    look(database, book)
    monkeypatch.setattr(queries, "epoch", lambda session: "restored")
    change(database, TOOL, state="stopped")
    assert look(database, book, OTHER).policy.epoch == "restored"


# --- older policies -----------------------------------------------------------------------


def test_older_policies_are_found_by_revision_and_by_time(database: Database) -> None:
    for threshold in (0.1, 0.2, 0.3):
        change(database, TOOL, threshold=threshold)
    newest = look(database, ToolCache()).policy
    history = PolicyHistory()
    with database.transaction() as session:
        times = changes(session, TOOL)
        soon = timedelta(microseconds=1)
        asked = [
            (1, times[4], 1),
            (3, times[1], 3),
            (None, times[2], 2),
            (None, times[3] - soon, 2),
            (None, times[1] - soon, 1),
            (None, times[4], 4),
            (99, times[3], 3),
            (0, times[4], 4),
        ]
        found = [
            history.read(session, newest, revision=revision, at=at).revision
            for revision, at, _ in asked
        ]
    assert found == [expected for *_, expected in asked]
    again = [history.kept(newest, revision=revision, at=at) for revision, at, _ in asked]
    assert [policy.revision for policy in again] == found
    assert [policy.threshold for policy in again[:3]] == [0.7, 0.2, 0.1]


def test_older_policy_is_read_once(database: Database) -> None:
    change(database, TOOL, threshold=0.1, categories=["new"])
    newest = look(database, ToolCache()).policy
    history = PolicyHistory()
    with pytest.raises(PolicyNotKept):
        history.kept(newest, revision=1, at=newest.effective_at)
    with counted(database) as reading, database.transaction() as session:
        for _ in range(3):
            older = history.read(session, newest, revision=1, at=newest.effective_at)
    assert reading == [1]
    assert list(older.categories) == CATEGORIES


def test_output_is_stored_under_the_policy_that_its_tool_went_by(database: Database) -> None:
    change(database, TOOL, threshold=0.95, categories=["new"])
    log = Delivery(database)
    log.take(output("old", policy_revision=1), output("new", policy_revision=2), failure("none"))
    found = rows(database, "SELECT output_id, gate_disposition, policy_revision FROM output")
    assert {(row.output_id, row.gate_disposition, row.policy_revision) for row in found} == {
        ("old", "proceed", 1),
        ("new", "review", 2),
        ("none", "review", 2),
    }
