"""Who may do what, and what a tool can be. Pure: no database, no web framework."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.kit.errors import Problem


class OutputKind(StrEnum):
    """What a tool returns."""

    CATEGORY = "category"
    TEXT = "text"
    FLAG = "flag"
    FIELDS = "fields"


class ToolState(StrEnum):
    """What a tool may do just now."""

    LIVE = "live"
    SHADOW = "shadow"
    FALLBACK = "fallback"
    STOPPED = "stopped"


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
    JUDGE = "judge"
    TAKE_OVER = "take_over"
    READ_NUMBERS = "read_numbers"
    EXPORT = "export"
    SWITCH_TOOL = "switch_tool"
    MANAGE_TOOLS = "manage_tools"
    MANAGE_PEOPLE = "manage_people"
    READ_AUDIT = "read_audit"


_READ = {Verb.READ_OUTPUTS, Verb.READ_CASES, Verb.READ_NUMBERS}

ALLOWED: dict[Role, frozenset[Verb]] = {
    Role.REP: frozenset({Verb.READ_OUTPUTS, Verb.CORRECT}),
    Role.OWNER: frozenset(_READ | {Verb.CORRECT, Verb.JUDGE, Verb.SWITCH_TOOL}),
    Role.OPS: frozenset(_READ | {Verb.SWITCH_TOOL}),
    Role.LEAD: frozenset(_READ | {Verb.CORRECT, Verb.JUDGE, Verb.TAKE_OVER, Verb.EXPORT}),
    Role.ADMIN: frozenset(Verb),
    Role.AUDITOR: frozenset(_READ | {Verb.EXPORT, Verb.READ_AUDIT}),
}

# Roles that look after all teams.
EVERY_TEAM = frozenset({Role.ADMIN, Role.AUDITOR})

JUDGES = frozenset(role for role, verbs in ALLOWED.items() if Verb.JUDGE in verbs)


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

    def sees(self, team: str) -> bool:
        """Whether objects of `team` are in sight."""
        return self.sees_all_teams or team in self.teams


SYSTEM = "secondlook"
"""How timelines and audit entries name Secondlook itself."""


UNVERSIONED = "unversioned"


def version_label(model: str | None, prompt: str | None) -> str:
    """One name for a model and prompt: `model`, `model+prompt` or `unversioned`."""
    return "+".join(part for part in (model, prompt) if part) or UNVERSIONED


def same_value(one: Any, other: Any) -> bool:
    """Whether two values say the same.

    For `fields`, the extracted values count and their confidences do not; a field that a
    person left out was not changed.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return all(
            name in other and _equal(_plain(other[name]), _plain(said))
            for name, said in one.items()
        )
    return _equal(one, other)


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: to Python alone `true` is also 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _plain(field: Any) -> Any:
    """A field's value without its confidence."""
    return field["value"] if isinstance(field, dict) and "value" in field else field


def value_problem(
    kind: OutputKind, categories: Collection[str], value: Any, *, pointer: str
) -> Problem | None:
    """Why `value` cannot be the right value for an output of this kind, or None.

    `categories` are those that a category must be one of; empty allows any.
    """
    shapes: dict[OutputKind, tuple[type, str]] = {
        OutputKind.CATEGORY: (str, "a category's name"),
        OutputKind.TEXT: (str, "a text"),
        OutputKind.FLAG: (bool, "true or false"),
        OutputKind.FIELDS: (dict, "an object of fields"),
    }
    shape, words = shapes[kind]
    if not isinstance(value, shape):
        return Problem(pointer, f"it is not {words}", f"Send {words}; the tool returns {kind}.")
    if value == {} or (isinstance(value, str) and not value.strip()):
        return Problem(pointer, "it is empty", "Say what is right.")
    if (
        isinstance(value, str)
        and kind is OutputKind.CATEGORY
        and value not in (categories or [value])
    ):
        return Problem(
            pointer,
            f"'{value[:80]}' is no category of this tool",
            "Use one of the tool's categories, or add it to them first.",
        )
    return None
