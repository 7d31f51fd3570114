"""Tool health: is something breaking, and since when? And the switch that stops it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.feedback import queries as feedback
from services.insight import queries as insight
from services.insight.rules import DAYS_FOR_LIMITS, Ratio, control_limits
from services.kit.database import Session
from services.measurement import queries as measurement
from services.measurement.agreement import DEFINITION
from services.people.fields import Named
from services.people.rules import Verb
from services.tools import policies as tool_policies
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import ToolState
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm

_STATE_TEXTS = {
    ToolState.LIVE: "Its outputs are used as the gate says.",
    ToolState.SHADOW: "It runs, and nothing that it says is used.",
    ToolState.FALLBACK: "Its outputs are not used; what was done before it is done instead.",
    ToolState.STOPPED: "It is stopped; nothing that it says is used at all.",
}


@dataclass(frozen=True, slots=True)
class Health:
    """A tool's row on the health page."""

    tool: tool_queries.ToolInfo
    rates: insight.Rates
    days: list[insight.Day]
    last: datetime | None

    @property
    def exception_trend(self) -> list[float | None]:
        """The exception rate of each day, None where there was no output."""
        return [day.exception_rate.value for day in self.days]

    @property
    def band(self) -> tuple[float, float] | None:
        """Where the daily exception rate normally lies (p-chart); None from too few days."""
        sizes = [day.exception_rate.denominator for day in self.days]
        return control_limits(self.rates.exception_rate.value, sizes)

    @property
    def days_for_limits(self) -> tuple[int, int]:
        """How many days had outputs, and how many a band needs."""
        known = [day for day in self.days if day.exception_rate.denominator]
        return len(known), DAYS_FOR_LIMITS


def router(pages: PageContext) -> APIRouter:
    """The routes of health."""
    routes = APIRouter()

    @routes.get("/health")
    def overview(request: Request) -> Response:
        actor = pages.actor(request, Verb.READ_NUMBERS)
        with pages.transaction() as (session, now):
            rows = [
                _health(session, tool, now) for tool in tool_queries.visible_tools(session, actor)
            ]
        return pages.templates.render(request, "health/overview.html", now=now, rows=rows)

    @routes.get("/health/{slug}")
    def one(request: Request, slug: Named) -> Response:
        actor = pages.actor(request, Verb.READ_NUMBERS)
        with pages.transaction() as (session, now):
            tool = tool_queries.tool_for(session, actor, slug)
            health = _health(session, tool, now)
            changes = list(tool_policies.changes(session, slug).values())
            since = tool_policies.state_since(session, tool.policy)
            said = measurement.labels_of(session, tool, now=now)
        return pages.templates.render(
            request,
            "health/tool.html",
            now=now,
            health=health,
            state_since=since,
            agreed=measurement.agreement_of(tool, said),
            agreement_means=DEFINITION,
            series=_series(health.days),
            markers=_markers(health.days, changes),
            limits=health.band,
            states=[
                {"value": state.value, "label": f"{state.value.capitalize()}: {text}"}
                for state, text in _STATE_TEXTS.items()
            ],
            state_text=_STATE_TEXTS[tool.state],
            may_switch=actor.may(Verb.SWITCH_TOOL),
            may_manage=actor.may(Verb.MANAGE_TOOLS),
        )

    @routes.post("/health/{slug}/state")
    def switch(request: Request, slug: Named, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.SWITCH_TOOL)
        with pages.transaction() as (session, now):
            tool_queries.tool_for(session, actor, slug)
            tool_service.change_tool(
                session, slug, {"state": form.text("state")}, actor=actor, now=now
            )
        return pages.redirect(request, f"/health/{slug}")

    return routes


def _health(session: Session, tool: tool_queries.ToolInfo, now: datetime) -> Health:
    return Health(
        tool=tool,
        rates=insight.rates(session, tool, now=now),
        days=insight.daily(session, tool, now=now),
        last=feedback.last_recorded(session, tool.slug),
    )


def _series(days: list[insight.Day]) -> dict[str, list[dict[str, Any]]]:
    """Each rate's points as the chart takes them."""
    return {
        "exceptions": [_point(day.day, day.exception_rate) for day in days],
        "overrides": [_point(day.day, day.override_rate) for day in days],
        "coverage": [_point(day.day, day.coverage) for day in days],
    }


def _point(day: datetime, rate: Ratio) -> dict[str, Any]:
    return {"label": f"{day:%-d %b}", "value": rate.value, "n": rate.denominator}


def _markers(days: list[insight.Day], changes: list[datetime]) -> list[dict[str, Any]]:
    """The days on which the tool's policy was changed."""
    dates = {day.day.date(): index for index, day in enumerate(days)}
    marked = sorted({dates[c.date()] for c in changes[1:] if c.date() in dates})
    return [{"index": index, "label": "policy changed"} for index in marked]
