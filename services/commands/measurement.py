"""`secondlook agreement`: how far a tool's reviewers agree."""

from typing import Annotated, Any

import typer

from services.commands.shared import AsJson, answer, transaction
from services.measurement import api
from services.tools import queries as tool_queries


def agreement(
    tool: Annotated[str, typer.Argument(help="The tool's slug.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="As far back as this.")] = 90,
    as_json: AsJson = False,
) -> None:
    """How far reviewers agree who judge the same cases without knowing of each other."""
    with transaction() as (found, session, _):
        info = tool_queries.tool(session, tool)
        said = api.read(session, info, found.clock, days=days)
    told = api.as_answer(info, said, days=days)
    answer(told, as_json=as_json, lines=_lines(told))


def _lines(told: dict[str, Any]) -> list[str]:
    lines = [
        f"{told['tool']}: {told['n']} cases reviewed by several within {told['window']}",
        f"alpha: {_shown(told['alpha'])}",
    ]
    lines += [f"  {one['category']}: {_shown(one)}" for one in told["categories"]]
    lines.append(f"error of its reviewers: {_shown(told['reviewer_error'])}")
    return lines


def _shown(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return str(one["refused"])
    return f"{one['value']:.3f} (n = {one['n']}{_interval(one)})"


def _interval(one: dict[str, Any]) -> str:
    if one.get("interval") is None:
        return ""
    low, high = one["interval"]
    return f", 95 % interval {low:.3f} to {high:.3f}, {one['method']}"
