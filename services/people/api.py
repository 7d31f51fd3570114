"""HTTP for what is said of people: what they can do."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from services.kit.clock import Clock
from services.kit.database import Database
from services.people import skills
from services.people.fields import NamedActor
from services.people.rules import Actor

Manager = Callable[[Request], Actor]
"""Finds out who is calling, who has to be one who manages skills."""


class SkillsBody(BaseModel):
    """All that a person can do."""

    model_config = ConfigDict(extra="forbid")

    skills: Annotated[list[StrictStr], Field(max_length=skills.MOST)]


def router(database: Database, clock: Clock, manager: Manager) -> APIRouter:
    """The routes of people."""
    api = APIRouter(prefix="/v1/people", tags=["people"])
    caller: Any = Annotated[Actor, Depends(manager)]

    @api.get("/{email}/skills")
    def get_skills(email: NamedActor, actor: caller) -> dict[str, Any]:
        """What a person of the caller's teams can do; of anybody, for admins."""
        with database.transaction() as session:
            found = skills.skills_of(session, email, actor=actor)
        return {"person": email, "skills": found}

    @api.put("/{email}/skills")
    def put_skills(email: NamedActor, body: SkillsBody, actor: caller) -> dict[str, Any]:
        """Say it, instead of what was said before."""
        with database.transaction() as session:
            now = clock.now(session)
            skills.change_skills(session, email, skills=body.skills, actor=actor, now=now)
            found = skills.skills_of(session, email, actor=actor)
        return {"person": email, "skills": found}

    return api
