"""`route`: look at the routing policy before it looks at you, and put another into force."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from services.app.resources import Resources, routing_to_come
from services.commands.shared import AsJson, answer, group, operator, read_text, transaction
from services.escalation import queries
from services.escalation import service as escalation
from services.escalation.policy import replay as replaying
from services.escalation.policy import revisions
from services.escalation.policy.check import run_tests
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read
from services.escalation.policy.replay import Replay
from services.escalation.routing import facts_of_case, team_policy
from services.kit.durations import parse_seconds
from services.kit.errors import InvalidInput

route = group("The routing policy: check, test, put, replay, explain.")

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
    data = [{"revision": r.number, "by": r.by, "at": r.at, "source": r.source} for r in found]
    lines = [f"{r.number}  {r.at:%F %H:%M}  {r.by}  {r.source}" for r in found]
    answer(data, as_json=as_json, lines=lines or ["nobody has put a routing policy into force"])


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
    with transaction() as (resources, session, now):
        in_force = resources.routing_policy(session)
        known: dict[str, RoutingPolicy] = {}

        def before(team: str) -> RoutingPolicy:
            if team not in known:
                known[team] = in_force or team_policy(session, team)
            return known[team]

        found = replaying.replay(session, before, policy, since=now - span, now=now)
    _tell(found, as_json=as_json)
    if found.unowned:
        raise typer.Exit(1)


def _tell(found: Replay, *, as_json: bool) -> None:
    data = {
        "cases": found.cases,
        "moved": found.moved,
        "unowned": found.unowned,
        "teams": found.teams,
        "deadlines": {"earlier": found.earlier, "later": found.later},
        "moves": [
            {"from": old, "to": new, "cases": n} for (old, new), n in found.moves.most_common()
        ],
    }
    lines = [
        f"{found.cases} cases, {found.moved} moved, {found.unowned} without an owner",
        f"due earlier: {found.earlier}, later: {found.later}",
        *(f"{name}: {load.before} -> {load.after}" for name, load in sorted(found.teams.items())),
        *(f"{n} from {old} to {new}" for (old, new), n in found.moves.most_common()),
    ]
    answer(data, as_json=as_json, lines=lines)


@route.command("explain")
def explain(
    case: Annotated[int, typer.Argument(help="The case's number.")],
    file: Annotated[Path | None, typer.Option(help="Another policy than the one in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which rules were tried for a case, and why each did not match."""
    with transaction() as (found, session, _now):
        policy = _policy(found, session, file)
        row = queries.case(session, case)
    facts = facts_of_case(row)
    tried = list(policy.explain(facts))
    lines = [f"{t.rule}: {'matches' if t.matched else t.failed}" for t in tried]
    answer({"case": case, "tried": tried}, as_json=as_json, lines=lines)
