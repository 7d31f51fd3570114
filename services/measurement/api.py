"""HTTP for what is measured. No number without n, definition and window."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from services.kit.clock import Clock
from services.kit.database import Database
from services.measurement import queries
from services.measurement.agreement import (
    DEFINITION,
    ERROR_DEFINITION,
    Label,
    reviewer_error,
)
from services.people.fields import Named
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.identity import Identity

Answer = dict[str, Any]
"""A JSON object."""


def router(database: Database, clock: Clock, identity: Identity) -> APIRouter:
    """The routes of measurement."""
    api = APIRouter(prefix="/v1", tags=["measurement"])

    @api.get("/agreement")
    def get_agreement(
        actor: Annotated[Actor, Depends(identity.may(Verb.READ_NUMBERS))],
        tool: Annotated[Named, Query(description="The tool's slug.")],
        days: Annotated[int, Query(ge=1, le=366, description="Window, in days.")] = 90,
    ) -> Answer:
        """How far reviewers agree who judge the same cases blind: in all, and on each category."""
        with database.transaction() as session:
            info = tool_queries.tool_for(session, actor, tool)
            said = read(session, info, clock, days=days)
        return as_answer(info, said, days=days)

    return api


def read(session: Session, tool: tool_queries.ToolInfo, clock: Clock, *, days: int) -> list[Label]:
    """What a tool's reviewers said."""
    window = timedelta(days=days)
    return queries.labels_of(session, tool, now=clock.now(session), window=window)


def as_answer(tool: tool_queries.ToolInfo, said: list[Label], *, days: int) -> Answer:
    """Agreement as the API and the command show it: of reviewers together, never of one."""
    found = queries.agreement_of(tool, said)
    return {
        "tool": tool.slug,
        "window": f"{days}d",
        "n": found.alpha.estimate.n,
        "opinions": found.opinions,
        "alpha": {**found.alpha.as_answer(), "definition": DEFINITION},
        "categories": [
            {"category": name, **one.as_answer()} for name, one in found.categories.items()
        ],
        "reviewer_error": {**reviewer_error(said).as_answer(), "definition": ERROR_DEFINITION},
    }
