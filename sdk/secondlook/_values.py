"""The kinds of value that events and policies are made of.

Every text refuses U+0000 and lone surrogates: PostgreSQL's jsonb takes neither. The pattern does
both in one step, because matching needs the text as UTF-8. What people or machines compare (ids,
names, categories, values) is normalised as `text` says; what is only read (an input's text, a
note) stays as it was written.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
)
from pydantic.config import JsonDict, JsonValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from secondlook.text import ALTERNATIVES as ALTERNATIVES
from secondlook.text import (
    ATTRIBUTES,
    FIELDS,
    ID_BYTES,
    LINK_LENGTH,
    NAME_LENGTH,
    NOTE_LENGTH,
    SHORT_LENGTH,
    SLUG,
    TEXT_BYTES,
    actor_id,
    identifier,
    normalised,
)

T = TypeVar("T")

NO_NUL = r"^[^\u0000]*$"
WEB_LINK = r"^https?://[^\u0000-\u0020]+$"
LANGUAGE = r"^[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*$"
CURRENCY = r"^[A-Z]{3}$"
HEX_KEY = r"^(?:[0-9a-f]{2}){16,64}$"
TOOL_SOURCE = r"^/tools/[a-z0-9][a-z0-9-]{0,62}$"
JSON_TYPE = r"^application/json(?:[ \t]*;[^\u0000]*)?$"
EXTENSION_NAME = r"^[a-z0-9]{1,64}$"
RFC_3339 = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$"
)

SAFE_INTEGER = 2**53 - 1
DAY_SECONDS = 86_400

Kind = Literal["category", "text", "flag", "fields"]
Disposition = Literal["proceed", "review", "fallback", "stop"]
Trigger = Literal["low_confidence", "dispute", "tool_failure", "policy", "audit", "unmatched"]
WaitsFor = Literal["reviewer", "lead"]
Verdict = Literal["upheld", "corrected", "undecidable", "not_actionable"]
CorrectionKind = Literal["correction", "confirmation", "dispute", "appeal"]
Channel = Literal["helpdesk", "widget", "ui", "api", "email", "slack", "kafka"]
ToolState = Literal["live", "shadow", "fallback", "stopped"]
ToolErrorKind = Literal["timeout", "error", "refused", "invalid"]
SubjectKind = Literal["output", "incident"]
CaseState = Literal["open", "claimed", "waiting", "snoozed", "resolved", "closed", "merged"]
OwnerKind = Literal["person", "team"]

KINDS: tuple[Kind, ...] = get_args(Kind)
DISPOSITIONS: tuple[Disposition, ...] = get_args(Disposition)
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CORRECTION_KINDS: tuple[CorrectionKind, ...] = get_args(CorrectionKind)
CHANNELS: tuple[Channel, ...] = get_args(Channel)
TOOL_STATES: tuple[ToolState, ...] = get_args(ToolState)
TOOL_ERROR_KINDS: tuple[ToolErrorKind, ...] = get_args(ToolErrorKind)
CASE_STATES: tuple[CaseState, ...] = get_args(CaseState)


def wrong_at(rule: str, *at: str | int) -> PydanticCustomError:
    """A broken rule, with the place below the model that noticed it."""
    return PydanticCustomError(rule, "breaks the rule {rule}", {"rule": rule, "at": at})


def too_many_bytes(limit: int, *at: str | int) -> PydanticCustomError:
    """A text is too long when written as UTF-8."""
    return PydanticCustomError("too_many_bytes", "over {limit} bytes", {"limit": limit, "at": at})


# What follows is called for every text of every event. Most are ASCII, which has as many bytes
# as characters, and those have been counted before.


def _fits(value: str, most_bytes: int) -> str:
    # No character takes more than four bytes, so most texts need no encoding to be measured.
    if len(value) > most_bytes // 4 and len(value.encode()) > most_bytes:
        raise too_many_bytes(most_bytes)
    return value


def _fits_text(value: str) -> str:
    return value if value.isascii() else _fits(value, TEXT_BYTES)


def _normal_text(value: str) -> str:
    return value if value.isascii() else _fits(normalised(value), TEXT_BYTES)


def _within_id(clean: Callable[[str], str]) -> Callable[[str], str]:
    """Clean a name, of which something must be left, and hold it to the bytes of an id."""

    def apply(value: str) -> str:
        made = clean(value)
        if not made:
            raise PydanticKnownError("string_too_short", {"min_length": 1})
        return made if made.isascii() else _fits(made, ID_BYTES)

    return apply


def _normal(*, least: int = 0, most: int) -> Callable[[str], str]:
    """Normalise a text, which may make it longer or empty, and hold it to its characters."""

    def apply(value: str) -> str:
        if value.isascii():
            return value
        made = normalised(value)
        if len(made) < least:
            raise PydanticKnownError("string_too_short", {"min_length": least})
        if len(made) > most:
            raise PydanticKnownError("string_too_long", {"max_length": most})
        return made

    return apply


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise wrong_at("time_out_of_range") from None


class _Rfc3339:
    """A datetime that is aware in Python, RFC 3339 with an offset in JSON, and always UTC."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        aware = core_schema.datetime_schema(tz_constraint="aware", strict=False)
        # Without the pattern, pydantic reads "1700000000" as seconds since 1970.
        written = core_schema.str_schema(pattern=RFC_3339, max_length=64, strict=True)
        return core_schema.no_info_after_validator_function(
            _to_utc,
            core_schema.json_or_python_schema(
                json_schema=core_schema.chain_schema([written, aware]),
                python_schema=core_schema.datetime_schema(tz_constraint="aware", strict=True),
            ),
        )

    @staticmethod
    def __get_pydantic_json_schema__(
        _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "date-time", "pattern": RFC_3339}


