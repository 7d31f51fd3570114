"""People and teams administration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from secondlook.text import identifier
from starlette.responses import Response

from services.kit.errors import ChangedMeanwhile, Conflict, InvalidInput
from services.people import access, skills
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rules import Role, Verb
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm, field_errors, invalid_field

_ROLE_LABELS = {
    Role.REP: "Rep: puts outputs right",
    Role.OWNER: "Owner: reviews cases",
    Role.OPS: "Ops: watches and switches tools",
    Role.LEAD: "Lead: reviews, reassigns, exports",
    Role.ADMIN: "Admin: everything, all teams",
    Role.AUDITOR: "Auditor: reads everything",
}


def router(pages: PageContext) -> APIRouter:
    """The routes of people and teams."""
    routes = APIRouter()
    _add_people(routes, pages)
    _add_person(routes, pages)
    return routes


@dataclass(frozen=True, slots=True)
class Tried:
    """A change of a person that could not be saved: what was typed, and why by field."""

    email: str
    errors: dict[str, str]
    typed: dict[str, Any]
    meanwhile: bool = False
    """Somebody changed the person after the form was filled."""


def _show(
    pages: PageContext,
    request: Request,
    *,
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    tried: Tried | None = None,
    link: str = "",
    link_for: str = "",
    status: int = 200,
) -> Response:
    actor = pages.actor(request, Verb.MANAGE_SKILLS)
    with pages.transaction() as (session, now):
        everybody, teams = people_queries.people(session), people_queries.teams(session)
    people = [person for person in everybody if actor.sees_some(person.teams)]
    rows = [_row(number, person, tried) for number, person in enumerate(people, start=1)]
    return pages.templates.render(
        request,
        "people/people.html",
        status=status,
        now=now,
        manages=actor.may(Verb.MANAGE_PEOPLE),
        rows=rows,
        teams=teams,
        form={"role": "rep"} | (form or {}),
        errors=errors or {},
        row_errors=_by_control(rows),
        changed_meanwhile=tried is not None and tried.meanwhile,
        roles=[{"value": role.value, "label": label} for role, label in _ROLE_LABELS.items()],
        link=link,
        link_for=link_for,
    )


def _row(number: int, person: people_queries.PersonInfo, tried: Tried | None) -> dict[str, Any]:
    """A person with the forms of their row; what was typed there, where it was not saved."""
    row: dict[str, Any] = {"number": number, "person": person, "errors": {}, "open": False}
    row |= {"role": person.role.value, "teams": person.teams, "skills": ", ".join(person.skills)}
    if tried is None or tried.email.lower() != person.email:
        return row
    errors = tried.errors or _now_otherwise(person, tried.typed)
    return row | {"open": True, "errors": errors} | tried.typed


def _now_otherwise(person: people_queries.PersonInfo, typed: dict[str, Any]) -> dict[str, str]:
    """For what was typed otherwise, what it is now."""
    errors = {}
    if typed.get("role", person.role.value) != person.role.value:
        errors["role"] = f"Role now: {person.role.value.capitalize()}."
    if set(typed.get("teams", person.teams)) != set(person.teams):
        errors["team"] = f"Teams now: {', '.join(person.teams) or 'none'}."
    if "skills" in typed and set(_words(typed["skills"])) != set(person.skills):
        errors["skills"] = f"Skills now: {', '.join(person.skills) or 'none'}."
    return errors


def _words(typed: str) -> list[str]:
    """What stands between the commas of what was typed."""
    return [word for part in typed.split(",") if (word := identifier(part))]


def _by_control(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The errors of all rows by the control that each is about."""
    return {
        f"{field}-{row['number']}": words for row in rows for field, words in row["errors"].items()
    }


