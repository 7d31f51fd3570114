"""Open cases routed anew by HTTP."""

from collections.abc import Iterator

import pytest

from services.escalation.policy import revisions
from services.kit.clock import DatabaseClock
from tests.factories import LEAD, OTHER_TEAM, POLICY, TEAM, actor_of, output
from tests.factories.api import Api, open_api

TO_OTHERS = POLICY.replace("{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, priority: P2,")
OK, FORBIDDEN, INVALID = 200, 403, 422


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """Two open cases, and another policy since."""
    with open_api(postgres_url) as opened:
        opened.log.take(*(output(f"o-{n}", confidence=0.1) for n in range(2)))
        with opened.database.transaction() as session:
            now = DatabaseClock().now(session)
            revisions.put(session, TO_OTHERS, actor=actor_of(session, LEAD), now=now)
        yield opened


def reapply(api: Api, who: str, **body: bool) -> tuple[int, dict[str, object]]:
    answer = api.client.post("/v1/routing/reapply", json=body, headers=api.bearer(who))
    return answer.status_code, answer.json()


def test_reapply_by_http(api: Api) -> None:
    owned = 'SELECT count(*) FROM "case" WHERE owner_team = :team'
    status, said = reapply(api, "lead.support", dry_run=True)
    assert (status, said["changed"], said["moved"], said["first"]) == (OK, 2, 2, [1, 2])
    assert said["teams"] == {
        TEAM: {"before": 2, "after": 0},
        OTHER_TEAM: {"before": 0, "after": 2},
    }
    assert api.one(owned, team=OTHER_TEAM) == 0
    assert reapply(api, "lead.support", dry_run=False) == (OK, said | {"dry_run": False})
    assert api.one(owned, team=OTHER_TEAM) == 2
    assert reapply(api, "admin.other", dry_run=False)[1]["changed"] == 0


def test_reapply_wants_to_be_told_whether_to_act(api: Api) -> None:
    status, problem = reapply(api, "lead.support")
    assert status == INVALID
    assert problem["errors"][0]["pointer"] == "/dry_run"  # type: ignore[index]
    assert reapply(api, "owner.support", dry_run=True)[0] == FORBIDDEN


def test_lead_reapplies_the_cases_of_their_teams(api: Api) -> None:
    for dry_run in (True, False):
        said = reapply(api, "lead.other", dry_run=dry_run)[1]
        assert (said["cases"], said["changed"], said["first"], said["skipped"]) == (0, 0, [], [])
        assert (said["teams"], said["owners"]) == ({}, {})
    assert reapply(api, "lead.support", dry_run=True)[1]["changed"] == 2
    assert reapply(api, "admin.other", dry_run=True)[1]["changed"] == 2
