"""The routing policy by revision: in force at once, refused if wrong, tried on the past."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import psycopg
import pytest
from sqlalchemy import text

from services.escalation.errors import PolicyMovedOn
from services.escalation.leaving import CaseDuty
from services.escalation.policy import replay as replaying
from services.escalation.policy import revisions
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read
from services.escalation.policy.replay import Load, Replay, replay
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.routing import Router
from services.escalation.rules import PolicySource
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound
from services.people import service as people_service
from services.people.errors import StillOwns
from tests.factories import (
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    POLICY,
    TEAM,
    TOOL,
    Delivery,
    actor_of,
    fill,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.test_plans import rows_read, steps

TO_OTHERS = POLICY.replace("team: support, priority: P3", f"team: {OTHER_TEAM}, priority: P2")
NOBODY = POLICY.replace("lea@example.org}\n    priority", "pat@example.org}\n    priority")

TWICE = """
version: 1
catch_all: {team: support, sla: {claim: 4h, resolve: 1d}}
rules:
  - {id: all, when: {trigger: dispute}, owner: {team: support}}
  - {id: again, when: {trigger: dispute, kind: text}, owner: {team: support}}
"""


def put(database: Database, content: str, who: str = LEAD) -> int:
    with database.transaction() as session:
        now = datetime.now(UTC)
        return revisions.put(session, content, actor=actor_of(session, who), now=now)


def take_file(database: Database, content: str) -> None:
    with database.transaction() as session:
        revisions.take_file(session, content, now=datetime.now(UTC))


def in_force(database: Database) -> RoutingPolicy | None:
    with database.transaction() as session:
        return PolicyInForce()(session)


@pytest.fixture
def stored(database: Database) -> Delivery:
    """Consumers that go by the policy in force."""
    delivery = Delivery(database)
    delivery.escalation._router = Router(PolicyInForce())
    return delivery


def test_the_newest_revision_holds_for_the_next_case(stored: Delivery, database: Database) -> None:
    stored.take(output("o-1", confidence=0.1))
    first = put(database, POLICY)
    stored.take(output("o-2", confidence=0.1))
    second = put(database, TO_OTHERS)
    stored.take(output("o-3", confidence=0.1))
    query = 'SELECT owner_team, priority, routing_revision FROM "case" ORDER BY id'
    assert [tuple(row) for row in rows(database, query)] == [
        (TEAM, "P3", "default"),
        (TEAM, "P3", str(first)),
        (OTHER_TEAM, "P2", str(second)),
    ]
    with database.transaction() as session:
        assert [one.number for one in revisions.history(session)] == [second, first]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("version: 2", "/version"),
        (NOBODY, "line 5: rule 'taxes' names user:pat@example.org"),
        (POLICY + "tests: [{case: {trigger: audit}, expect: {team: other}}]", "test 1: team is"),
        (POLICY.replace("resolve: 2h}", "resolve: 2h, calendar: moon}"), "calendar 'moon'"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_and_the_old_one_stays(
    content: str, problem: str, database: Database
) -> None:
    number = put(database, POLICY)
    with pytest.raises(InvalidInput) as refused:
        put(database, content)
    assert problem in refused.value.detail
    assert all(found.hint for found in refused.value.problems)
    found = in_force(database)
    assert found is not None
    assert found.revision == str(number)


def test_leads_and_admins_route_cases(database: Database) -> None:
    with pytest.raises(NotAllowed):
        put(database, POLICY, OWNER)
    assert in_force(database) is None


def test_the_file_counts_when_it_changes(database: Database) -> None:
    def start(content: str) -> str:
        take_file(database, content)
        found = in_force(database)
        assert found is not None
        return found.catch_all.owner.owner.id

    assert start(POLICY) == TEAM
    put(database, TO_OTHERS)
    assert start(POLICY) == OTHER_TEAM, "what somebody put since stays"
    assert start(POLICY + "# reviewed\n") == TEAM
    assert one(database, "SELECT count(*) FROM routing_policy") == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (POLICY + "tests: [{case: {trigger: audit}, expect: {team: other}}]", "test 1: team is"),
        (TWICE, "rule 'again' is never reached: 'all' matches first"),
        (NOBODY, "line 5: rule 'taxes' names user:pat@example.org"),
    ],
)
def test_a_file_that_is_wrong_is_refused_as_one_that_is_put(
    content: str, problem: str, database: Database
) -> None:
    number = put(database, POLICY)
    for refuse in (put, take_file):
        with pytest.raises(InvalidInput) as refused:
            refuse(database, content)
        assert problem in refused.value.detail
    found = in_force(database)
    assert found is not None
    assert found.revision == str(number)


def test_a_file_may_name_a_tool_that_is_to_come(database: Database) -> None:
    take_file(database, POLICY.replace('{predicted.category: "ta*"}', "{tool: no-such-tool}"))
    assert in_force(database) is not None


def test_two_processes_that_start_take_the_file_once(database: Database) -> None:
    def start(_: int) -> None:
        take_file(database, POLICY)

    with ThreadPoolExecutor(4) as processes:
        list(processes.map(start, range(4)))
    assert one(database, "SELECT count(*) FROM routing_policy") == 1


def test_who_leaves_is_not_named_by_a_policy_that_is_put_meanwhile(database: Database) -> None:
    holding, leaving = Event(), Event()

    def put_slowly() -> None:
        with database.transaction() as session:
            lead = actor_of(session, LEAD)
            content = POLICY.replace(
                "lea@example.org}\n    priority", f"{OUTSIDER}}}\n    priority"
            )
            revisions.put(session, content, actor=lead, now=datetime.now(UTC))
            holding.set()
            leaving.wait(1)

    def leave() -> None:
        holding.wait(5)
        with database.transaction() as session:
            leaving.set()
            people_service.change_person(
                session,
                OUTSIDER,
                active=False,
                actor=OPERATOR,
                duties=(CaseDuty(PolicyInForce()),),
                now=DatabaseClock().now(session),
            )

    with ThreadPoolExecutor(2) as people:
        first, second = people.submit(put_slowly), people.submit(leave)
        first.result()
        with pytest.raises(StillOwns):
            second.result()
    assert one(database, "SELECT active FROM person WHERE email = :e", e=OUTSIDER)


def test_a_page_puts_upon_what_it_saw(database: Database) -> None:
    def put_on_page(content: str, upon: int) -> int:
        with database.transaction() as session:
            actor, now = actor_of(session, LEAD), datetime.now(UTC)
            source = PolicySource.PAGE
            return revisions.put(session, content, actor=actor, source=source, upon=upon, now=now)

    with pytest.raises(PolicyMovedOn):
        put_on_page(POLICY, 7)
    first = put_on_page(POLICY, 0)
    with pytest.raises(PolicyMovedOn) as refused:
        put_on_page(TO_OTHERS, 0)
    assert refused.value.extra == {"revision": first}
    second = put_on_page(TO_OTHERS, first)
    with database.transaction() as session:
        assert [one.source for one in revisions.history(session)] == ["page", "page"]
        before = revisions.before(session, second)
        assert before is not None
        assert (before.number, revisions.before(session, first)) == (first, None)
        with pytest.raises(NotFound):
            revisions.revision(session, second + 1)


def test_of_two_pages_that_saw_the_same_one_puts(database: Database) -> None:
    first = put(database, POLICY)

    def put_on_page(content: str) -> int | None:
        with database.transaction() as session:
            actor, now = actor_of(session, LEAD), datetime.now(UTC)
            try:
                return revisions.put(session, content, actor=actor, upon=first, now=now)
            except PolicyMovedOn:
                return None

    with ThreadPoolExecutor(2) as people:
        done = list(people.map(put_on_page, [TO_OTHERS, TO_OTHERS + "# mine\n"]))
    assert done.count(None) == 1


# --- the past by another policy -------------------------------------------------------------


def replayed(
    database: Database, before: str, against: str, days: int = 30, most: int | None = None
) -> Replay:
    policy = read(before)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        since = now - timedelta(days=days)
        return replay(session, lambda _: policy, read(against), since=since, now=now, most=most)


def test_a_replay_says_what_would_have_moved(log: Delivery, database: Database) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    log.take(output("o-tax", value="tax", confidence=0.1))
    same = replayed(database, POLICY, POLICY)
    assert (same.cases, same.moved, same.unowned, same.earlier, same.later) == (4, 0, 0, 0, 0)
    found = replayed(database, POLICY, TO_OTHERS)
    assert (found.cases, found.moved, found.unowned) == (4, 3, 0)
    assert found.teams.of == {TEAM: Load(4, 1), OTHER_TEAM: Load(0, 3)}
    assert found.owners.of == {
        f"team:{TEAM}": Load(3, 0),
        f"team:{OTHER_TEAM}": Load(0, 3),
        f"user:{LEAD}": Load(1, 1),
    }
    assert dict(found.moves) == {(TEAM, OTHER_TEAM): 3}
    to_person = replayed(
        database, POLICY, POLICY.replace("{team: support, p", f"{{user: {OWNER}, p")
    )
    assert (to_person.moved, to_person.moves) == (0, {}), "the same team's people see them"
    assert to_person.owners.of[f"user:{OWNER}"] == Load(0, 3)
    sooner = replayed(database, POLICY, POLICY.replace("claim: 30m", "claim: 10m"))
    assert (sooner.moved, sooner.earlier, sooner.later) == (0, 4, 0)
    later = replayed(database, POLICY, POLICY.replace("claim: 30m", "claim: 1bh"))
    assert (later.earlier, later.later) == (0, 4)


def test_a_replay_looks_as_far_back_as_it_is_told(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    rows(
        database, "UPDATE \"case\" SET opened_at = now() - interval '8 d' WHERE id = 1 RETURNING 1"
    )
    assert replayed(database, POLICY, POLICY, days=7).cases == 1
    assert replayed(database, POLICY, POLICY, days=9).cases == 2


def test_a_replay_looks_at_the_newest_where_it_is_bounded(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-tax", value="tax", confidence=0.1))
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    bounded = replayed(database, POLICY, TO_OTHERS, most=3)
    assert (bounded.cases, bounded.moved, bounded.whole) == (3, 3, False)
    assert f"user:{LEAD}" not in bounded.owners.of
    whole = replayed(database, POLICY, TO_OTHERS, most=5)
    assert (whole.cases, whole.whole) == (4, True)


def test_a_bounded_replay_reads_no_more_cases_than_it_may(
    log: Delivery, database: Database
) -> None:
    """However many there are, and whatever the server thinks of their number."""
    with psycopg.connect(database.engine.url.render_as_string(False).replace("+psycopg", "")) as it:
        fill(it, tool=TOOL, team=TEAM, outputs=5_000, cases=5_000, analysed=False)
    with database.transaction() as session:
        given = {"since": datetime(2000, 1, 1, tzinfo=UTC), "now": datetime.now(UTC), "most": 50}
        explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {replaying._CASES.element.text}")
        plan = session.execute(explained, given).scalar_one()[0]["Plan"]
    assert max(map(rows_read, steps(plan))) <= 50


NOBODY_AT_ALL = "version: 1\ncatch_all: {user: pat@example.org, sla: {claim: 1h, resolve: 2h}}"


def test_a_replay_counts_what_nobody_could_own(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1), output("o-tax", value="tax", confidence=0.1))
    assert replayed(database, POLICY, NOBODY_AT_ALL).unowned == 2
