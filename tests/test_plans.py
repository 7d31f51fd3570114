"""No statement of a page, a consumer or a loop reads more as more is stored.

Every statement that the real apps send is run under EXPLAIN ANALYZE first, on a database
with much in it, and no step of its plan may have read more than a page's or a batch's rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from secondlook.events import encode
from sqlalchemy import event

from services.app import roles as app_roles
from services.escalation import lists
from services.escalation.lists import Filter
from services.feedback import service as feedback
from services.kit.clock import DatabaseClock
from services.people import access
from tests.factories import (
    FOREIGN,
    LEAD,
    OWNER,
    TOOL,
    actor_of,
    add_schedule,
    correction,
    failure,
    fill,
    one,
    output,
    withdrawal,
)
from tests.factories.api import Api, open_api
from tests.factories.people import OPERATOR

OUTPUTS, CASES, OF_A_PAGE = 20_000, 5_000, 1_500

ABSENCES = 20_000
_OLD = (
    '{"timezone": "UTC", "layers": [{"people": ["olga@example.org"], "every": "1w",'
    ' "start": "2026-01-05T09:00:00"}]}'
)

ASKED = ("output", "correction")
PREPARED_AFTER = 7
"""So often a statement is sent until psycopg has prepared it and the server has its plan."""

PAGES = (
    "/queue",
    "/queue?overdue=1",
    "/queue?mine=1",
    "/queue?q=card",
    "/queue/new",
    "/c/{case}",
    "/outputs",
    f"/outputs?tool={TOOL}",
    f"/output?tool={TOOL}&id=f-77",
    "/health",
    f"/health/{TOOL}",
    "/tools",
    f"/tools/{TOOL}",
    "/people",
    "/audit",
    "/account",
    "/schedules",
    "/schedules/first",
    "/routing",
    "/routing/history",
    "/routing/propose",
    f"/routing/try?tool={TOOL}&trigger=dispute&value=tax",
    "/v1/cases",
    "/v1/cases/{case}",
    "/v1/outputs/f-77?tool=" + TOOL,
    f"/v1/rates?tool={TOOL}",
    "/v1/tools",
    "/readyz",
)


def _fill_absences(connection: psycopg.Connection[Any]) -> None:
    """Years of absences and overrides that are over."""
    connection.execute(
        "INSERT INTO schedule (slug, team, document) VALUES ('old', 'support', %s)", [_OLD]
    )
    for table, column, value in (
        ("absence", "stand_in", LEAD),
        ("schedule_override", "schedule", "old"),
    ):
        insert = f"""
            INSERT INTO {table} (person, {column}, begins_at, ends_at)
            SELECT %s, %s, now() - n * interval '1 hour', now() - (n - 1) * interval '1 hour'
            FROM generate_series(1, {ABSENCES}) AS n"""
        connection.execute(insert, [OWNER, value])
        connection.execute(f"ANALYZE {table}")


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """An installation with much in it."""
    with open_api(postgres_url, pages=True) as opened:
        with psycopg.connect(opened.resources.database_url, autocommit=True) as connection:
            fill(connection, tool=TOOL, team="support", outputs=OUTPUTS, cases=CASES)
            _fill_absences(connection)
        with opened.database.transaction() as session:
            add_schedule(session, "first")
        yield opened


@contextmanager
def explained(api: Api) -> Iterator[dict[str, int]]:
    """Most rows that a step of each statement's plan read, by statement."""
    most: dict[str, int] = {}

    def explain(connection: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            return
        with connection.connection.driver_connection.cursor() as cursor:
            cursor.execute("SAVEPOINT explained")
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given)
            plan = cursor.fetchone()[0][0]["Plan"]
            cursor.execute("ROLLBACK TO SAVEPOINT explained; RELEASE SAVEPOINT explained")
        most[statement] = max(most.get(statement, 0), *map(rows_read, steps(plan)))

    engine = api.database.engine
    event.listen(engine, "before_cursor_execute", explain)
    yield most
    event.remove(engine, "before_cursor_execute", explain)


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of a plan."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from steps(inner)


