"""`route`: look at the routing policy before it looks at you, and put another into force."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from services.app.resources import Resources, routing_to_come
from services.commands.shared import (
    AsJson,
    answer,
    group,
    operator,
    read_text,
    resources,
    transaction,
)
from services.escalation import explaining, queries
from services.escalation import reapply as reapplying
from services.escalation import service as escalation
from services.escalation.cases import Case
from services.escalation.explaining import Explained
from services.escalation.policy import replay as replaying
from services.escalation.policy import revisions, usage
from services.escalation.policy.check import run_tests
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read
from services.escalation.policy.replay import Loads, Replay
from services.escalation.policy.revisions import Revision
from services.escalation.reapply import Reapplied
from services.escalation.routing import policies
from services.kit.durations import parse_seconds
from services.kit.errors import InvalidInput

route = group("The routing policy: check, test, put, replay, reapply, explain.")

File = Annotated[
    Path | None,
    typer.Argument(help="The policy; else the file of the settings, else the one in force."),
]


def _policy(found: Resources, session: Session, file: Path | None) -> RoutingPolicy:
    policy = read(read_text(file)) if file is not None else routing_to_come(found, session)
    if policy is None:
        raise InvalidInput(
            "There is no routing policy: name a file, set SECONDLOOK_ROUTING_FILE, or put one with"
            " `route put`."
        )
    return policy


@route.command("check")
def check(file: File = None, as_json: AsJson = False) -> None:
    """Check the policy against the people, teams and tools there are; exit 1 where it is wrong."""
    with transaction() as (found, session, now):
        policy = _policy(found, session, file)
        seen = escalation.policy_findings(session, policy, now=now)
    problems, warnings = [str(one) for one in seen.problems], [str(one) for one in seen.warnings]
    data = {"sound": not problems, "problems": problems, "warnings": warnings}
    lines = [*(f"warning: {warning}" for warning in warnings), *(problems or ["sound"])]
    answer(data, as_json=as_json, lines=lines)
    if problems:
        raise typer.Exit(1)


@route.command("test")
def test(file: File = None, as_json: AsJson = False) -> None:
    """Run the policy's inline tests; exit 1 where one fails."""
    if file is not None:
        # Where there is no database, too, as before a commit.
        policy = read(read_text(file))
    else:
        with transaction() as (found, session, _now):
            policy = _policy(found, session, None)
    failures = [str(finding) for finding in run_tests(policy)]
    data = {"tests": len(policy.tests), "failures": failures}
    answer(data, as_json=as_json, lines=failures or [f"{len(policy.tests)} passed"])
    if failures:
        raise typer.Exit(1)


