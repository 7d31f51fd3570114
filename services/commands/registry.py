"""`tools`, `teams`, `people`, `keys`: who and what there is."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from services.commands.shared import AsJson, answer, group, transaction, whoami
from services.escalation import service as escalation
from services.kit import listening
from services.kit.durations import parse_seconds
from services.kit.errors import InvalidInput, Problem
from services.registry import access, queries, service
from services.registry.rules import SYSTEM, Actor, OutputKind, Role, ToolState

tools = group("Tools: add, list, switch.")
teams = group("Teams: add, list.")
people = group("People: add, change, list, deactivate, sign-in links and tokens.")
keys = group("Keys of tools: create, list, revoke.")

Slug = Annotated[str, typer.Argument(help="The slug.")]
Email = Annotated[str, typer.Argument(help="The e-mail address.")]


@teams.command("add")
def add_team(
    slug: Slug,
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a team."""
    with transaction() as (_, session, now):
        service.add_team(session, slug, name=name, actor=whoami(), now=now)
    answer({"team": slug}, as_json=as_json, lines=[f"team {slug} added"])


@teams.command("list")
def list_teams(as_json: AsJson = False) -> None:
    """List the teams with their people."""
    with transaction() as (_, session, _now):
        found = queries.teams(session)
    answer(found, as_json=as_json, lines=[f"{t.slug}  {', '.join(t.people)}" for t in found])


@people.command("add")
def add_person(
    email: Email,
    name: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[Role, typer.Option(help="What the person is here for.")],
    team: Annotated[list[str] | None, typer.Option(help="A team; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a person; `people link` then gives the first way in."""
    with transaction() as (_, session, now):
        service.add_person(
            session, email, name=name, role=role, teams=team or (), actor=whoami(), now=now
        )
    answer({"person": email.lower()}, as_json=as_json, lines=[f"{email.lower()} added"])


@people.command("list")
def list_people(as_json: AsJson = False) -> None:
    """List the people."""
    with transaction() as (_, session, _now):
        found = queries.people(session)
    lines = [
        f"{p.email}  {p.role}  {', '.join(p.teams)}{'' if p.active else '  (inactive)'}"
        for p in found
    ]
    answer(found, as_json=as_json, lines=lines)


@people.command("change")
def change_person(
    email: Email,
    role: Annotated[Role | None, typer.Option(help="What the person is here for.")] = None,
    team: Annotated[
        list[str] | None, typer.Option(help="A team, instead of those of before; may be repeated.")
    ] = None,
    active: Annotated[
        bool, typer.Option("--active", help="Let a deactivated person in again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change a person's role or teams, or let them in again."""
    if role is None and not team and not active:
        raise InvalidInput("Nothing is to be changed: give --role, --team or --active.")
    _change(email, role=role, teams=team or None, active=active or None)
    email = email.lower()
    answer({"person": email}, as_json=as_json, lines=[f"{email} changed"])


@people.command("deactivate")
def deactivate_person(email: Email, as_json: AsJson = False) -> None:
    """Sign a person out for good; open cases of theirs go to the cases' teams."""
    moved = _change(email, active=False)
    lines = [f"{email.lower()} deactivated, {moved} cases handed over"]
    answer({"person": email.lower(), "cases": moved}, as_json=as_json, lines=lines)


def _change(email: str, **changes: Any) -> int:
    """Change a person, as an admin does; answers how many cases were handed over."""
    with transaction() as (found, session, now):
        admin = Actor(whoami(), SYSTEM, Role.ADMIN, frozenset())
        policy = found.router.policy
        return escalation.change_person(
            session, email, **changes, policy=policy, actor=admin, now=now
        )


@people.command("link")
def link_person(email: Email, as_json: AsJson = False) -> None:
    """Print a sign-in link that works once."""
    with transaction() as (found, session, now):
        length = timedelta(seconds=found.settings.link_length)
        token = access.create_link(session, email, actor=whoami(), now=now, length=length)
        link = f"{listening.address(found.settings)}/sign-in/{token}"
    answer({"link": link}, as_json=as_json, lines=[link])


@people.command("token")
def token_person(email: Email, as_json: AsJson = False) -> None:
    """Print a personal API token and nothing else."""
    with transaction() as (_, session, now):
        token = access.create_token(session, email, actor=whoami(), now=now)
    answer({"token": token}, as_json=as_json, lines=[token])


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
        service.add_tool(
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
            actor=whoami(),
            now=now,
        )
    answer({"tool": slug}, as_json=as_json, lines=[f"tool {slug} added"])


def _categories(path: Path | None) -> list[str]:
    """The categories of a file, one a line."""
    if path is None:
        return []
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        problem = Problem("/categories", f"{path} is no UTF-8 text", "Save it as UTF-8.")
        raise InvalidInput(f"categories: {problem.problem}.", problems=(problem,)) from None


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
        found = queries.tools(session)
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
        service.change_tool(session, slug, {"state": state.value}, actor=whoami(), now=now)
    answer({"tool": slug, "state": state}, as_json=as_json, lines=[f"{slug} is {state}"])


@keys.command("create")
def create_key(slug: Slug, as_json: AsJson = False) -> None:
    """Print a new key of a tool and nothing else; it cannot be read again."""
    with transaction() as (_, session, now):
        key = access.create_key(session, slug, actor=whoami(), now=now)
    answer({"key": key}, as_json=as_json, lines=[key])


@keys.command("list")
def list_keys(slug: Slug, as_json: AsJson = False) -> None:
    """List a tool's keys, never their secrets."""
    with transaction() as (_, session, _now):
        queries.tool(session, slug)
        found = queries.keys(session, slug)
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
        access.revoke_key(session, prefix, actor=whoami(), now=now)
    answer({"revoked": prefix}, as_json=as_json, lines=[f"key {prefix} revoked"])
