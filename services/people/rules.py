"""Who may do what. Pure: no database, no web framework."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.kit.errors import NotAllowed


class Role(StrEnum):
    """What a person is here for."""

    REP = "rep"
    OWNER = "owner"
    OPS = "ops"
    LEAD = "lead"
    ADMIN = "admin"
    AUDITOR = "auditor"


class Verb(StrEnum):
    """Everything that a role can be allowed. What is not listed for a role is denied."""

    READ_OUTPUTS = "read_outputs"
    CORRECT = "correct"
    READ_CASES = "read_cases"
    REVIEW = "review"
    TAKE_OVER = "take_over"
    READ_NUMBERS = "read_numbers"
    EXPORT = "export"
    SWITCH_TOOL = "switch_tool"
    ROUTE_CASES = "route_cases"
    MANAGE_TOOLS = "manage_tools"
    MANAGE_PEOPLE = "manage_people"
    MANAGE_SKILLS = "manage_skills"
    READ_SCHEDULES = "read_schedules"
    MANAGE_SCHEDULES = "manage_schedules"
    READ_AUDIT = "read_audit"
    HANDLE_DEAD_LETTERS = "handle_dead_letters"


_READ = {Verb.READ_OUTPUTS, Verb.READ_CASES, Verb.READ_NUMBERS, Verb.READ_SCHEDULES}


ALLOWED: dict[Role, frozenset[Verb]] = {
    Role.REP: frozenset({Verb.READ_OUTPUTS, Verb.CORRECT}),
    Role.OWNER: frozenset(_READ | {Verb.CORRECT, Verb.REVIEW, Verb.SWITCH_TOOL}),
    Role.OPS: frozenset(_READ | {Verb.SWITCH_TOOL, Verb.HANDLE_DEAD_LETTERS}),
    Role.LEAD: frozenset(
        _READ
        | {Verb.CORRECT, Verb.REVIEW, Verb.TAKE_OVER, Verb.EXPORT}
        | {Verb.ROUTE_CASES, Verb.MANAGE_SCHEDULES, Verb.MANAGE_SKILLS}
    ),
    Role.ADMIN: frozenset(Verb),
    Role.AUDITOR: frozenset(_READ | {Verb.EXPORT, Verb.READ_AUDIT}),
}


# Roles that look after all teams.
EVERY_TEAM = frozenset({Role.ADMIN, Role.AUDITOR})


REVIEWERS = frozenset(role for role, verbs in ALLOWED.items() if Verb.REVIEW in verbs)


@dataclass(frozen=True, slots=True)
class Actor:
    """The authenticated person who does a verb."""

    email: str
    name: str
    role: Role
    teams: frozenset[str]

    @property
    def id(self) -> str:
        """How timelines, events and audit entries name this person."""
        return self.email

    @property
    def sees_all_teams(self) -> bool:
        """Whether objects of every team are in sight."""
        return self.role in EVERY_TEAM

    def may(self, verb: Verb) -> bool:
        """Whether the role allows `verb` on objects that are in sight."""
        return verb in ALLOWED[self.role]

    def require(self, verb: Verb, said: str | None = None) -> None:
        """Refuse what the role does not allow; `said` tells who may.

        Raises:
            NotAllowed: it does not.
        """
        if not self.may(verb):
            words = f"Your role, {self.role}, may not {verb.replace('_', ' ')}."
            raise NotAllowed(said or words)

    def sees(self, team: str) -> bool:
        """Whether objects of `team` are in sight."""
        return self.sees_all_teams or team in self.teams

    def sees_some(self, teams: Iterable[str]) -> bool:
        """Whether somebody of these teams is in sight."""
        return self.sees_all_teams or not self.teams.isdisjoint(teams)


SYSTEM = "secondlook"
"""How timelines and audit entries name Secondlook itself."""
