"""HTTP for leads who route cases."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from services.escalation.bodies import Body
from services.escalation.reapply import reapply
from services.escalation.routing import Policy
from services.kit.clock import Clock
from services.kit.database import Database
from services.people.rules import Actor, Verb
from services.tools.identity import Identity


class ReapplyBody(Body):
    """Whether to act, or merely to say what that would do."""

    dry_run: bool
    also_reassigned: bool = False
    """Cases, too, whose owner somebody chose by hand."""


def router(database: Database, clock: Clock, policy: Policy, identity: Identity) -> APIRouter:
    """The routes of routing."""
    api = APIRouter(prefix="/v1/routing", tags=["escalation"])
    lead = identity.may(Verb.ROUTE_CASES)

    @api.post("/reapply")
    def reapply_policy(actor: Annotated[Actor, Depends(lead)], body: ReapplyBody) -> dict[str, Any]:
        """Route the open cases of your teams anew by the policy in force; asked again, it goes on.

        Admins route those of all teams.
        """
        found = reapply(
            database,
            clock,
            policy,
            actor=actor,
            also_reassigned=body.also_reassigned,
            dry_run=body.dry_run,
        )
        return found.as_answer()

    return api
