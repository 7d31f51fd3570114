"""`tools` and `keys`: the tools that are registered."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from services.commands.shared import AsJson, answer, group, operator, read_text, transaction
from services.kit.durations import parse_seconds
from services.kit.errors import InvalidInput, Problem, invalid
from services.kit.strict_yaml import StrictLoader
from services.tools import keys as tool_keys
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import OutputKind, ToolState

tools = group("Tools: add, list, switch.")


keys = group("Keys of tools: create, list, revoke.")


Slug = Annotated[str, typer.Argument(help="The slug.")]


@tools.command("add")
def add_tool(
    slug: Slug,
    kind: Annotated[OutputKind, typer.Option(help="What the tool returns.")],
    team: Annotated[str, typer.Option(help="The team that answers for it.")],
    categories: Annotated[
        Path | None,
        typer.Option(help="A file with one category a line.", exists=True, dir_okay=False),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    threshold: Annotated[
        float, typer.Option(help="Least confidence to go straight through.")
    ] = 0.7,
    audit_rate: Annotated[float, typer.Option(help="Share of silent outputs to audit.")] = 0.0,
    holdout_rate: Annotated[float, typer.Option(help="Share of requesters held out.")] = 0.0,
    maturity: Annotated[str | None, typer.Option(help="Age at which truth counts: 72h.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a tool; `keys create` then gives it its key."""
    with transaction() as (found, session, now):
        seconds = found.settings.maturity if maturity is None else _seconds(maturity)
        tool_service.add_tool(
            session,
            slug,
            name=name,
            kind=kind,
            team=team,
            categories=_categories(categories),
            threshold=threshold,
            audit_rate=audit_rate,
            holdout_rate=holdout_rate,
            maturity_seconds=seconds,
            actor=operator(),
            now=now,
        )
    answer({"tool": slug}, as_json=as_json, lines=[f"tool {slug} added"])


def _categories(path: Path | None) -> list[str]:
    """The categories of a file, one a line."""
    lines = read_text(path).split("\n") if path is not None else []
    return [line.strip() for line in lines if line.strip()]


def _seconds(text: str) -> int:
    try:
        return parse_seconds(text)
    except ValueError as error:
        problem = Problem("/maturity", str(error), "Write 72h.")
        raise InvalidInput(f"maturity: {error}", problems=(problem,)) from None


@tools.command("list")
def list_tools(as_json: AsJson = False) -> None:
    """List the tools."""
    with transaction() as (_, session, _now):
        found = tool_queries.tools(session)
    data = [
        {"slug": t.slug, "kind": t.kind, "team": t.team, "state": t.state, "name": t.name}
        for t in found
    ]
    lines = [f"{t.slug}  {t.kind}  {t.team}  {t.state}" for t in found]
    answer(data, as_json=as_json, lines=lines)


@tools.command("state")
def switch_tool(
    slug: Slug, state: Annotated[ToolState, typer.Argument()], as_json: AsJson = False
) -> None:
    """Switch a tool: live, shadow, fallback or stopped."""
    with transaction() as (_, session, now):
        tool_service.change_tool(session, slug, {"state": state.value}, actor=operator(), now=now)
    answer({"tool": slug, "state": state}, as_json=as_json, lines=[f"{slug} is {state}"])


@tools.command("review-when")
def review_when(
    slug: Slug,
    file: Annotated[
        Path,
        typer.Option(help="A YAML list of conditions: id and when.", exists=True, dir_okay=False),
    ],
    as_json: AsJson = False,
) -> None:
    """Set under which conditions a person must look, whatever the confidence."""
    conditions = _conditions(file)
    with transaction() as (_, session, now):
        changes = {"review_when": conditions}
        tool_service.change_tool(session, slug, changes, actor=operator(), now=now)
    lines = [f"{slug} has {len(conditions)} review conditions"]
    answer({"tool": slug, "review_when": conditions}, as_json=as_json, lines=lines)


def _conditions(path: Path) -> list[Any]:
    try:
        found = yaml.load(read_text(path), StrictLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise invalid("review_when", f"{path} is no YAML: {error}", "Check its lines.") from None
    if found is None:
        raise invalid("review_when", f"{path} is empty", "To remove all conditions, write `[]`.")
    if not isinstance(found, list):
        hint = 'Write `- {id: vip, when: {attributes.vip: "yes"}}`.'
        raise invalid("review_when", f"{path} holds no list", hint)
    return found


@keys.command("create")
def create_key(slug: Slug, as_json: AsJson = False) -> None:
    """Print a new key of a tool and nothing else; it cannot be read again."""
    with transaction() as (_, session, now):
        key = tool_keys.create_key(session, slug, actor=operator(), now=now)
    answer({"key": key}, as_json=as_json, lines=[key])


@keys.command("list")
def list_keys(slug: Slug, as_json: AsJson = False) -> None:
    """List a tool's keys, never their secrets."""
    with transaction() as (_, session, _now):
        tool_queries.tool(session, slug)
        found = tool_queries.keys(session, slug)
    lines = [
        f"{k.prefix}  {'revoked' if k.revoked_at else 'live'}  {k.created_at:%F}" for k in found
    ]
    answer(found, as_json=as_json, lines=lines)


@keys.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(help="The key's prefix.")], as_json: AsJson = False
) -> None:
    """Revoke a key; it is refused within a second."""
    with transaction() as (_, session, now):
        tool_keys.revoke_key(session, prefix, actor=operator(), now=now)
    answer({"revoked": prefix}, as_json=as_json, lines=[f"key {prefix} revoked"])
