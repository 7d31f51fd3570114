"""Schedules: who has the duty when, and changes of it."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import InvalidInput, NotFound
from services.people import schedule_queries, schedules
from services.people.fields import Named
from services.people.moments import FIRST_YEAR, LAST_YEAR
from services.people.rotations import read as read_schedule
from services.people.rules import Verb
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm, field_errors, invalid_field
from ui.schedules.feed import add_feed
from ui.schedules.show import show_list, show_schedule


def router(pages: PageContext) -> APIRouter:
    """The routes of schedules."""
    routes = APIRouter()
    # Before the page: a slug has no dot.
    add_feed(routes, pages)
    _add_schedules(routes, pages)
    _add_overrides(routes, pages)
    return routes


def _add_schedules(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/schedules")
    def listed(request: Request) -> Response:
        return show_list(pages, request)

    @routes.post("/schedules")
    def put(request: Request, form: PostedForm) -> Response:
        """Add a schedule, or say anew what one is."""
        actor, slug = pages.actor(request, Verb.MANAGE_SCHEDULES), form.line("slug")
        try:
            document = read_schedule(form.text("document"))
            with pages.transaction() as (session, now):
                schedules.put_schedule(
                    session,
                    slug,
                    document,
                    team=form.line("team"),
                    actor=actor,
                    duties=pages.duties,
                    now=now,
                )
        except InvalidInput as error:
            errors, typed = _by_field(error), form.first_values()
            return show_list(pages, request, form=typed, errors=errors, status=error.status)
        return pages.redirect(request, f"/schedules/{slug}")

    @routes.get("/schedules/{slug}")
    def schedule(request: Request, slug: Named) -> Response:
        return show_schedule(pages, request, slug)


def _by_field(error: InvalidInput) -> dict[str, str]:
    """What is wrong by the field of the form; all of the document's problems are of one field."""
    fields: dict[str, list[str]] = {}
    for problem in error.problems:
        name = problem.pointer.removeprefix("/")
        field = name if name in ("slug", "team") else "document"
        # What is no YAML has a line and no place.
        line = f"{name}: " if name.startswith("line ") else ""
        fields.setdefault(field, []).append(f"{line}{problem.problem}. {problem.hint}")
    return {field: " ".join(said) for field, said in fields.items()}


def _add_overrides(routes: APIRouter, pages: PageContext) -> None:
    @routes.post("/schedules/{slug}/override")
    def override(request: Request, slug: Named, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.MANAGE_SCHEDULES)
        try:
            with pages.transaction() as (session, now):
                found = schedule_queries.visible_schedule(session, actor, slug, now, now)
                begin, end = _days(form, found.schedules[slug].rotation.zone)
                schedules.override(
                    session,
                    slug,
                    form.line("person"),
                    begin=begin,
                    end=end,
                    actor=actor,
                    duties=pages.duties,
                    now=now,
                )
        except InvalidInput as error:
            errors, typed = field_errors(error, otherwise="person"), form.first_values()
            return show_schedule(
                pages, request, slug, form=typed, errors=errors, status=error.status
            )
        return pages.redirect(request, f"/schedules/{slug}")

    @routes.post("/schedules/{slug}/override/end")
    def end_override(request: Request, slug: Named, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.MANAGE_SCHEDULES)
        with pages.transaction() as (session, now):
            schedules.end_override(
                session, slug, _number(form), actor=actor, duties=pages.duties, now=now
            )
        return pages.redirect(request, f"/schedules/{slug}")


def _number(form: Form) -> int:
    number = form.number("number", 0)
    if not 0 < number < 2**63:
        raise NotFound("There is no such override.")
    return number


def _days(form: Form, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the first moment of the day to the last one of it, or of a later day."""
    day = _day(form, "day")
    last = _day(form, "until") if form.line("until") else day
    ends = last + timedelta(days=1)
    begin, end = (datetime.combine(at, time(), zone).astimezone(UTC) for at in (day, ends))
    return begin, end


def _day(form: Form, field: str) -> date:
    try:
        found = date.fromisoformat(form.line(field))
    except ValueError:
        raise invalid_field(field, "it is no date", "Write 2026-12-24") from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise invalid_field(field, f"the year {found.year} is out of reach", "Write a nearer one")
    return found
