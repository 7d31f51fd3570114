"""HTTP for numbers. None leaves without n, interval, method and window."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from services.insight import queries
from services.kit.clock import Clock
from services.kit.database import Database
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.identity import Identity


def router(database: Database, clock: Clock, identity: Identity) -> APIRouter:
    """The routes of insight."""
    api = APIRouter(prefix="/v1", tags=["insight"])

    @api.get("/rates")
    def get_rates(
        actor: Annotated[Actor, Depends(identity.may(Verb.READ_NUMBERS))],
        tool: Annotated[str, Query(description="The tool's slug.")],
        version: Annotated[str | None, Query(description="One version; all, if absent.")] = None,
        hours: Annotated[int, Query(ge=1, le=24 * 366, description="Window, in hours.")] = 28 * 24,
    ) -> dict[str, Any]:
        """Exception rate, override rate and coverage over the window that ends now."""
        with database.transaction() as session:
            info = tool_queries.tool_for(session, actor, tool)
            now, window = clock.now(session), timedelta(hours=hours)
            found = queries.rates(session, info, now=now, window=window, version=version)
        return {
            "tool": found.tool,
            "version": found.version,
            "exception_rate": found.exception_rate.as_answer(),
            "override_rate": found.override_rate.as_answer(),
            "coverage": found.coverage.as_answer(),
        }

    return api
