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
        f"case {case} was routed by rule catch-all of revision 1",
        "tried: would match, and is only tried",
        'taxes: predicted.category is "billing", not "ta*"',
        "catch-all: matches",
        "when it was opened, tried would have given it to team:other, queue other, P3",
    ]


def test_explain_goes_by_the_revision_that_routed_the_case(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Delivery(database)
    log.escalation._router = Router(PolicyInForce())
    log.take(output("o-9", confidence=0.1))
    case = str(one(database, 'SELECT max(id) FROM "case"'))
    newer, to_come = tmp_path / "newer.yaml", tmp_path / "to-come.yaml"
    newer.write_text(POLICY.replace('{predicted.category: "ta*"}', "{trigger: low_confidence}"))
    assert secondlook("route", "put", str(newer)).returncode == 0
    to_come.write_text(POLICY + "# news\n")
    monkeypatch.setenv("SECONDLOOK_ROUTING_FILE", str(to_come))
    by_rule = "rule taxes: user:lea@example.org, queue taxes, P1"
    assert secondlook("route", "explain", case).stdout.splitlines() == [
        f"case {case} was routed by rule catch-all of revision 1",
        "tried: would match, and is only tried",
        'taxes: predicted.category is "billing", not "ta*"',
        "catch-all: matches",
        f"by revision 2, which is in force, {by_rule}",
        "when it was opened, tried would have given it to team:other, queue other, P3",
    ]
    told = json.loads(secondlook("route", "explain", case, "--json").stdout)
    assert (told["rule"], told["revision"]) == ("catch-all", "1")
    assert (told["in_force"]["rule"], told["in_force"]["revision"]) == ("taxes", "2")
    by_file = secondlook("route", "explain", case, "--file", str(newer)).stdout.splitlines()
    assert by_file[1:3] == [f"by {newer}, {by_rule}", "taxes: matches"]


def test_explain_goes_by_the_teams_policy_where_none_routed_the_case(database: Database) -> None:
    explained = secondlook("route", "explain", "1").stdout.splitlines()
    assert explained[0] == "case 1 was routed by rule catch-all of revision default"
    assert explained[-1].startswith("by revision 1, which is in force, rule catch-all: team:other")
