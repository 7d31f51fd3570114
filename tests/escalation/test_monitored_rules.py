"""Rules that are only tried: what they would have done is kept, counted and told."""

from datetime import timedelta
from typing import Any

import pytest

from services.app import roles as app_roles
from services.escalation.policy import revisions, usage
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.policy.usage import Tried
from services.escalation.routing import Router
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from tests.factories import LEAD, OTHER_TEAM, POLICY, TEAM, Delivery, actor_of, one, output, rows
from tests.factories.installation import open_resources

RULE = f"""
  - id: tried
    mode: monitor
    when: {{predicted.category: "t*"}}
    owner: {{team: {OTHER_TEAM}}}
    queue: elsewhere
    priority: P2
"""
MORE = """
  - {id: also, mode: monitor, when: {confidence: {lt: 0.2}}, owner: {user: lea@example.org}}
"""
BEFORE = POLICY.replace("rules:\n", f"rules:{RULE}")
BOTH = BEFORE.replace("rules:", f"rules:{MORE.rstrip()}")
AFTER = POLICY.replace("ladders:", f"{RULE.lstrip(chr(10))}ladders:")


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force."""
    delivery = Delivery(database)
    delivery.escalation._router = Router(PolicyInForce())
    return delivery


def put(database: Database, content: str) -> int:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        return revisions.put(session, content, actor=actor_of(session, LEAD), now=now)


def kept(database: Database) -> list[Any]:
    return [row.monitored for row in rows(database, 'SELECT monitored FROM "case" ORDER BY id')]


def test_case_keeps_what_the_rule_would_have_given_it(log: Delivery, database: Database) -> None:
    put(database, BOTH)
    log.take(output("o-tax", value="tax", confidence=0.1))
    log.take(output("o-refund", value="refund", confidence=0.1))
    log.take(output("o-sure", value="refund", confidence=0.3))
    of_team = {
        "rule": "tried",
        "queue": "elsewhere",
        "team": OTHER_TEAM,
        "owner": f"team:{OTHER_TEAM}",
        "priority": "P2",
    }
    of_person = {
        "rule": "also",
        "queue": "also",
        "team": TEAM,
        "owner": f"user:{LEAD}",
        "priority": "P3",
    }
    assert kept(database) == [[of_person, of_team], [of_person], []]
    query = 'SELECT rule, owner_team, owner_person FROM "case" ORDER BY id'
    assert [tuple(row) for row in rows(database, query)] == [
        ("taxes", None, LEAD),
        ("catch-all", TEAM, None),
        ("catch-all", TEAM, None),
    ]


def test_rule_behind_the_one_that_takes_a_case_would_not_have(
    log: Delivery, database: Database
) -> None:
    put(database, AFTER)
    log.take(output("o-tax", value="tax", confidence=0.1))
    assert kept(database) == [[]]


def test_cases_are_counted_by_rule_and_by_revision(log: Delivery, database: Database) -> None:
    first = put(database, BEFORE)
    log.take(*(output(f"o-{n}", value="tax", confidence=0.1) for n in range(3)))
    log.take(output("o-refund", value="refund", confidence=0.1))
    second = put(database, BOTH)
    log.take(output("o-more", value="tax", confidence=0.1))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        history = revisions.history(session)
        assert usage.taken(session, since=now - timedelta(days=30)) == {"taxes": 4, "catch-all": 1}
        assert usage.tried_in(session, history) == {
            second: {"also": 1, "tried": 1},
            first: {"tried": 3},
        }
        newest, oldest = history
        assert usage.tried(session, history) == [
            Tried("also", newest.at, 1),
            Tried("tried", oldest.at, 4),
        ]
    put(database, BEFORE.replace('"t*"', '"ta*"'))
    with database.transaction() as session:
        history = revisions.history(session)
        (found,) = usage.tried(session, history)
    assert (found.since, found.cases) == (history[0].at, 0), "another rule by the same name"


def test_prometheus_is_told(log: Delivery, database: Database) -> None:
    for content in (BEFORE, BOTH):
        put(database, content)
        log.take(output(f"o-{len(content)}", value="tax", confidence=0.1))
    plain = database.engine.url.set(drivername="postgresql")
    resources = open_resources(plain.render_as_string(hide_password=False))
    families = list(app_roles.make_collector(resources).collect())
    resources.close()
    found = {
        (sample.name, sample.labels["rule"]): sample.value
        for family in families
        for sample in family.samples
        if family.name == "secondlook_monitored_rule_matches"
    }
    name = "secondlook_monitored_rule_matches_total"
    assert found == {(name, "tried"): 2, (name, "also"): 1}


def test_explanation_says_that_a_rule_is_only_tried(log: Delivery, database: Database) -> None:
    put(database, BEFORE)
    with database.transaction() as session:
        policy = PolicyInForce()(session)
    assert policy is not None
    facts = {"predicted.category": "tax", "confidence": 0.1, "tool": "t", "trigger": "dispute"}
    assert [str(one) for one in policy.explain(facts)] == [
        "tried: would match, and is only tried",
        "taxes: matches",
    ]


def test_most_cases_keep_nothing(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    assert one(database, 'SELECT monitored FROM "case"') == []
    assert one(database, "SELECT count(*) FROM total_count WHERE measure = 'monitored'") == 0
