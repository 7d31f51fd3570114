"""HTTP for numbers. None leaves without n, interval, method and window."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy.orm import Session

from services.insight import queries
from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import NotFound
from services.people.fields import Named, Normalised
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.identity import Identity
from services.tools.rules import Version
from services.tools.versions import ToolVersion, all_versions


def router(database: Database, clock: Clock, identity: Identity) -> APIRouter:
    """The routes of insight."""
    api = APIRouter(prefix="/v1", tags=["insight"])

    @api.get("/rates")
    def get_rates(
        actor: Annotated[Actor, Depends(identity.may(Verb.READ_NUMBERS))],
        tool: Annotated[Named, Query(description="The tool's slug.")],
        model: Annotated[Normalised | None, Query(description="Of one version: its model.")] = None,
        prompt: Annotated[
            Normalised | None, Query(description="Of one version: its prompt.")
        ] = None,
        hours: Annotated[int, Query(ge=1, le=24 * 366, description="Window, in hours.")] = 28 * 24,
    ) -> dict[str, Any]:
        """Exception rate, override rate and coverage over the window that ends now."""
        with database.transaction() as session:
            info = tool_queries.tool_for(session, actor, tool)
            now, window = clock.now(session), timedelta(hours=hours)
            version = _version(session, tool, model, prompt)
            found = queries.rates(session, info, now=now, window=window, version=version)
        return {
            "tool": found.tool,
            "version": None if version is None else {"model": model, "prompt": prompt},
            "exception_rate": found.exception_rate.as_answer(),
            "override_rate": found.override_rate.as_answer(),
            "coverage": found.coverage.as_answer(),
        }

    return api


def _version(session: Session, tool: str, model: str | None, prompt: str | None) -> int | None:
    """The number of the version that is asked for, or None for all versions.

    Raises:
        NotFound: the tool was never seen at work under it.
    """
    if model is None and prompt is None:
        return None
    asked = ToolVersion(tool, Version(model, prompt))
    for number, known in all_versions(session).items():
        if known == asked:
            return number
    raise NotFound(f"'{tool}' has no version {asked.version.label}.")
