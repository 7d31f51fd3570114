"""Whom a routing policy makes accountable: the parts of a policy that name somebody. Pure."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from secondlook.text import SLUG

from services.escalation.assignment import Terms
from services.escalation.rules import AssignBy, Wanted, parse_address, parse_wanted
from services.kit.documents import wrong

MOST_SKILLS = 20
"""How many skills a rule asks for, at most."""


class Part(BaseModel):
    """A part of a policy: what is no key of it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


Slug = Annotated[str, Field(pattern=SLUG)]
Address = Annotated[str, AfterValidator(parse_address)]
Named = Annotated[Wanted, BeforeValidator(parse_wanted)]
"""Somebody by name, by duty, or as somebody's manager."""


def _listed(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise wrong("'skills' is no list of skills", "Write one at least, as in [refunds].")
    if len(value) > MOST_SKILLS:
        raise wrong(f"it has {len(value)} skills", f"Name {MOST_SKILLS} at most.")
    return value


Skills = Annotated[list[Slug], BeforeValidator(_listed)]


class Assign(Part):
    """How cases are given to people of the team, each of whom owns so many at most."""

    by: AssignBy
    max_open: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None


class OwnerChoice(Part):
    """A rule's owner: exactly one of a team, a person and a schedule."""

    team: Slug | None = None
    user: Address | None = None
    schedule: Slug | None = None
    skills: Skills | None = None
    """What whoever of the team is given a case can do."""

    @model_validator(mode="after")
    def _one(self) -> "OwnerChoice":
        if sum(one is not None for one in (self.team, self.user, self.schedule)) != 1:
            raise ValueError("name exactly one of team, user and schedule")
        if self.skills is not None and self.team is None:
            hint = "Name the team whose people are asked, or leave `skills` out."
            raise wrong("skills are asked of people of a team", hint, "skills")
        return self

    @cached_property
    def owner(self) -> Wanted:
        """The choice as who is wanted."""
        if self.team is not None:
            return Wanted("team", self.team)
        if self.schedule is not None:
            return Wanted("schedule", self.schedule)
        return Wanted("person", str(self.user))

    def terms(self, assign: Assign | None) -> Terms | None:
        """How cases are given to people; None where the owner is who is named."""
        if assign is None and self.skills is None:
            return None
        by = assign.by if assign is not None else AssignBy.LEAST_LOADED
        most = assign.max_open if assign is not None else None
        return Terms(by, most, frozenset(self.skills or ()))


def check_assign(owner: OwnerChoice, assign: Assign | None) -> None:
    """Refuse to give cases to people of no team."""
    if assign is not None and owner.team is None:
        hint = "Name a team as the owner, or leave `assign` out."
        raise wrong("cases are given to people of a team", hint, "assign")
