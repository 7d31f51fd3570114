"""No statement about cases, or about what is told of them, reads more as there are more of other
teams, of one person or of one receiver."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from pydantic_core import to_json

from services.escalation import incidents
from services.notifications import deliveries
from services.notifications.sending import AT_ONCE, EACH
from tests.factories import OTHER_TEAM, TEAM, TOOL, fill, rows
from tests.factories.api import Api, open_api
from tests.test_plans import CASES, browser, explained, over_a_page

ME = "owner.support@example.org"


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """An installation with many open cases."""
    with open_api(postgres_url, pages=True) as opened:
        with psycopg.connect(opened.resources.database_url, autocommit=True) as connection:
            fill(connection, tool=TOOL, team=TEAM, outputs=CASES, cases=CASES)
        yield opened


def change(api: Api, sets: str, where: str = "true") -> None:
    with psycopg.connect(api.resources.database_url, autocommit=True) as connection:
        # No verb does this at will, and the database holds everybody to the verbs.
        connection.execute("SET session_replication_role = replica")
        connection.execute(f'UPDATE "case" SET {sets} WHERE {where}')
        connection.execute("VACUUM ANALYZE")


def test_cases_of_a_cause_are_found_among_many_of_another_team(api: Api) -> None:
    team = f"CASE WHEN id % 1000 = 0 THEN '{TEAM}' ELSE '{OTHER_TEAM}' END"
    change(api, f"cause = 'one', opened_at = now(), team = {team}")
    asked = [{"cause": "one", "since": datetime(2020, 1, 1, tzinfo=UTC), "most": 3}]
    with explained(api) as most, api.database.transaction() as session:
        given = {"causes": to_json(asked).decode(), "snoozed": 0}
        found = session.scalars(incidents.CONCERNED, given).all()
    teams = rows(api.database, 'SELECT team FROM "case" WHERE id = ANY(:ids)', ids=list(found))
    assert Counter(row.team for row in teams) == {TEAM: 3, OTHER_TEAM: 3}
    assert not over_a_page(most)


@pytest.mark.parametrize("held", [0, 3])
def test_list_of_what_is_mine_reads_a_page_however_much_that_is(api: Api, held: int) -> None:
    change(api, f"owner_team = NULL, owner_person = '{ME}'", "id % 2 = 0")
    lease = f"state = 'claimed', claimant = '{ME}', lease_expires_at = now() + '1 h'"
    change(api, lease, f"id % 2 = 1 AND id <= {2 * held}")
    headers = browser(api, ME)
    with explained(api) as most:
        page = api.client.get("/queue?mine=1", headers=headers)
    assert page.text.count("data-row") >= 50
    assert not over_a_page(most)


@pytest.mark.parametrize("busy", [{}, {"smtp": EACH}])
def test_sender_reads_what_it_takes_however_much_waits(api: Api, busy: dict[str, int]) -> None:
    with psycopg.connect(api.resources.database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO delivery (channel, destination, lane, message_id, payload)
            SELECT 'email', n || '@example.org',
                CASE WHEN n % 5000 = 0 THEN 'other' ELSE 'smtp' END, 'm-' || n, '{}'
            FROM generate_series(1, 20000) n"""
        )
        connection.execute("ANALYZE delivery")
    with explained(api) as most, api.database.transaction() as session:
        given = {"limit": AT_ONCE, "each": EACH, "busy": busy}
        found = deliveries.claim(session, now=datetime.now(UTC), **given)
    lanes = {"other": 4} if busy else {"other": 4, "smtp": EACH}
    assert Counter(one.lane for one in found) == lanes
    assert not over_a_page(most)
