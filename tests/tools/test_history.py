"""What a tool was before: kept for those who ask, and no burden to those who do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from secondlook import text
from secondlook.extent import VALUES
from sqlalchemy import event

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.tools import policies, queries
from services.tools import service as tool_service
from services.tools.policies import Asked, PolicyHistory, PolicyNotKept, changes
from services.tools.queries import ToolCache, ToolInfo
from tests.factories import (
    CATEGORIES,
    TOOL,
    Delivery,
    add_tool,
    correction,
    failure,
    one,
    output,
    rows,
)
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
def row_counts(database: Database) -> Iterator[list[int]]:
    """How many rows each statement has returned or written."""
    counts: list[int] = []

    def count(_connection: Any, cursor: Any, *_: Any) -> None:
        counts.append(cursor.rowcount)

    event.listen(database.engine, "after_cursor_execute", count)
    yield counts
    event.remove(database.engine, "after_cursor_execute", count)


# --- taxonomies ---------------------------------------------------------------------------


def test_all_policies_that_a_tool_may_name_are_kept_however_large_they_are() -> None:
    largest = policies._POLICY_MEMBERS + 2 * text.CATEGORIES + VALUES
    assert policies.NAMEABLE * largest <= policies._KEPT_MEMBERS


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
    tool = look(database, ToolCache())
    assert tool.categories == tool.policy.categories == ("new",)
    assert tool.ever_categories == {*CATEGORIES, "new"}


def test_tool_whose_categories_are_taken_away_takes_any_everywhere(database: Database) -> None:
    change(database, TOOL, categories=[])
    tool = look(database, ToolCache())
    assert tool.categories == tool.policy.categories == ()
    log = Delivery(database)
    log.take(output("free", value="anything", confidence=0.99))
    log.take(correction("free", value="something else"))
    found = one(database, "SELECT gate_disposition, decided_value FROM output")
    assert tuple(found) == ("proceed", "something else")
    change(database, TOOL, categories=["new"])
    assert look(database, ToolCache()).ever_categories == {*CATEGORIES, "new"}


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
    with row_counts(database) as stopping:
        change(database, TOOL, state="stopped")
    with row_counts(database) as reading:
        look(database, book)
    assert max(stopping) == 1
    assert max(reading) <= max(2, len(CATEGORIES))


def test_history_of_a_tool_costs_those_who_read_it_nothing(database: Database) -> None:
    for number in range(30):
        change(database, TOOL, categories=MANY[number % 2 :], threshold=number / 100)
    with row_counts(database) as reading:
        look(database, ToolCache())
    assert sum(reading) < 2 * len(MANY)


def test_tools_are_read_from_memory(database: Database) -> None:
    with database.transaction() as session:
        queries.tools(session)
    with row_counts(database) as reading, database.transaction() as session:
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
        expected = [
            (1, times[4], 1),
            (3, times[1], 3),
            (None, times[2], 2),
            (None, times[3] - soon, 2),
            (None, times[1] - soon, 1),
            (None, times[4], 4),
            (99, times[3], 3),
            (0, times[4], 4),
        ]
        asked = [Asked(newest, revision, at) for revision, at, _ in expected]
        found = history.read(session, asked)
    assert [policy.revision for policy in found] == [revision for *_, revision in expected]
    assert [policy.threshold for policy in found[:3]] == [0.7, 0.2, 0.1]
    assert history.kept(asked) == found


def test_policy_in_force_is_the_newest_whatever_order_changes_committed_in() -> None:
    at = [datetime(2026, 11, day, tzinfo=UTC) for day in range(1, 6)]
    times = policies.times_of({1: at[0], 2: at[3], 3: at[2]}, upto=3)
    assert [times.in_force(moment) for moment in at] == [1, 1, 3, 3, 3]


def test_older_policies_that_a_batch_names_are_read_at_once(database: Database) -> None:
    for number in range(20):
        change(database, TOOL, threshold=number / 100, categories=MANY[number // 10 :])
    newest = look(database, ToolCache()).policy
    asked = [Asked(newest, n, newest.effective_at) for n in range(1, newest.revision + 1)]
    history = PolicyHistory()
    with pytest.raises(PolicyNotKept):
        history.kept(asked)
    with row_counts(database) as reading, database.transaction() as session:
        older = history.read(session, asked)
        history.read(session, asked)
    assert len(reading) == 2
    assert [policy.revision for policy in older] == [one.revision for one in asked]
    assert [len(policy.categories) for policy in older[1:]] == [500] * 10 + [499] * 10
    assert older[1].categories[0] is older[10].categories[0], "taxonomies are read once"


def test_older_policies_of_several_tools_are_read_at_once(database: Database) -> None:
    for slug in (TOOL, OTHER):
        change(database, slug, threshold=0.1, categories=[slug])
        change(database, slug, threshold=0.2, categories=[])
    book, history = ToolCache(), PolicyHistory()
    newest = [look(database, book, slug).policy for slug in (TOOL, OTHER)]
    asked = [Asked(policy, 2, policy.effective_at) for policy in newest]
    with row_counts(database) as reading, database.transaction() as session:
        older = history.read(session, asked)
    assert len(reading) == 2
    assert [(policy.tool, policy.categories) for policy in older] == [
        (TOOL, (TOOL,)),
        (OTHER, (OTHER,)),
    ]


def test_old_policies_kept_have_a_bound(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_KEPT_MEMBERS", 3 * (110 + len(MANY)))
    for number in range(6):
        change(database, TOOL, threshold=number / 100, categories=MANY)
    newest = look(database, ToolCache()).policy
    asked = [Asked(newest, n, newest.effective_at) for n in range(2, 7)]
    history = PolicyHistory()
    with database.transaction() as session:
        assert [policy.revision for policy in history.read(session, asked)] == [2, 3, 4, 5, 6]
    assert [policy.revision for policy in history.kept(asked[2:])] == [4, 5, 6]
    for gone in asked[:2]:
        with pytest.raises(PolicyNotKept):
            history.kept([gone])


def test_policy_that_too_many_have_followed_cannot_be_named(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "NAMEABLE", 3)
    for threshold in (0.1, 0.2, 0.3, 0.4):
        change(database, TOOL, threshold=threshold)
    newest = look(database, ToolCache()).policy
    history = PolicyHistory()
    with database.transaction() as session:
        asked = [Asked(newest, revision, newest.effective_at) for revision in (1, 2, 3)]
        found = history.read(session, asked)
    assert [policy.revision for policy in found] == [5, 5, 3]


def test_outputs_that_name_older_policies_cost_no_read_each(database: Database) -> None:
    for number in range(20):
        change(database, TOOL, threshold=number / 100)
    log = Delivery(database)
    log.take(output("first"))
    with row_counts(database) as one_old:
        log.take(output("a", policy_revision=1))
    with row_counts(database) as many_old:
        log.take(*(output(f"b{n}", policy_revision=n) for n in range(2, 20)))
    assert len(many_old) <= len(one_old)
    named = "SELECT count(DISTINCT policy_revision) FROM output WHERE output_id LIKE 'b%'"
    assert one(database, named) == 18


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