def rows_read(step: dict[str, Any]) -> int:
    """What a step looked at, found or not."""
    looked_at = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return int(sum(step.get(name, 0) for name in looked_at) * step.get("Actual Loops", 1))


def browser(api: Api, email: str) -> dict[str, str]:
    """The headers of somebody's browser."""
    with api.database.transaction() as session:
        now = DatabaseClock().now(session)
        link = access.create_link(
            session, email, actor=OPERATOR, now=now, length=timedelta(hours=1)
        )
        secret, _ = access.use_link(session, link, now=now, length=timedelta(hours=1))
    return {"Cookie": f"secondlook={secret}"}


REFUSED: dict[str, tuple[str, ...]] = {
    "admin.support": (),
    "owner.support": ("/tools", "/people", "/audit", "/routing"),
    "rep.support": (
        *("/queue", "/c/", "/health", "/tools", "/people", "/audit"),
        *("/v1/cases", "/v1/rates", "/schedules", "/routing"),
    ),
}
"""The beginnings of what each may not see."""


def expected(who: str, path: str) -> int:
    if path.startswith(REFUSED[who]):
        return 403
    return 303 if path == "/queue/new" else 200


@pytest.mark.parametrize("who", sorted(REFUSED))
def test_pages_read_a_page(api: Api, who: str) -> None:
    headers = browser(api, f"{who}@example.org")
    case = one(api.database, 'SELECT min(id) FROM "case"')
    with explained(api) as most:
        for path in PAGES:
            answer = api.client.get(path.format(case=case), headers=headers)
            assert answer.status_code == expected(who, path), path
        with api.database.transaction() as session:
            lists.next_case(session, actor_of(session, f"{who}@example.org"), Filter())
    assert most
    assert not over_a_page(most)


FEW = 3
RARE = (
    "queue = 'rare'",
    f"tool = '{FOREIGN}'",
    "trigger = 'policy'",
    "overdue_since = now()",
    f"owner_team = NULL, owner_person = '{OWNER}'",
    f"state = 'claimed', claimant = '{OWNER}', lease_expires_at = now() + '1 h'",
    "state = 'resolved', verdict = 'upheld', verdict_id = 'v' || id, verdict_by = 'x'",
    # Somebody owns it in a team that is not theirs.
    "team = 'other', owner_team = NULL, owner_person = 'owner.support@example.org'",
)
"""What a few cases each have."""
OWN = {"owner": "owner.support@example.org"}
FILTERS: list[tuple[dict[str, Any], int]] = [
    ({"queue": "rare"}, FEW),
    ({"tool": FOREIGN}, FEW),
    ({"trigger": "policy"}, FEW),
    ({"overdue": True}, FEW),
    ({"owner": OWNER}, FEW),
    (OWN, FEW),
    ({"claimant": OWNER}, FEW),
    ({"state": "claimed"}, FEW),
    ({"state": "resolved"}, FEW),
    ({"queue": "none"}, 0),
    ({"tool": "none"}, 0),
    ({"trigger": "dispute"}, 0),
    ({"owner": "other"}, 0),
    ({"owner": LEAD}, 0),
    ({"claimant": LEAD}, 0),
    ({"state": "waiting"}, 0),
    ({}, 50),
    ({"queue": "support"}, 50),
    ({"tool": TOOL}, 50),
    ({"trigger": "low_confidence"}, 50),
    ({"overdue": False}, 50),
    ({"owner": "support"}, 50),
    ({"state": "open"}, 50),
    ({"state": "closed"}, 50),
]
"""A filter, and how many cases its first page has."""
CLOSED = 2_000


