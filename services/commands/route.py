"""`route`: look at the routing policy before it looks at you."""

from pathlib import Path
from typing import Annotated

import typer

from services.app.resources import load_routing
from services.commands.shared import AsJson, answer, group, transaction
from services.escalation import queries
from services.escalation import service as escalation
from services.escalation.policy.check import run_tests
from services.escalation.policy.model import RoutingPolicy
from services.escalation.routing import facts_of_case
from services.kit.errors import InvalidInput
from services.kit.settings import load_settings

route = group("The routing policy: check, test, explain.")

File = Annotated[
    Path | None, typer.Option(help="The policy; else the one that SECONDLOOK_ROUTING_FILE names.")
]


def _policy(file: Path | None) -> RoutingPolicy:
    settings = load_settings(**({"routing_file": file} if file is not None else {}))
    policy = load_routing(settings)
    if policy is None:
        raise InvalidInput("There is no routing policy: set SECONDLOOK_ROUTING_FILE or --file.")
    return policy


@route.command("check")
def check(file: File = None, as_json: AsJson = False) -> None:
    """Check the policy against the people, teams and tools there are; exit 1 where it is wrong."""
    policy = _policy(file)
    with transaction() as (_, session, _now):
        found = escalation.policy_findings(session, policy)
    problems, warnings = [str(one) for one in found.problems], [str(one) for one in found.warnings]
    data = {"sound": not problems, "problems": problems, "warnings": warnings}
    lines = [*(f"warning: {warning}" for warning in warnings), *(problems or ["sound"])]
    answer(data, as_json=as_json, lines=lines)
    if problems:
        raise typer.Exit(1)


@route.command("test")
def test(file: File = None, as_json: AsJson = False) -> None:
    """Run the policy's inline tests; exit 1 where one fails."""
    policy = _policy(file)
    failures = [str(finding) for finding in run_tests(policy)]
    data = {"tests": len(policy.tests), "failures": failures}
    answer(data, as_json=as_json, lines=failures or [f"{len(policy.tests)} passed"])
    if failures:
        raise typer.Exit(1)


@route.command("explain")
def explain(
    case: Annotated[int, typer.Argument(help="The case's number.")],
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Say which rules were tried for a case, and why each did not match."""
    policy = _policy(file)
    with transaction() as (_, session, _now):
        row = queries.case(session, case)
    facts = facts_of_case(row)
    tried = list(policy.explain(facts))
    lines = [f"{t.rule}: {'matches' if t.matched else t.failed}" for t in tried]
    answer({"case": case, "tried": tried}, as_json=as_json, lines=lines)
