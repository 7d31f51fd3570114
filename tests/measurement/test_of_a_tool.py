"""Agreement of a tool's reviewers, from their opinions to the API, the command and Prometheus."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.database import Database
from services.measurement import queries
from services.tools import queries as tool_queries
from tests.factories import OWNER, TEAMMATE, TOOL, Casework
from tests.factories.api import Api, open_api

# What crowd-kit asks of pandas goes, in time.
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in a future version")

# So many cases of two reviewers, decided: the first share of them in agreement, on one category
# or the other in turn, and a third opinion where they differ.
_CASES = text("""
WITH made AS (
    INSERT INTO "case" (subject_kind, subject_key, tool, trigger, blind, reviewers, queue, team,
        owner_team, state, priority, rule, routing_revision, ladder, owner_since, opened_at,
        cycle_opened_at, timezone, claim_within, resolve_within, claim_due_at, resolve_due_at,
        due_at, verdict, verdict_id, verdict_by, resolved_at, verdict_value)
    SELECT 'output', :tool || '/s-' || n, :tool, 'low_confidence', true, 2, 'support', 'support',
        'support', 'resolved', 'P3', 'r', '1', '[]', now(), now(), now(), 'UTC', '1h', '1h', now(),
        now(), now(), 'corrected', 'v-' || n, :first, now(), '"tax"'
    FROM generate_series(1, :cases) n RETURNING id, subject_key
), facts AS (
    INSERT INTO case_output (case_id, tool, output_id, kind, value)
    SELECT id, :tool, subject_key, 'category', '"billing"' FROM made
), said AS (
    SELECT id, row_number() OVER (ORDER BY id) AS n FROM made)
INSERT INTO opinion (case_id, cycle, reviewer, verdict, value, blind, given_at)
SELECT id, 1, who, CASE WHEN says = 'billing' THEN 'upheld' ELSE 'corrected' END,
    CASE WHEN says = 'billing' THEN NULL ELSE to_jsonb(says) END, true, now()
FROM said CROSS JOIN LATERAL (VALUES
    (1, CAST(:first AS text), CASE n % 2 WHEN 0 THEN 'billing' ELSE 'tax' END),
    (2, :second, CASE WHEN n > :agree THEN 'refund' WHEN n % 2 = 0 THEN 'billing' ELSE 'tax' END),
    (3, 'third', CASE WHEN n > :agree THEN 'refund' END)) AS g(place, who, says)
WHERE says IS NOT NULL ORDER BY id, place
""")


def fill(database: Database, cases: int, agree: int) -> None:
    given = {"tool": TOOL, "cases": cases, "agree": agree, "first": OWNER, "second": TEAMMATE}
    with database.transaction() as session:
        session.execute(_CASES, given)


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps with people and the tool."""
    with open_api(postgres_url, pages=True) as opened:
        yield opened


def asked(api: Api, who: str = "lead.support") -> Any:
    return api.client.get(f"/v1/agreement?tool={TOOL}", headers=api.bearer(who))


def test_agreement_is_told_with_n_and_definition(api: Api) -> None:
    fill(api.database, 60, agree=45)
    answer = asked(api).json()
    assert (answer["n"], answer["opinions"], answer["window"]) == (60, 120, "90d")
    # 15 of 60 pairs differ; of 120 labels 53 are tax, 52 billing and 15 refund.
    totals = [53, 52, 15]
    assert sum(totals) == 120
    expected = (120**2 - sum(n * n for n in totals)) / (120 * 119)
    assert answer["alpha"]["value"] == pytest.approx(1 - 0.25 / expected)
    assert "Agreement is not validity" in answer["alpha"]["definition"]
    low, high = answer["alpha"]["interval"]
    assert low < answer["alpha"]["value"] < high
    assert answer["alpha"]["method"] == "bootstrap_95"
    assert {one["category"] for one in answer["categories"]} == {"billing", "refund", "tax"}
    assert OWNER not in str(answer)


def test_agreement_of_too_few_is_refused_with_why(api: Api) -> None:
    fill(api.database, 3, agree=3)
    answer = asked(api).json()
    assert answer["alpha"]["value"] is None
    assert answer["alpha"]["refused"] == "3 cases were reviewed by several; 20 are needed."
    assert answer["reviewer_error"]["value"] is None


def test_agreement_of_anothers_tool_is_not_found(api: Api) -> None:
    assert asked(api, "lead.other").status_code == 404


def test_agreement_is_on_the_tools_page(api: Api) -> None:
    from tests.api.test_authorisation import signed_in

    fill(api.database, 60, agree=45)
    page = signed_in(api, "lead.support")("GET", f"/health/{TOOL}").text
    low, high = asked(api).json()["alpha"]["interval"]
    said = f"(95 % interval {low:.2f} to {high:.2f}), 60 cases of the last 90 days, 120 opinions"
    assert said in page


def test_what_is_not_decided_or_was_not_blind_does_not_count(
    populated: Database, casework: Casework
) -> None:
    fill(populated, 30, agree=30)
    for change in (
        """UPDATE "case" SET state = 'open', verdict = NULL, verdict_id = NULL, verdict_by = NULL,
            resolved_at = NULL, verdict_value = NULL WHERE id % 3 = 0""",
        "ALTER TABLE opinion DISABLE TRIGGER USER",
        "UPDATE opinion SET blind = false WHERE case_id % 3 = 1",
    ):
        with populated.transaction() as session:
            session.execute(text(change))
    with populated.transaction() as session:
        tool = tool_queries.tool(session, TOOL)
        said = queries.labels_of(session, tool, now=casework.clock.now(session))
    assert queries.agreement_of(tool, said).alpha.estimate.n == 10


@pytest.fixture
def casework(populated: Database) -> Casework:
    """The clock of the database."""
    return Casework(populated)