def _add_people(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/people")
    def people(request: Request) -> Response:
        return _show(pages, request)

    @routes.post("/people")
    def add(request: Request, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.MANAGE_PEOPLE)
        try:
            with pages.transaction() as (session, now):
                people_service.add_person(
                    session,
                    form.line("email"),
                    name=form.text("name"),
                    role=_role(form.line("role")),
                    teams=[form.line("team")] if form.line("team") else (),
                    actor=actor,
                    now=now,
                )
        except (InvalidInput, Conflict) as error:
            typed, errors = form.first_values(), field_errors(error, otherwise="email")
            return _show(pages, request, form=typed, errors=errors, status=error.status)
        return pages.redirect(request, "/people")

    @routes.post("/people/teams")
    def add_team(request: Request, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.MANAGE_PEOPLE)
        slug, name = form.line("slug"), form.text("title") or None
        try:
            with pages.transaction() as (session, now):
                people_service.add_team(session, slug, name=name, actor=actor, now=now)
        except (InvalidInput, Conflict) as error:
            typed, errors = form.first_values(), field_errors(error)
            if "name" in errors:
                errors = {"title": errors["name"]}
            return _show(pages, request, form=typed, errors=errors, status=error.status)
        return pages.redirect(request, "/people")


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise invalid_field("role", f"'{text[:20]}' is no role", "Choose one") from None


def _add_person(routes: APIRouter, pages: PageContext) -> None:
    @routes.post("/people/change")
    def change(request: Request, form: PostedForm) -> Response:
        return _change(pages, request, form)

    @routes.post("/people/skills")
    def change_skills(request: Request, form: PostedForm) -> Response:
        return _change_skills(pages, request, form)

    @routes.post("/people/active")
    def set_active(request: Request, form: PostedForm) -> Response:
        """Deactivating hands the person's open cases to their teams, in one transaction."""
        actor = pages.actor(request, Verb.MANAGE_PEOPLE)
        email = form.line("email")
        try:
            active = _yes_or_no(form, "active")
            with pages.transaction() as (session, now):
                people_service.change_person(
                    session, email, active=active, actor=actor, duties=pages.duties, now=now
                )
        except (InvalidInput, Conflict) as error:
            tried = Tried(email, field_errors(error, otherwise="active"), {})
            return _show(pages, request, tried=tried, status=error.status)
        return pages.redirect(request, "/people")

    @routes.post("/people/link")
    def link(request: Request, form: PostedForm) -> Response:
        actor, email = pages.actor(request, Verb.MANAGE_PEOPLE), form.line("email")
        with pages.transaction() as (session, now):
            token = access.create_link(
                session, email, actor=actor, now=now, length=pages.link_length
            )
        made = f"{pages.address()}/sign-in/{token}"
        return _show(pages, request, link=made, link_for=email)


def _change(pages: PageContext, request: Request, form: Form) -> Response:
    """Save role and teams, unless they are no longer what the form was filled with."""
    actor = pages.actor(request, Verb.MANAGE_PEOPLE)
    email, role, teams = form.line("email"), form.line("role"), form.all("team")
    seen_role = form.line("seen_role")
    typed = {"role": role, "teams": teams}
    try:
        with pages.transaction() as (session, now):
            people_service.change_person(
                session,
                email,
                role=_role(role),
                teams=teams,
                seen=(_role(seen_role), form.all("seen_team")) if seen_role else None,
                actor=actor,
                duties=pages.duties,
                now=now,
            )
    except (InvalidInput, Conflict) as error:
        errors = field_errors(error, otherwise="role")
        return _show(pages, request, tried=Tried(email, errors, typed), status=error.status)
    except ChangedMeanwhile:
        tried = Tried(email, {}, typed, meanwhile=True)
        return _show(pages, request, tried=tried, status=409)
    return pages.redirect(request, "/people")


def _change_skills(pages: PageContext, request: Request, form: Form) -> Response:
    """Save what somebody can do, unless it is no longer what the form was filled with."""
    actor = pages.actor(request, Verb.MANAGE_SKILLS)
    email, typed = form.line("email"), form.text("skills")
    seen = _words(form.text("seen_skills")) if "seen_skills" in form else None
    tried = Tried(email, {}, {"skills": typed}, meanwhile=True)
    try:
        with pages.transaction() as (session, now):
            skills.change_skills(
                session, email, skills=_words(typed), seen=seen, actor=actor, now=now
            )
    except InvalidInput as error:
        tried = Tried(email, field_errors(error), tried.typed)
        return _show(pages, request, tried=tried, status=error.status)
    except ChangedMeanwhile:
        return _show(pages, request, tried=tried, status=409)
    return pages.redirect(request, "/people")


def _yes_or_no(form: Form, field: str) -> bool:
    answers = {"yes": True, "no": False}
    if form.line(field) not in answers:
        raise invalid_field(field, "it is neither yes nor no", "Press one of the buttons")
    return answers[form.line(field)]
