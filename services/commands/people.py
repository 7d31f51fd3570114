"""`teams` and `people`: who there is."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.commands.shared import AsJson, answer, group, operator, transaction
from services.kit.errors import InvalidInput
from services.kit.processes import listening
from services.people import absences, access, skills
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.moments import read_moment
from services.people.rules import Role

Slug = Annotated[str, typer.Argument(help="The slug.")]
teams = group("Teams: add, change, list, remove.")


people = group("People: add, change, list, deactivate, sign-in links and tokens.")


Email = Annotated[str, typer.Argument(help="The e-mail address.")]


@teams.command("add")
def add_team(
    slug: Slug,
    name: Annotated[str | None, typer.Option(help="Its name for people.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a team."""
    with transaction() as (_, session, now):
        people_service.add_team(session, slug, name=name, actor=operator(), now=now)
    answer({"team": slug}, as_json=as_json, lines=[f"team {slug} added"])


@teams.command("list")
def list_teams(as_json: AsJson = False) -> None:
    """List the teams with their people."""
    with transaction() as (_, session, _now):
        found = people_queries.teams(session)
    answer(found, as_json=as_json, lines=[f"{t.slug}  {', '.join(t.people)}" for t in found])


@teams.command("change")
def change_team(
    slug: Slug,
    calendar: Annotated[
        str,
        typer.Option(help="By which its cases count working time; `none` for Monday to Friday."),
    ],
    as_json: AsJson = False,
) -> None:
    """Let a team go by a calendar; its open cases are counted anew within a minute."""
    wanted = None if calendar == "none" else calendar
    with transaction() as (_, session, now):
        people_service.change_team(session, slug, calendar=wanted, actor=operator(), now=now)
    lines = [f"team {slug} goes by {wanted or 'no calendar'}"]
    answer({"team": slug, "calendar": wanted}, as_json=as_json, lines=lines)


@teams.command("remove")
def remove_team(slug: Slug, as_json: AsJson = False) -> None:
    """Remove a team; the open cases that it owns go to whoever is wanted next."""
    with transaction() as (found, session, now):
        by: dict[str, Any] = {"actor": operator(), "duties": found.duties}
        moved = people_service.remove_team(session, slug, **by, now=now)
    lines = [f"team {slug} removed, {moved} open cases handed over"]
    answer({"team": slug, "handed_over": moved}, as_json=as_json, lines=lines)