def scatter(api: Api) -> None:
    """Give a few cases each what is rare, and close many."""
    with psycopg.connect(api.resources.database_url, autocommit=True) as connection:
        # No verb does this at will, and the database holds everybody to the verbs.
        connection.execute("SET session_replication_role = replica")
        for place, sets in enumerate(RARE):
            which = f"id % 500 = {place} AND id > {CASES - 500 * FEW}"
            connection.execute(f'UPDATE "case" SET {sets} WHERE {which}')
        connection.execute(
            "UPDATE \"case\" SET state = 'closed', verdict = 'upheld', verdict_id = 'v' || id,"
            " verdict_by = 'x' WHERE id <= %s",
            (CLOSED,),
        )
        connection.execute("VACUUM ANALYZE")


@pytest.mark.parametrize("who", ["admin.support", "owner.support"])
def test_filters_read_a_page(api: Api, who: str) -> None:
    scatter(api)
    headers = browser(api, f"{who}@example.org")
    for asked, expected_rows in FILTERS:
        with explained(api) as most:
            found = api.client.get("/v1/cases", params=asked, headers=api.bearer(who)).json()
            assert len(found["items"]) == expected_rows, asked
            page = api.client.get("/queue", params=asked, headers=headers)
            assert page.status_code == 200, asked
        assert not over_a_page(most), asked


def test_consumers_read_their_batch(api: Api) -> None:
    sent = [output(f"n-{n}", confidence=0.1 if n % 2 else 0.9) for n in range(40)]
    known = [correction(f"f-{n}", value="tax", event_id=f"c-{n}") for n in range(40)]
    with explained(api) as most:
        api.log.take(*sent, *known, failure("n-failed"))
        api.log.take(*sent, *known)
    assert len(most) > 20
    assert not over_a_page(most)


def test_one_output_of_which_much_is_said_costs_as_much_as_any(api: Api) -> None:
    with psycopg.connect(api.resources.database_url, autocommit=True) as connection:
        connection.execute(_MUCH_SAID, {"tool": TOOL, "n": OUTPUTS, "output": "f-1"})
        connection.execute(_MUCH_SAID, {"tool": TOOL, "n": OUTPUTS, "output": "missing"})
        connection.execute(_MISSED, {"tool": TOOL})
        connection.execute("ANALYZE")
    with explained(api) as most:
        for known in ("f-1", "missing"):
            more = [correction(known, value="tax", event_id=f"c-{known}-{n}") for n in range(5)]
            api.log.take(*more, correction(known, kind="dispute", event_id=f"d-{known}"))
            api.log.take(withdrawal(f"c-{known}-1", known))
        with api.database.transaction() as session:
            later = DatabaseClock().now(session) + timedelta(days=1)
            feedback.report_unmatched(session, now=later, before=later)
        path = f"/output?tool={TOOL}&id=f-1"
        page = api.client.get(path, headers=browser(api, "admin.support@example.org"))
    assert page.status_code == 200
    assert len(most) > 20
    assert not over_a_page(most)
    decided = one(api.database, "SELECT decided_by FROM output WHERE output_id = 'f-1'")
    assert decided == "correction"


def test_case_to_which_much_is_objected_costs_as_much_as_any(api: Api) -> None:
    case = one(api.database, "SELECT case_id FROM case_output WHERE output_id = 'f-1'")
    with psycopg.connect(api.resources.database_url, autocommit=True) as connection:
        connection.execute(_MUCH_OBJECTED, {"case": case, "n": OUTPUTS})
        connection.execute(_LONG_STORY, {"case": case, "n": OUTPUTS})
        connection.execute("ANALYZE")
    headers = browser(api, "owner.support@example.org")
    with explained(api) as most:
        api.log.take(correction("f-1", kind="dispute", event_id="d-1"))
        api.log.take(withdrawal("d-1", "f-1"))
        for path in ("/queue", f"/c/{case}", "/queue/new"):
            assert api.client.get(path, headers=headers).status_code in (200, 303)
        answer = api.client.get(f"/v1/cases/{case}", headers=api.bearer("owner.support"))
    assert answer.json()["timeline"][-1]["event"] == "dispute withdrawn"
    assert not over_a_page(most)