class NullIsEmpty:
    """Takes null for an empty collection, and puts a map in the order of its names.

    With the order settled here, two maps of the same content are written as the same bytes.
    """

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        tidy = in_order if inner["type"] == "dict" else (lambda items: items or ())
        return core_schema.no_info_after_validator_function(
            tidy, core_schema.nullable_schema(inner)
        )


def in_order(map_: dict[str, T] | None) -> dict[str, T]:
    """The same map, sorted by name; none is an empty one."""
    return dict(sorted(map_.items())) if map_ else {}


class Strict(BaseModel):
    """A part of a contract: strict types, no unknown field, not changed once made."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        regex_engine="rust-regex",
        use_attribute_docstrings=True,
    )


Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_BYTES, pattern=NO_NUL),
    AfterValidator(_within_id(identifier)),
]
ActorId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=ID_BYTES, pattern=NO_NUL),
    AfterValidator(_within_id(actor_id)),
]
Category = Id
"""A category of a taxonomy or a policy."""
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=NAME_LENGTH, pattern=NO_NUL),
    AfterValidator(_normal(least=1, most=NAME_LENGTH)),
]
ShortText = Annotated[
    str,
    StringConstraints(max_length=SHORT_LENGTH, pattern=NO_NUL),
    AfterValidator(_normal(most=SHORT_LENGTH)),
]
Note = Annotated[str, StringConstraints(max_length=NOTE_LENGTH, pattern=NO_NUL)]
Text = Annotated[
    str, StringConstraints(max_length=TEXT_BYTES, pattern=NO_NUL), AfterValidator(_fits_text)
]
_ValueText = Annotated[
    str, StringConstraints(max_length=TEXT_BYTES, pattern=NO_NUL), AfterValidator(_normal_text)
]
WebLink = Annotated[str, StringConstraints(max_length=LINK_LENGTH, pattern=WEB_LINK)]
Language = Annotated[str, StringConstraints(max_length=35, pattern=LANGUAGE)]
Currency = Annotated[str, StringConstraints(pattern=CURRENCY)]
ToolSource = Annotated[str, StringConstraints(pattern=TOOL_SOURCE)]
JsonType = Annotated[str, StringConstraints(max_length=100, pattern=JSON_TYPE)]
ExtensionName = Annotated[str, StringConstraints(pattern=EXTENSION_NAME)]
Slug = Annotated[str, StringConstraints(pattern=SLUG)]
HexKey = Annotated[str, StringConstraints(pattern=HEX_KEY)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=SAFE_INTEGER)]
Seconds = Annotated[float, Field(ge=0, le=DAY_SECONDS)]
Milliseconds = Annotated[float, Field(ge=0, le=DAY_SECONDS * 1_000)]
Count = Annotated[int, Field(ge=0, le=SAFE_INTEGER)]
Timestamp = Annotated[datetime, _Rfc3339]
Attributes = Annotated[dict[Name, ShortText], Field(max_length=ATTRIBUTES), NullIsEmpty]


class FieldValue(Strict):
    """One extracted value of a `fields` output, with its own confidence where there is one."""

    value: "Scalar"
    confidence: Share | None = None


# Which member of a union a value is meant for. The names can't occur in an event, so that they
# are told from its own names when an error says where it is.
_TAGS: dict[type, str] = {
    str: "\0text",
    bool: "\0flag",
    int: "\0whole",
    float: "\0number",
    dict: "\0fields",
    type(None): "\0none",
}


def _shape(value: Any) -> str | None:
    tag = _TAGS.get(type(value))
    if tag is not None:
        return tag
    if isinstance(value, FieldValue):
        return "\0fields"
    return next((tag for base, tag in _TAGS.items() if isinstance(value, base)), None)


_TextShape = Annotated[_ValueText, Tag("\0text")]
_FlagShape = Annotated[bool, Tag("\0flag")]
_WholeShape = Annotated[int, Field(ge=-SAFE_INTEGER, le=SAFE_INTEGER), Tag("\0whole")]
_NumberShape = Annotated[float, Field(ge=-SAFE_INTEGER, le=SAFE_INTEGER), Tag("\0number")]

ExtensionValue = Annotated[
    Annotated[str, StringConstraints(max_length=1_024, pattern=NO_NUL), Tag("\0text")]
    | _FlagShape
    | _WholeShape
    | Annotated[None, Tag("\0none")],
    Discriminator(_shape),
]
Scalar = Annotated[_TextShape | _FlagShape | _WholeShape | _NumberShape, Discriminator(_shape)]
FieldValue.model_rebuild()


def _as_field(value: Any) -> FieldValue:
    return value if isinstance(value, FieldValue) else FieldValue(value=value)


Fields = Annotated[
    dict[Name, FieldValue],
    Field(max_length=FIELDS),
    AfterValidator(in_order),
    Tag("\0fields"),
]
_FieldOrScalar = Annotated[
    _TextShape | _FlagShape | _WholeShape | _NumberShape | Annotated[FieldValue, Tag("\0fields")],
    Discriminator(_shape),
    AfterValidator(_as_field),
]
CorrectedFields = Annotated[
    dict[Name, _FieldOrScalar],
    Field(max_length=FIELDS),
    AfterValidator(in_order),
    Tag("\0fields"),
]
Value = Annotated[_TextShape | _FlagShape | Fields, Discriminator(_shape)]
CorrectedValue = Annotated[_TextShape | _FlagShape | CorrectedFields, Discriminator(_shape)]

_SHAPES: dict[str, type] = {"category": str, "text": str, "flag": bool, "fields": dict}
_SHAPE_SCHEMAS: dict[Kind, JsonDict] = {
    "category": {"type": "string", "minLength": 1, "maxLength": ID_BYTES},
    "text": {"type": "string"},
    "flag": {"type": "boolean"},
    "fields": {"type": "object"},
}
VALUE_BY_KIND: list[JsonValue] = [
    {
        "if": {"properties": {"kind": {"const": kind}}},
        "then": {
            "properties": {
                "value": shape,
                "alternatives": {"items": {"properties": {"value": shape}}},
            }
        },
    }
    for kind, shape in _SHAPE_SCHEMAS.items()
]
"""What `shape_problem` checks, for the published schema."""


def shape_problem(kind: Kind, value: Any, *at: str | int) -> PydanticCustomError | None:
    """What is wrong with a value for this kind of output; its own limits are known to hold."""
    if not isinstance(value, _SHAPES[kind]):
        return wrong_at("shape_" + kind, *at)
    if kind != "category":
        return None
    category = str(value)
    if not category.strip():
        return wrong_at("empty_category", *at)
    if len(category) > ID_BYTES // 4 and len(category.encode()) > ID_BYTES:
        return too_many_bytes(ID_BYTES, *at)
    return None


def as_number(value: Any) -> float | None:
    """A number, or a text that is one, as attributes are; else None."""
    if isinstance(value, str):
        return _number_of(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _finite(value)


# A text may take microseconds to read, and many clauses ask for the same one. Twice as many are
# kept as an output has attributes.
@lru_cache(maxsize=2 * ATTRIBUTES)
def _number_of(text: str) -> float | None:
    return _finite(text)


def _finite(value: str | float) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
