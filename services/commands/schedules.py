"""`calendars` and `schedules`: when people work, and who has the duty when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from services.commands.people import Email, Slug
from services.commands.shared import AsJson, answer, group, operator, read_text, transaction
from services.kit.errors import NotFound
from services.people import schedule_queries
from services.people import schedules as schedule_verbs
from services.people import service as people_service
from services.people.calendars import read as read_calendar
from services.people.moments import read_moment
from services.people.rotations import holes_in_words, moment_in_words
from services.people.rotations import read as read_schedule

calendars = group("Calendars: when people work.")


schedules = group("Schedules: who has the duty when.")


@calendars.command("add")
def add_calendar(
    slug: Slug,
    file: Annotated[Path, typer.Option(help="The calendar, as YAML.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Add a calendar, or say anew what it is; open cases are counted anew within a minute."""
    document = read_calendar(read_text(file))
    with transaction() as (_, session, now):
        people_service.put_calendar(session, slug, document, actor=operator(), now=now)
    answer({"calendar": slug}, as_json=as_json, lines=[f"calendar {slug} is in force"])


@schedules.command("add")
def add_schedule(
    slug: Slug,
    team: Annotated[str, typer.Option(help="The team whose duty it is.")],
    file: Annotated[Path, typer.Option(help="The schedule, as YAML.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Add a schedule, or say anew what it is."""
    document = read_schedule(read_text(file))
    with transaction() as (found, session, now):
        by: dict[str, Any] = {"actor": operator(), "duties": found.duties}
        schedule_verbs.put_schedule(session, slug, document, team=team, **by, now=now)
    answer({"schedule": slug, "team": team}, as_json=as_json, lines=[f"{slug} is in force"])


_AHEAD = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class ListedSchedule:
    """A schedule as `list` tells of it."""

    schedule: str
    team: str
    on_duty: str | None
    until: datetime
    holes: list[str]


@schedules.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """List the schedules: who is on duty, and the holes of the next four weeks."""
    with transaction() as (_, session, now):
        found = schedule_queries.roster(session, None, now, now + _AHEAD)
    listed = [_listed(found, slug, now) for slug in found.schedules]
    answer(listed, as_json=as_json, lines=[line for one in listed for line in _lines(one)])


def _listed(found: schedule_queries.Roster, slug: str, now: datetime) -> ListedSchedule:
    known, spells = found.schedules[slug], found.duties(slug, now, now + _AHEAD)
    words = holes_in_words(spells, known.rotation.zone)
    return ListedSchedule(slug, known.team, spells[0].person, spells[0].end, words)


def _lines(listed: ListedSchedule) -> list[str]:
    who = listed.on_duty or "nobody"
    return [f"{listed.schedule}  {listed.team}  {who}", *(f"  {hole}" for hole in listed.holes)]


@schedules.command("who")
def who(
    slug: Slug,
    at: Annotated[str | None, typer.Option(help="A moment; now, where it is not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the e-mail address of who is on duty; exit 1 where nobody is."""
    with transaction() as (resources, session, now):
        moment = read_moment("at", at, resources.settings.timezone) if at is not None else now
        found = schedule_queries.roster(session, [slug], moment, moment)
        if slug not in found.schedules:
            raise NotFound(f"There is no schedule '{slug[:70]}'.")
        person = found.on_duty(slug, moment)
    if person is None:
        words = moment_in_words(moment, found.schedules[slug].rotation.zone)
        raise NotFound(f"Nobody is on duty in {slug}: {words}.")
    answer({"schedule": slug, "at": moment, "person": person}, as_json=as_json, lines=[person])


@schedules.command("override")
def override(
    slug: Slug,
    email: Email,
    begin: Annotated[str, typer.Option("--from", help="When it begins.")],
    until: Annotated[str, typer.Option(help="When it ends.")],
    as_json: AsJson = False,
) -> None:
    """Give somebody the duty for a span, whosever turn it is; the last one said holds."""
    with transaction() as (resources, session, now):
        zone = resources.settings.timezone
        span = read_moment("from", begin, zone), read_moment("until", until, zone)
        number = schedule_verbs.override(
            session,
            slug,
            email,
            begin=span[0],
            end=span[1],
            actor=operator(),
            duties=resources.duties,
            now=now,
        )
    data = {"override": number, "schedule": slug, "person": email.lower()}
    data |= {"from": span[0].isoformat(), "until": span[1].isoformat()}
    answer(data, as_json=as_json, lines=[f"{email.lower()} has {slug} in that span"])
