"""`route reapply`, `history` and `explain`, typed as the docs have them."""

import json
from pathlib import Path

import pytest

from services.escalation.policy.revisions import PolicyInForce
from services.escalation.routing import Router
from services.kit.database import Database
from tests.factories import OTHER_TEAM, POLICY, TEAM, Delivery, one, output, populate
from tests.factories.command import secondlook

TO_OTHERS = POLICY.replace("{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, priority: P2,")
TRIED = TO_OTHERS.replace(
    "rules:\n", "rules:\n  - {id: tried, mode: monitor, when: {tool: '*'}, owner: {team: other}}\n"
)


@pytest.fixture
def database(empty: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Database:
    """Three open cases, and another policy that is in force."""
    populate(empty)
    Delivery(empty).take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    plain = empty.engine.url.set(drivername="postgresql")
    url = plain.render_as_string(hide_password=False)
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", url)
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))
    file = tmp_path / "routing.yaml"
    file.write_text(TRIED)
    assert secondlook("route", "put", str(file)).returncode == 0
    return empty


def test_reapply_says_what_it_would_do_and_then_does_it(database: Database) -> None:
    said = secondlook("route", "reapply", "--open", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "3 open cases, 3 would change, 3 to another team",
        "due earlier: 3, later: 0",
        "other: 0 -> 3",
        f"{TEAM}: 3 -> 0",
        "team:other: 0 -> 3",
        f"team:{TEAM}: 3 -> 0",
        "would change: 1, 2, 3",
    ]
    owned = "SELECT count(*) FROM \"case\" WHERE owner_team = 'other'"
    assert one(database, owned) == 0
    done = json.loads(secondlook("route", "reapply", "--open", "--json").stdout)
    assert done == {
        "dry_run": False,
        "revision": "1",
        "cases": 3,
        "changed": 3,
        "moved": 3,
        "teams": {TEAM: {"before": 3, "after": 0}, OTHER_TEAM: {"before": 0, "after": 3}},
        "owners": {
            f"team:{TEAM}": {"before": 3, "after": 0},
            f"team:{OTHER_TEAM}": {"before": 0, "after": 3},
        },
        "deadlines": {"earlier": 3, "later": 0},
        "first": [1, 2, 3],
        "skipped": [],
    }
    assert one(database, owned) == 3


def test_reapply_wants_to_be_told_which_cases(database: Database) -> None:
    refused = secondlook("route", "reapply")
    assert refused.returncode == 2
    assert "--open" in refused.stderr


def test_history_and_explain_tell_of_rules_that_are_only_tried(database: Database) -> None:
    log = Delivery(database)
    log.escalation._router = Router(PolicyInForce())
    log.take(output("o-9", confidence=0.1))
    (revision,) = json.loads(secondlook("route", "history", "--json").stdout)
    assert revision["monitored"] == {"tried": 1}
    assert (
        "tried is only tried: it would have taken 1 case\n" in secondlook("route", "history").stdout
    )
    case = one(database, 'SELECT max(id) FROM "case"')
    explained = secondlook("route", "explain", str(case))
    assert explained.stdout.splitlines() == [
        "tried: would match, and is only tried",
        'taxes: predicted.category is "billing", not "ta*"',
        "catch-all: matches",
        "when it was opened, tried would have given it to team:other, queue other, P3",
    ]