def test_loops_read_what_is_due(api: Api) -> None:
    with explained(api) as most:
        for loop in app_roles.make_loops(api.resources):
            loop.step()
    assert len(most) > 5
    assert not over_a_page(most)


def test_intake_looks_names_up_under_a_plan_that_was_made_for_empty_tables(
    postgres_url: str,
) -> None:
    with (
        open_api(postgres_url) as api,
        psycopg.connect(api.resources.database_url, autocommit=True) as connection,
    ):
        name = connection.info.dbname
        # As the server does by itself where it takes the two kinds of plan for equally good.
        connection.execute(f'ALTER DATABASE "{name}" SET plan_cache_mode = force_generic_plan')
        for table in ASKED:
            connection.execute(f'ALTER TABLE "{table}" SET (autovacuum_enabled = false)')
        api.database.engine.dispose()
        for turn in range(PREPARED_AFTER):
            send(api, f"few-{turn}")
        fill(connection, tool=TOOL, team="support", outputs=OUTPUTS, cases=0, analysed=False)
        connection.execute(_CORRECTIONS, {"tool": TOOL, "n": OUTPUTS})
        before = rows_looked_at(connection)
        send(api, "many")
        # A connection that is closed has told what it read.
        api.database.engine.dispose()
        assert rows_looked_at(connection) - before < OF_A_PAGE


_CORRECTIONS = """
INSERT INTO correction (tool, event_id, digest, output_id, kind, actor, occurred_at)
SELECT %(tool)s, 'f-' || n, sha256(n::text::bytea), 'f-' || n, 'dispute', 'rep@x.org', now()
FROM generate_series(1, %(n)s) n"""


# All said in the same moment, so that nothing but their ids puts them in an order.
_MUCH_SAID = """
INSERT INTO correction (tool, event_id, digest, output_id, kind, value, actor, occurred_at,
    recorded_at)
SELECT %(tool)s, %(output)s || n, sha256(n::text::bytea), %(output)s, 'correction', '"refund"',
    'rep@x.org', now() - interval '1 hour', now() - interval '1 hour'
FROM generate_series(1, %(n)s) n"""
_MISSED = """
INSERT INTO output (tool, output_id, awaited_since, unmatched_at)
VALUES (%(tool)s, 'missing', now() - interval '1 hour', now() - interval '1 minute')"""


_MUCH_OBJECTED = """
INSERT INTO objection (case_id, correction_id, actor, said, at)
SELECT %(case)s, 'o-' || n, 'rep@x.org', '{}', now() FROM generate_series(1, %(n)s) n"""
_LONG_STORY = """
INSERT INTO timeline_entry (case_id, at, event, actor)
SELECT %(case)s, now(), 'commented', 'rep@x.org' FROM generate_series(1, %(n)s) n"""


def send(api: Api, name: str) -> None:
    """Outputs and words on them, all with ids that the sender chose."""
    said = [one for n in range(20) for one in (output(f"{name}-{n}"), _word(f"{name}-{n}"))]
    body = f"[{','.join(encode(event).decode() for event in said)}]"
    headers = api.bearer("tool") | {"Content-Type": "application/cloudevents-batch+json"}
    assert api.client.post("/v1/events", content=body, headers=headers).status_code == 202


def _word(output_id: str) -> Any:
    return correction(output_id, value="tax", event_id=f"c-{output_id}")


def rows_looked_at(connection: "psycopg.Connection[Any]") -> int:
    """Rows that were read so far of the tables that intake asks, and index entries to them."""
    found = connection.execute(
        "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_user_tables WHERE relname = ANY(%s)",
        (list(ASKED),),
    ).fetchone()
    return int(found[0]) if found else 0


def over_a_page(most: dict[str, int]) -> dict[str, int]:
    """The statements that read too much."""
    return {statement: n for statement, n in most.items() if n > OF_A_PAGE}