@people.command("add")
def add_person(
    email: Email,
    name: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[Role, typer.Option(help="What the person is here for.")],
    team: Annotated[list[str] | None, typer.Option(help="A team; may be repeated.")] = None,
    skill: Annotated[
        list[str] | None, typer.Option(help="What they can do, as rules ask; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a person; `people link` then gives the first way in."""
    with transaction() as (_, session, now):
        people_service.add_person(
            session, email, name=name, role=role, teams=team or (), actor=operator(), now=now
        )
        if skill:
            skills.change_skills(session, email, skills=skill, actor=operator(), now=now)
    answer({"person": email.lower()}, as_json=as_json, lines=[f"{email.lower()} added"])


@people.command("list")
def list_people(as_json: AsJson = False) -> None:
    """List the people."""
    with transaction() as (_, session, _now):
        found = people_queries.people(session)
    lines = [
        f"{p.email}  {p.role}  {', '.join(p.teams)}{_skills(p)}{'' if p.active else '  (inactive)'}"
        for p in found
    ]
    answer(found, as_json=as_json, lines=lines)


def _skills(person: people_queries.PersonInfo) -> str:
    return f"  [{', '.join(person.skills)}]" if person.skills else ""


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
    calendar: Annotated[
        str | None, typer.Option(help="By which they work; `none` for any hour.")
    ] = None,
    manager: Annotated[
        str | None, typer.Option(help="Their manager's e-mail address; `none` for nobody.")
    ] = None,
    skill: Annotated[
        list[str] | None,
        typer.Option(
            help="What they can do, instead of what was said before; may be repeated; `none` for"
            " nothing in particular."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a person's role, teams, calendar, manager or skills, or let them in again."""
    access_changes = role is not None or bool(team) or active
    if not access_changes and calendar is None and manager is None and not skill:
        flags = "--role, --team, --active, --calendar, --manager or --skill"
        raise InvalidInput(f"Nothing is to be changed: give {flags}.")
    with transaction() as (found, session, now):
        if access_changes:
            given = {"role": role, "teams": team or None, "active": active or None}
            _change(found, session, now, email, **given)
        by: dict[str, Any] = {"actor": operator(), "now": now}
        if calendar is not None:
            people_service.change_calendar(session, email, calendar=_named(calendar), **by)
        if manager is not None:
            people_service.change_manager(session, email, manager=_named(manager), **by)
        if skill:
            wanted = [one for one in skill if _named(one)]
            skills.change_skills(session, email, skills=wanted, **by)
    email = email.lower()
    answer({"person": email}, as_json=as_json, lines=[f"{email} changed"])


@people.command("deactivate")
def deactivate_person(email: Email, as_json: AsJson = False) -> None:
    """Sign a person out for good; open cases of theirs go to the cases' teams."""
    with transaction() as (found, session, now):
        moved = _change(found, session, now, email, active=False)
    lines = [f"{email.lower()} deactivated, {moved} cases handed over"]
    answer({"person": email.lower(), "cases": moved}, as_json=as_json, lines=lines)


def _change(found: Resources, session: Session, now: datetime, email: str, **changes: Any) -> int:
    """Change a person, as an admin does; answers how many cases were handed over."""
    return people_service.change_person(
        session, email, **changes, actor=operator(), duties=found.duties, now=now
    )


def _named(given: str) -> str | None:
    return None if given == "none" else given


@people.command("away")
def away(
    email: Email,
    begin: Annotated[str, typer.Option("--from", help="When it begins.")],
    until: Annotated[str, typer.Option(help="When it ends.")],
    stand_in: Annotated[
        str | None, typer.Option(help="Who takes their duties meanwhile: an e-mail address.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say that a person is away; times without a zone are of SECONDLOOK_TIMEZONE."""
    with transaction() as (found, session, now):
        zone = found.settings.timezone
        span = read_moment("from", begin, zone), read_moment("until", until, zone)
        number = absences.go_away(
            session,
            email,
            begin=span[0],
            end=span[1],
            stand_in=stand_in,
            actor=operator(),
            duties=found.duties,
            now=now,
        )
    data = {"absence": number, "person": email.lower(), "stand_in": stand_in}
    data |= {"from": span[0].isoformat(), "until": span[1].isoformat()}
    answer(data, as_json=as_json, lines=[f"{email.lower()} is away in that span"])


@people.command("back")
def back(email: Email, as_json: AsJson = False) -> None:
    """Say that a person who is away is back."""
    with transaction() as (found, session, now):
        by: dict[str, Any] = {"actor": operator(), "duties": found.duties}
        ended = absences.come_back(session, email, **by, now=now)
    lines = [f"{email.lower()} is back"]
    answer({"person": email.lower(), "ended": ended}, as_json=as_json, lines=lines)


@people.command("link")
def link_person(email: Email, as_json: AsJson = False) -> None:
    """Print a sign-in link that works once."""
    with transaction() as (found, session, now):
        length = timedelta(seconds=found.settings.link_length)
        token = access.create_link(session, email, actor=operator(), now=now, length=length)
        link = f"{listening.address(found.settings)}/sign-in/{token}"
    answer({"link": link}, as_json=as_json, lines=[link])


@people.command("token")
def token_person(email: Email, as_json: AsJson = False) -> None:
    """Print a personal API token and nothing else."""
    with transaction() as (_, session, now):
        token = access.create_token(session, email, actor=operator(), now=now)
    answer({"token": token}, as_json=as_json, lines=[token])
