"""Says in plain English what is wrong with an event, where, and what to do about it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from secondlook import _values, text

SHOWN = 80
MOST_PROBLEMS = 20
"""As many problems are told one by one; the others are counted."""
_MOST_LISTED = 5_000
"""Beyond this many, even to list what pydantic found takes longer than a record may cost."""

Place = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    pointer: str
    """Where: a JSON pointer (RFC 6901); empty means the whole."""
    problem: str
    """What is wrong, showing no more than 80 characters of the value."""
    hint: str
    """What to do about it."""

    def __str__(self) -> str:
        """One line: where, what, what to do about it."""
        return f"{self.pointer or 'the whole'}: {self.problem}. {self.hint}"


class InvalidEvent(ValueError):
    """The bytes are no event, or one that breaks a rule; `problems` says which, 20 at most.

    `more` counts those beyond.
    """

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        """Keep the first problems; the message joins them."""
        self.problems = list(problems[:MOST_PROBLEMS])
        self.more = more + len(problems) - len(self.problems)
        said = list(map(str, self.problems))
        super().__init__("; ".join([*said, f"and {self.more:,} more"] if self.more else said))


class UnknownEventType(ValueError):
    """A well-formed event of a type or version that this code does not know: park it."""

    def __init__(self, type_: str, pointer: str = "/type") -> None:
        """Keep the type and where it stands."""
        self.type = type_[:200]
        self.pointer = pointer
        super().__init__(f"{pointer}: the type {show(type_)} is not known here")


def pointer(place: Place) -> str:
    """The JSON pointer of a place, given as names and positions; fit to be logged and stored."""
    return "".join("/" + _printable(str(step)[:SHOWN]) for step in place)


def _printable(name: str) -> str:
    escaped = name.replace("~", "~0").replace("/", "~1")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in escaped)


def show(value: object) -> str:
    """A value as JSON, in printable ASCII and 80 characters at most."""
    if isinstance(value, str):
        value = value[:SHOWN]
    elif isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def invalid(place: Place, problem: str, hint: str) -> InvalidEvent:
    """An `InvalidEvent` with a single problem."""
    return InvalidEvent([Problem(pointer(place), problem, hint)])


def refusal(error: ValidationError, *, is_event: bool = False) -> InvalidEvent:
    """What pydantic found, in our words, each place once.

    Args:
        error: what pydantic raised.
        is_event: whether a whole event was read, in whose places pydantic names its type first.
    """
    if error.error_count() > _MOST_LISTED:
        problem = f"it breaks the contract in {error.error_count():,} places"
        return invalid((), problem, "Send what the published schema names, and nothing else.")
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        problem_ = _problem(detail, is_event=is_event)
        found.setdefault(problem_.pointer, problem_)
    return InvalidEvent(list(found.values()))


def unknown_type(error: ValidationError) -> str | None:
    """The type of an event where all that is wrong with it is that its type is not known here."""
    if error.error_count() != 1:
        return None
    (detail,) = error.errors(include_url=False)
    if detail["type"] != "union_tag_invalid" or detail["loc"]:
        return None
    type_ = detail["input"].get("type")
    return type_ if isinstance(type_, str) else None


def _problem(detail: ErrorDetails, *, is_event: bool) -> Problem:
    ctx = detail.get("ctx", {})
    loc = detail["loc"]
    place = [
        step for at, step in enumerate(loc) if not (_is_branch(step) or (is_event and at == 0))
    ]
    place += ctx.get("at", ())
    rule = detail["type"]
    given: object = detail["input"]
    if is_event and not loc and rule.startswith("union_tag"):
        rule = "missing" if rule == "union_tag_not_found" else "string_type"
        given = detail["input"].get("type")
        place.append("type")
    problem, hint = _WORDS.get(rule, ("{value} will not do", "Send another value."))
    if rule == "string_pattern_mismatch":
        problem, hint = _PATTERN_WORDS.get(ctx["pattern"], (problem, hint))
    words = {**ctx, "value": show(given), "name": show(str(place[-1]) if place else "")}
    return Problem(pointer(place), problem.format(**words), hint.format(**words))


def _is_branch(step: str | int) -> bool:
    """Whether pydantic put this step in a place for its own use."""
    return isinstance(step, str) and (step[:1] == "\0" or step == "[key]")


_NUMBER = "Send a number, not in quotes."
_VALUE = "Send a text, true or false, or an object of fields: as the kind asks for."
_TIME = "Send a time such as 2026-11-21T09:30:00Z: date, T, time, and Z or an offset."
_SHORTEN = "Shorten it."

_WORDS: dict[str, tuple[str, str]] = {
    "missing": ("it is missing", "Send {name}."),
    "extra_forbidden": ("{name} is not known here", "Take it out, or check its spelling."),
    "json_invalid": (
        "it is no valid JSON: {error}",
        "Send JSON in UTF-8, without a byte-order mark.",
    ),
    "string_type": ("{value} is no text", "Send a text in quotes."),
    "string_unicode": ("it holds half a surrogate pair", "Send well-formed Unicode."),
    "string_too_short": ("it is empty", "Send at least {min_length} character."),
    "string_too_long": ("it is over {max_length} characters long", _SHORTEN),
    "too_many_bytes": ("it is over {limit} bytes long as UTF-8", _SHORTEN),
    "float_type": ("{value} is no number", _NUMBER),
    "int_type": ("{value} is no whole number", "Send a whole number, not in quotes."),
    "int_from_float": ("{value} is no whole number", "Send a whole number."),
    "int_parsing_size": ("the number is too large", "Send it as a text."),
    "finite_number": ("it is no finite number", "Send a finite number, or leave it out."),
    "greater_than_equal": ("{value} is below {ge}", "Send {ge} or more."),
    "less_than_equal": ("{value} is above {le}", "Send {le} or less."),
    "bool_type": ("{value} is neither true nor false", "Send true or false, not in quotes."),
    "literal_error": ("{value} is none of the words allowed", "Send {expected}."),
    "dict_type": ("{value} is no object", "Send an object: names and values in braces."),
    "model_type": ("{value} is no object", "Send an object: names and values in braces."),
    "list_type": ("{value} is no list", "Send a list, in brackets."),
    "tuple_type": ("{value} is no list", "Send a list, in brackets."),
    "too_long": ("it has over {max_length} entries", "Send at most {max_length}."),
    "datetime_type": ("{value} is no time", _TIME),
    "datetime_parsing": ("{value} is no time that exists", _TIME),
    "datetime_from_date_parsing": ("{value} is no time that exists", _TIME),
    "timezone_aware": ("{value} has no offset from UTC", _TIME),
    "time_out_of_range": ("in UTC it lies outside the years 1 to 9999", _TIME),
    "union_tag_invalid": ("{value} is not of a shape that is taken here", _VALUE),
    "union_tag_not_found": ("{value} is not of a shape that is taken here", _VALUE),
    "shape_category": ("the kind is category, and its value is a text", "Send a category's name."),
    "shape_text": ("the kind is text, and its value is a text", "Send the text, in quotes."),
    "shape_flag": ("the kind is flag, and its value is true or false", "Send true or false."),
    "shape_fields": (
        "the kind is fields, and its value is an object",
        'Send an object such as {{"total": {{"value": "12.50", "confidence": 0.9}}}}.',
    ),
    "empty_category": ("a category can't be empty", "Send the category's name."),
    "clause": ("{problem}", "{hint}"),
    "twice": ("another one has the same id", "Give each an id of its own."),
    "value_missing": ("it is missing, and a correction needs it", "Send what should stand there."),
    "value_misplaced": (
        "only a correction has a value",
        'Leave it out, or send the kind "correction".',
    ),
    "other_subject": ("it differs from data.output_id", "Send the output_id, or leave it out."),
}

_PATTERN_WORDS: dict[str, tuple[str, str]] = {
    _values.NO_NUL: ("it holds the character U+0000", "Take that character out."),
    _values.RFC_3339: ("{value} is no RFC 3339 time with an offset", _TIME),
    text.SLUG: (
        "{value} is no slug",
        "Send 1 to 63 lower-case letters, digits and hyphens, with no hyphen first.",
    ),
    _values.WEB_LINK: ("{value} is no web address", "Send a link with http:// or https://."),
    _values.LANGUAGE: ("{value} is no language tag", "Send a tag such as de or pt-BR."),
    _values.CURRENCY: ("{value} is no currency code", "Send three capitals, such as EUR."),
    _values.HEX_KEY: ("it is no key", "Send 16 to 64 bytes as lower-case hexadecimal."),
    _values.TOOL_SOURCE: ("{value} names no tool", "Send /tools/ and the tool's slug."),
    _values.JSON_TYPE: ("{value} is no JSON", "Send application/json, or leave it out."),
    _values.EXTENSION_NAME: (
        "{name} is no name of an attribute",
        "Use lower-case letters and digits alone; the content of the event goes in data.",
    ),
}
