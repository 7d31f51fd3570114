"""What the pages of schedules show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from starlette.responses import Response

from services.kit.database import Session
from services.people import queries as people_queries
from services.people import schedule_queries
from services.people.rotations import (
    Layer,
    Spell,
    holes_in_words,
    moment_in_words,
    turns,
    written,
)
from services.people.rules import Actor, Verb
from services.people.schedule_queries import Roster, ScheduleInfo
from ui.kit.context import PageContext
from ui.schedules.drawing import Span, drawings, legend

WEEKS = 4
_AHEAD = timedelta(weeks=WEEKS)
_DAY = timedelta(days=1)
HOLES_LISTED = 3
_UNITS = {"h": "hour", "d": "day", "w": "week"}


@dataclass(frozen=True, slots=True)
class Now:
    """Who is on duty, as it is said."""

    name: str
    """Empty where nobody is."""
    until: str
    """Empty where that lasts for all that is drawn."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A schedule's row in the list."""

    slug: str
    team: str
    now: Now
    holes: list[str]


@dataclass(frozen=True, slots=True)
class ShownOverride:
    """An override that is not over."""

    number: int
    name: str
    begin: str
    end: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """A spell of the drawing as a row of its table."""

    row: str
    begin: str
    end: str
    name: str


# --- the list -------------------------------------------------------------------------------


def show_list(
    pages: PageContext,
    request: Request,
    *,
    form: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """The schedules of one's teams: who is on duty, and when nobody is."""
    actor = pages.actor(request, Verb.READ_SCHEDULES)
    with pages.transaction() as (session, now):
        found = schedule_queries.visible_roster(session, actor, now, now + _AHEAD)
        names = _names(session, found)
        teams = [t for t in people_queries.teams(session) if t.active and actor.sees(t.slug)]
    return pages.templates.render(
        request,
        "schedules/list.html",
        status=status,
        now=now,
        rows=[_listed(found, slug, now, names) for slug in found.schedules],
        most=HOLES_LISTED,
        may_change=actor.may(Verb.MANAGE_SCHEDULES),
        teams=[{"value": team.slug, "label": team.name} for team in teams],
        form=form or {},
        errors=errors or {},
    )


def _names(session: Session, found: Roster) -> dict[str, str]:
    """What everybody is called whom these schedules can put on duty."""
    return people_queries.names(session, found.presence.able)


def _listed(found: Roster, slug: str, now: datetime, names: Mapping[str, str]) -> Listed:
    known, spells = found.schedules[slug], found.duties(slug, now, now + _AHEAD)
    zone = known.rotation.zone
    words = holes_in_words(spells, zone)
    return Listed(slug, known.team, _now(spells, zone, names), words)


def _now(spells: Sequence[Spell], zone: ZoneInfo, names: Mapping[str, str]) -> Now:
    first = spells[0]
    name = names.get(first.person, first.person) if first.person is not None else ""
    return Now(name, moment_in_words(first.end, zone) if len(spells) > 1 else "")


# --- one schedule ---------------------------------------------------------------------------


def show_schedule(
    pages: PageContext,
    request: Request,
    slug: str,
    *,
    form: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """A schedule: four weeks of it, its holes and its overrides."""
    actor = pages.actor(request, Verb.READ_SCHEDULES)
    with pages.transaction() as (session, now):
        # A day more at both ends: midnight is an hour of the schedule's zone.
        found = schedule_queries.visible_schedule(
            session, actor, slug, now - _DAY, now + _AHEAD + _DAY
        )
        names = _names(session, found)
        choices = _choices(session, found.schedules[slug]) if _may_change(actor) else []
    return pages.templates.render(
        request,
        "schedules/schedule.html",
        status=status,
        now=now,
        schedule=found.schedules[slug],
        may_change=_may_change(actor),
        people=choices,
        written=written(found.schedules[slug].document),
        form=form or {},
        errors=errors or {},
        **_shown(found, slug, now, names),
    )


def _may_change(actor: Actor) -> bool:
    return actor.may(Verb.MANAGE_SCHEDULES)


def _choices(session: Session, known: ScheduleInfo) -> list[dict[str, str]]:
    """Who may be given the duty: the team's reviewers."""
    emails = schedule_queries.reviewers(session, known.team)
    names = people_queries.names(session, emails)
    return [{"value": email, "label": f"{names[email]} ({email})"} for email in emails]


def _shown(found: Roster, slug: str, now: datetime, names: Mapping[str, str]) -> dict[str, Any]:
    """What of a schedule is drawn and said."""
    rotation = found.schedules[slug].rotation
    zone = rotation.zone
    begin = _midnight(now, zone)
    span = Span(begin, _midnight(begin + _AHEAD + _DAY / 2, zone), zone, names)
    layers = [
        (f"Layer {n}", turns(layer, span.begin, span.end))
        for n, layer in enumerate(rotation.layers, start=1)
    ]
    rows = [*layers, ("On duty", found.duties(slug, span.begin, span.end))]
    ahead = found.duties(slug, now, span.end)
    last = span.end.astimezone(zone) - _DAY / 2
    return {
        "on_duty": _now(ahead, zone, names),
        "drawings": drawings(rows, span, now),
        "legend": list(legend(rows, span).values()),
        "table": [_table_row(span, row, spell) for row, spells in rows[::-1] for spell in spells],
        "holes": holes_in_words(ahead, zone),
        "layers": [_layer_in_words(layer, span) for layer in rotation.layers],
        "overrides": [_override(one, span) for one in rotation.overrides if one.end > now],
        "last_day": moment_in_words(last, zone).rpartition(" ")[0],
    }


def _midnight(at: datetime, zone: ZoneInfo) -> datetime:
    """When the day begins that a moment lies in, by the wall clock of a zone."""
    return datetime.combine(at.astimezone(zone).date(), time(), zone).astimezone(UTC)


def _table_row(span: Span, row: str, spell: Spell) -> TableRow:
    begin, end = (moment_in_words(at, span.zone) for at in (spell.begin, spell.end))
    return TableRow(row, begin, end, span.called(spell.person))


def _override(one: Any, span: Span) -> ShownOverride:
    begin, end = (moment_in_words(at, span.zone) for at in (one.begin, one.end))
    return ShownOverride(one.id, span.called(one.person), begin, end)


def _layer_in_words(layer: Layer, span: Span) -> str:
    """`Olga, then Tim, 1 week each, from Mon 2 Nov 2026 09:00 on`."""
    unit = _UNITS[layer.unit] + ("s" if layer.count > 1 else "")
    people = ", then ".join(span.called(person) for person in layer.people)
    start = moment_in_words(layer.handover(0), layer.zone)
    day, _, clock = start.rpartition(" ")
    each = " each" if len(layer.people) > 1 else " at a time"
    return f"{people}, {layer.count} {unit}{each}, from {day} {layer.start.year} {clock} on"