@route.command("put")
def put(
    file: Annotated[Path, typer.Argument(help="The policy.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Put a policy into force at once; one that is wrong is refused, and the old one stays."""
    content = read_text(file)
    with transaction() as (_, session, now):
        number = revisions.put(session, content, actor=operator(), now=now)
    answer({"revision": number}, as_json=as_json, lines=[f"revision {number} is in force"])


@route.command("history")
def history(as_json: AsJson = False) -> None:
    """List who put which policy into force, the newest first."""
    with transaction() as (_, session, _now):
        found = revisions.history(session)
        tried = usage.tried_in(session, found)
    data = [
        {
            "revision": r.number,
            "by": r.by,
            "at": r.at,
            "source": r.source,
            "monitored": tried[r.number],
        }
        for r in found
    ]
    lines = [line for r in found for line in _told(r, tried[r.number])]
    answer(data, as_json=as_json, lines=lines or ["nobody has put a routing policy into force"])


def _told(found: Revision, tried: Mapping[str, int]) -> Iterator[str]:
    """A revision, and below it what its rules would have taken that are only tried."""
    yield f"{found.number}  {found.at:%F %H:%M}  {found.by}  {found.source}"
    for rule, cases in tried.items():
        taken = "1 case" if cases == 1 else f"{cases} cases"
        yield f"   {rule} is only tried: it would have taken {taken}"


@route.command("replay")
def replay(
    against: Annotated[Path, typer.Option(help="The other policy.", exists=True, dir_okay=False)],
    since: Annotated[str, typer.Option(help="How far back, as in 30d.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Say where past cases would have gone by another policy; exit 1 where one had no owner."""
    policy = read(read_text(against))
    try:
        span = timedelta(seconds=parse_seconds(since))
    except ValueError as error:
        raise InvalidInput(f"--since: {error}") from None
    with transaction() as (with_, session, now):
        before = policies(session, with_.routing_policy(session))
        found = replaying.replay(session, before, policy, since=now - span, now=now)
    _tell(found, as_json=as_json)
    if found.unowned:
        raise typer.Exit(1)


def _tell(found: Replay, *, as_json: bool) -> None:
    data = {
        "cases": found.cases,
        "moved": found.moved,
        "unowned": found.unowned,
        "teams": found.teams.of,
        "owners": found.owners.of,
        "deadlines": {"earlier": found.earlier, "later": found.later},
        "moves": [
            {"from": old, "to": new, "cases": n} for (old, new), n in found.moves.most_common()
        ],
    }
    lines = [
        f"{found.cases} cases, {found.moved} moved, {found.unowned} without an owner",
        f"due earlier: {found.earlier}, later: {found.later}",
        *_loads(found.teams, found.owners),
        *(f"{n} from {old} to {new}" for (old, new), n in found.moves.most_common()),
    ]
    answer(data, as_json=as_json, lines=lines)


def _loads(*kinds: Loads) -> Iterator[str]:
    for loads in kinds:
        for name, load in sorted(loads.of.items()):
            yield f"{name}: {load.before} -> {load.after}"


@route.command("reapply")
def reapply(
    open_: Annotated[
        bool, typer.Option("--open", help="All open cases: there is no other choice yet.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    also_reassigned: Annotated[
        bool, typer.Option(help="Cases, too, whose owner somebody chose by hand.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Route the open cases anew by the policy in force; their clocks go on."""
    if not open_:
        raise typer.BadParameter("say which cases: --open", param_hint="--open")
    with resources() as found:
        done = reapplying.reapply(
            found.database,
            found.clock,
            found.routing_policy,
            actor=operator(),
            also_reassigned=also_reassigned,
            dry_run=dry_run,
        )
    answer(done.as_answer(), as_json=as_json, lines=_reapplied(done))


def _reapplied(done: Reapplied) -> list[str]:
    verb = "would change" if done.dry_run else "changed"
    why = Counter(one.why for one in done.left)
    named = ", ".join(map(str, done.first))
    return [
        f"{done.cases} open cases, {done.changed} {verb}, {done.moved} to another team",
        f"due earlier: {done.earlier}, later: {done.later}",
        *_loads(done.teams, done.owners),
        *([f"{verb}: {named}{', …' if done.changed > len(done.first) else ''}"] * bool(named)),
        *(f"{n} left as they are: {words}" for words, n in why.most_common()),
    ]


@route.command("explain")
def explain(
    case: Annotated[int, typer.Argument(help="The case's number.")],
    file: Annotated[Path | None, typer.Option(help="Another policy than the case's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which rules of its policy were tried for a case, why each did not match, and what the
    policy in force would do."""
    with transaction() as (found, session, _now):
        row = queries.case(session, case)
        in_force = None
        if file is not None:
            told = explaining.by_policy(row, read(read_text(file)))
        else:
            told = explaining.by_own_policy(session, row)
            policy = found.routing_policy(session)
            in_force = explaining.by_policy_in_force(session, row, policy)
    _tell_why(row, told, in_force, file, as_json=as_json)


def _tell_why(
    case: Case, told: Explained, in_force: Explained | None, file: Path | None, *, as_json: bool
) -> None:
    data = {
        "case": case.id,
        "rule": case.rule,
        "revision": case.routing_revision,
        "file": str(file) if file is not None else None,
        "tried": told.tried,
        "monitored": case.monitored,
        "in_force": in_force,
    }
    lines = [
        f"case {case.id} was routed by rule {case.rule} of revision {case.routing_revision}",
        *([f"by {file}, {told}"] if file is not None else []),
        *map(str, told.tried),
        *_otherwise(case, told, in_force),
        *(
            f"when it was opened, {one['rule']} would have given it to {one['owner']},"
            f" queue {one['queue']}, {one['priority']}"
            for one in case.monitored
        ),
    ]
    answer(data, as_json=as_json, lines=lines)


def _otherwise(case: Case, told: Explained, in_force: Explained | None) -> Iterator[str]:
    """What its own policy would say of it today, and what the one in force would."""
    if in_force is None:
        return
    if told.rule != case.rule:
        yield f"of what is known now it would be {told}: that has changed since it was routed"
    if in_force.revision != case.routing_revision:
        yield f"by revision {in_force.revision}, which is in force, {in_force}"
