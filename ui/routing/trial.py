"""A trial: what would happen to an output that somebody makes up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from secondlook import events
from secondlook.text import normalised
from starlette.responses import Response

from services.escalation.trial import try_out
from services.kit.errors import InvalidInput
from services.people.rules import Verb
from services.tools import queries as tools
from services.tools.queries import ToolInfo
from services.tools.rules import OutputKind, Trigger
from ui.cases.vocabulary import trigger_label
from ui.kit.context import PageContext
from ui.kit.forms import Form, field_errors, invalid_field, split_lines
from ui.routing.words import names_of_owners

_YES, _NO = ("yes", "true", "raised"), ("no", "false", "not raised")
_FIELD_OF = {"model": "model", "prompt": "prompt", "language": "language", "error": "failure"}


def show_trial(pages: PageContext, request: Request) -> Response:
    """The form, and where it was filled in what would happen."""
    actor = pages.actor(request, Verb.ROUTE_CASES)
    form = Form((normalised(name), normalised(value)) for name, value in _asked(request))
    found, errors = None, dict[str, str]()
    with pages.transaction() as (session, now):
        known = tools.cache(session).tools(session)
        called = names_of_owners(session)
        if "tool" in form:
            try:
                wanted = _request(form, known, now)
                found = try_out(session, pages.router, wanted, actor=actor, now=now)
            except InvalidInput as error:
                errors = field_errors(error, otherwise="tool")
    return pages.templates.render(
        request,
        "routing/trial.html",
        status=InvalidInput.status if errors else 200,
        now=now,
        trial=found,
        called=called,
        form=form.first_values(),
        errors=errors,
        **_choices(known),
    )


def _asked(request: Request) -> list[tuple[str, str]]:
    return request.query_params.multi_items()


def _choices(known: Mapping[str, ToolInfo]) -> dict[str, Any]:
    none = {"value": "", "label": "It did not fail"}
    return {
        "triggers": [{"value": t.value, "label": trigger_label(t)} for t in Trigger],
        "tools": [{"value": tool.slug, "label": tool.name} for tool in known.values()],
        "failures": [none, *({"value": k, "label": k} for k in events.TOOL_ERROR_KINDS)],
    }


def _request(form: Form, known: Mapping[str, ToolInfo], now: datetime) -> events.ReviewRequest:
    """The review of a made-up output, as it would be requested.

    Raises:
        InvalidInput: it cannot be; every problem names its field.
    """
    slug, trigger = form.line("tool"), form.line("trigger")
    if slug not in known:
        raise invalid_field("tool", f"there is no tool '{slug[:63]}'", "Choose one")
    if trigger not in {one.value for one in Trigger}:
        raise invalid_field("trigger", f"'{trigger[:30]}' opens no case", "Choose one")
    given: dict[str, Any] = {"tool": slug, "output_id": "trial", "trigger": trigger, "at": now}
    if trigger != Trigger.UNMATCHED:
        given["output"] = _output(form, known[slug].kind)
    try:
        return events.ReviewRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise invalid_field(_field(first["loc"]), first["msg"], "Change it") from None


def _output(form: Form, kind: OutputKind) -> dict[str, Any]:
    failure = form.line("failure")
    version = {name: form.line(name) for name in ("model", "prompt") if form.line(name)}
    said: dict[str, Any] = {
        "kind": kind.value,
        "value": None if failure else _value(form, kind),
        "confidence": _confidence(form),
        "version": version or None,
        "input": {"text": "", "language": form.line("language")} if form.line("language") else None,
        "cohort": form.line("cohort") or None,
        "error": {"kind": failure} if failure else None,
        "attributes": _attributes(form),
    }
    return {name: value for name, value in said.items() if value is not None}


def _value(form: Form, kind: OutputKind) -> str | bool | None:
    """What the tool said. Of texts and fields rules ask nothing."""
    typed = form.line("value")
    if kind is OutputKind.FLAG and typed:
        word = typed.lower()
        if word not in (*_YES, *_NO):
            raise invalid_field("value", f"'{typed[:20]}' is no flag", "Write yes or no")
        return word in _YES
    return typed or None if kind is OutputKind.CATEGORY else None


def _confidence(form: Form) -> float | None:
    typed = form.line("confidence")
    if not typed:
        return None
    try:
        return float(typed)
    except ValueError:
        problem = f"'{typed[:20]}' is no number"
        raise invalid_field("confidence", problem, "Write a share such as 0.7") from None


def _attributes(form: Form) -> dict[str, str]:
    found = {}
    for number, line in enumerate(split_lines(form.text("attributes")), start=1):
        name, colon, value = line.partition(":")
        if line.strip() and not (colon and name.strip()):
            problem = f"line {number} is no attribute with its value"
            raise invalid_field("attributes", problem, "Write one such as plan: gold")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _field(place: tuple[int | str, ...]) -> str:
    """The field of the form that a part of the request comes from."""
    for step in place[1:]:
        if step in ("value", "confidence", "attributes", "cohort"):
            return str(step)
        if step in _FIELD_OF:
            return _FIELD_OF[str(step)]
    return "tool"
