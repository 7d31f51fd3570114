"""Clauses about the facts of an output: what gate conditions and routing rules are made of. Pure.

`when` maps facts to clauses, and holds where every clause does:

    {"tool": "ticket-*", "confidence": {"lt": 0.5}, "attributes.plan": ["gold", "platinum"]}

A text is a pattern in which `*` alone is special (any characters, none included); a list holds
where any of its entries does; `lt`, `le`, `gt` and `ge` bound a number. An attribute is a text,
and is compared as a number where it is one. A confidence that is not there counts as lower than
any. A fact that is not there fulfils no clause else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from secondlook._problems import show
from secondlook._values import KINDS, TOOL_ERROR_KINDS, Strict, as_number
from secondlook.text import NAME_LENGTH, SHORT_LENGTH, normalised, storable

CLAUSES = 20
"""The most clauses of one condition."""
CHOICES = 200
"""The most entries of a list in a clause."""
UNVERSIONED = "unversioned"
ATTRIBUTE = "attributes."
"""What the name of a fact begins with that is an attribute of the output."""

Facts = Mapping[str, Any]
"""What is known of an output or a case, by the names that clauses use."""


@dataclass(frozen=True, slots=True)
class FactType:
    """What can be said about a fact: its kind, and the words it may be where they are few."""

    kind: Literal["text", "share", "flag"]
    words: tuple[str, ...] = ()


FACTS: Mapping[str, FactType] = MappingProxyType(
    {
        "tool": FactType("text"),
        "kind": FactType("text", KINDS),
        "confidence": FactType("share"),
        "version": FactType("text"),
        "version.model": FactType("text"),
        "version.prompt": FactType("text"),
        "language": FactType("text"),
        "cohort": FactType("text"),
        "failure": FactType("text", TOOL_ERROR_KINDS),
        "predicted.category": FactType("text"),
        "predicted.flag": FactType("flag"),
    }
)
"""The facts of an output alone; an attribute `x` is the fact `attributes.x`."""


class Comparison(Strict):
    """Bounds for a number."""

    lt: float | None = None
    le: float | None = None
    gt: float | None = None
    ge: float | None = None

    def __str__(self) -> str:
        """The bounds in words."""
        words = {"lt": "below", "le": "at most", "gt": "above", "ge": "at least"}
        return " and ".join(f"{words[name]} {bound:g}" for name, bound in _bounds(self))


Choice = str | bool | int | float
Clause = Choice | list[Choice] | Comparison


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with a clause."""

    fact: str
    problem: str
    hint: str


def refusals(when: Mapping[Any, Any], facts: Mapping[str, FactType] = FACTS) -> Iterator[Refusal]:
    """What is wrong with each clause: also what could never hold, or would always.

    Args:
        when: the clauses as they were read from JSON or YAML.
        facts: what clauses may be about, besides attributes.
    """
    if not when:
        yield Refusal("", "it has no clause, and so would always hold", "Name at least one fact.")
    if len(when) > CLAUSES:
        yield Refusal("", f"it has over {CLAUSES} clauses", f"Write at most {CLAUSES}.")
        return
    for fact, clause in when.items():
        found = _refusal(fact, clause, facts)
        if found:
            yield Refusal(str(fact)[:NAME_LENGTH], *found)


def checked(facts: Mapping[str, FactType]) -> Callable[[Any], Any]:
    """A validator that refuses clauses with the first of their `refusals`, and normalises texts.

    For `Annotated[dict[str, Clause], BeforeValidator(checked(facts))]`.
    """

    def check(when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        for found in refusals(when, facts):
            at = (found.fact,) if found.fact else ()
            given = {"problem": found.problem, "hint": found.hint, "fact": found.fact, "at": at}
            raise PydanticCustomError("clause", "{problem}", given)
        return {normalised(fact): _normal(clause) for fact, clause in when.items()}

    return check


When = Annotated[dict[str, Clause], BeforeValidator(checked(FACTS)), Field(max_length=CLAUSES)]
"""Clauses about the facts of an output alone."""


class Condition:
    """Clauses made ready to be asked often."""

    def __init__(self, when: Mapping[str, Clause]) -> None:
        """Take clauses that `refusals` has found nothing wrong with."""
        self._when = dict(when)
        self._tests = [(fact, _test(fact, clause)) for fact, clause in when.items()]
        # What holds for few and costs little is asked first: mostly nothing else need be asked.
        self._quickest_first = sorted(self._tests, key=lambda test: _cost(self._when[test[0]]))

    def holds(self, facts: Facts) -> bool:
        """Whether every clause holds."""
        # A plain loop takes half the time of a generator, and decisions wait for it.
        for fact, test in self._quickest_first:  # noqa: SIM110
            if not test(facts.get(fact)):
                return False
        return True

    def failed(self, facts: Facts) -> str | None:
        """The first clause that does not hold, in words; None where all do."""
        for fact, test in self._tests:
            if not test(facts.get(fact)):
                return f"{fact} is {show(facts.get(fact))}, not {_described(self._when[fact])}"
        return None


def facts_of(
    *,
    tool: str,
    kind: str | None = None,
    value: Any = None,
    confidence: float | None = None,
    model: str | None = None,
    prompt: str | None = None,
    language: str | None = None,
    cohort: str | None = None,
    failure: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The facts of an output, or of one that failed (`failure` is the kind of its error)."""
    facts = {
        "tool": tool,
        "kind": kind,
        "confidence": confidence,
        "version": version_label(model, prompt),
        "version.model": model,
        "version.prompt": prompt,
        "language": language,
        "cohort": cohort,
        "failure": failure,
    }
    if kind in ("category", "flag"):
        facts[f"predicted.{kind}"] = value
    for name, text in (attributes or {}).items():
        facts[ATTRIBUTE + name] = text
    return facts


def version_label(model: str | None, prompt: str | None) -> str:
    """A version for eyes: two different ones may have the same label, so nothing is kept by it."""
    if model and prompt:
        return f"{model}+{prompt}"
    return model or prompt or UNVERSIONED


# --- what is refused -----------------------------------------------------------------------


def _refusal(fact: Any, clause: Any, facts: Mapping[str, FactType]) -> tuple[str, str] | None:
    """The problem of a clause, and the hint."""
    is_attribute = isinstance(fact, str) and len(ATTRIBUTE) < len(fact) and _is_attribute(fact)
    if not is_attribute and fact not in facts:
        listed = ", ".join((*facts, f"{ATTRIBUTE}<name>"))
        return f"{show(str(fact))} is no fact that is known here", f"Use {listed}."
    expected = FactType("text") if is_attribute else facts[fact]
    if isinstance(clause, dict | Comparison):
        return _refused_bounds(fact, clause, is_number=is_attribute or expected.kind == "share")
    choices = clause if isinstance(clause, list) else [clause]
    if not choices:
        return "the list is empty, and so would never hold", "Name at least one value."
    if len(choices) > CHOICES:
        return f"the list has over {CHOICES} entries", f"Name at most {CHOICES}."
    return next(filter(None, (_refused_choice(fact, one, expected) for one in choices)), None)


def _is_attribute(fact: str) -> bool:
    name = fact.removeprefix(ATTRIBUTE)
    return name != fact and len(normalised(name)) <= NAME_LENGTH and storable(name)


def _refused_choice(fact: str, choice: Any, expected: FactType) -> tuple[str, str] | None:
    if expected.kind == "share":
        return None if _is_share(choice) else _no_share(choice)
    if expected.kind == "flag":
        if isinstance(choice, bool):
            return None
        return f"{show(choice)} is neither true nor false", "Write true or false."
    # To YAML a bare yes is true, and a bare 2026 a number.
    if not isinstance(choice, str):
        return f"{show(choice)} is no text", 'Put it in quotes, as in "yes".'
    if len(choice) > SHORT_LENGTH or not storable(choice):
        return (
            f"{show(choice)} is no text that a fact can have",
            f"At most {SHORT_LENGTH} characters.",
        )
    if expected.words and not any(map(_pattern(normalised(choice)), expected.words)):
        return f"{show(choice)} is no {fact}", f"Use one of {', '.join(expected.words)}."
    return None


def _refused_bounds(
    fact: str, clause: Mapping[str, Any] | Comparison, *, is_number: bool
) -> tuple[str, str] | None:
    if not is_number:
        problem = f"{fact} is no number, so nothing is below or above it"
        return problem, "Write the value, or a list of values."
    given = clause.model_dump(exclude_none=True) if isinstance(clause, Comparison) else clause
    if not given or not given.keys() <= Comparison.model_fields.keys():
        return f"{fact} is compared by {show(', '.join(map(str, given)))}", "Use lt, le, gt and ge."
    for bound in given.values():
        if fact == "confidence" and not _is_share(bound):
            return _no_share(bound)
        if not _is_number(bound):
            return f"{show(bound)} is no number", "Write a number, not in quotes."
    if _is_void(given):
        return "no number lies within these bounds", "Check which is the lower one."
    return None


def _is_void(bounds: Mapping[str, float]) -> bool:
    low = max(bounds.get("gt", -inf), bounds.get("ge", -inf))
    high = min(bounds.get("lt", inf), bounds.get("le", inf))
    return low > high or (low == high and low in (bounds.get("gt"), bounds.get("lt")))


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) and as_number(value) is not None


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _no_share(value: Any) -> tuple[str, str]:
    return f"{show(value)} is not between 0 and 1", "A confidence is a share: write 0.7 for 70 %."


def _normal(clause: Any) -> Any:
    if isinstance(clause, list):
        return [_normal(one) for one in clause]
    return normalised(clause) if isinstance(clause, str) else clause


# --- what holds ----------------------------------------------------------------------------

Test = Callable[[Any], bool]


def _test(fact: str, clause: Clause) -> Test:
    if isinstance(clause, Comparison):
        return _bounds_test(clause, missing_is_low=fact == "confidence")
    if isinstance(clause, list):
        return _any_of(clause)
    if isinstance(clause, str):
        return _pattern(clause)
    if isinstance(clause, bool):
        return lambda value: value is clause
    return lambda value: _is_number(value) and bool(value == clause)


def _cost(clause: Clause) -> int:
    """Roughly how long a clause takes to ask."""
    if isinstance(clause, Comparison):
        return 3
    if isinstance(clause, list):
        return 1 + max(map(_cost, clause))
    return 2 if is_pattern(clause) else 0


def _any_of(choices: Sequence[Choice]) -> Test:
    """A test in as many steps as there are patterns with `*`, whatever else there is."""
    flags = frozenset(one for one in choices if isinstance(one, bool))
    # To a set, true is 1.
    exact = frozenset(one for one in choices if not isinstance(one, bool) and not is_pattern(one))
    patterns = [_pattern(one) for one in choices if isinstance(one, str) and is_pattern(one)]

    def any_of(value: Any) -> bool:
        if isinstance(value, bool):
            return value in flags
        if not isinstance(value, str):
            return _is_number(value) and value in exact
        if value in exact:
            return True
        # Plain loops take half the time of generators, and decisions wait for them.
        for matches in patterns:  # noqa: SIM110
            if matches(value):
                return True
        return False

    return any_of


def is_pattern(choice: Choice | Comparison) -> bool:
    """Whether it is a text in which a `*` stands for any characters."""
    return isinstance(choice, str) and "*" in choice


def _pattern(text: str) -> Test:
    """A test in linear time for a text in which `*` alone is special."""
    if "*" not in text:
        return lambda value: bool(value == text)
    first, *middle, last = text.split("*")

    def matches(value: Any) -> bool:
        if not isinstance(value, str) or not (value.startswith(first) and value.endswith(last)):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return at <= end

    return matches


def _bounds_test(bounds: Comparison, *, missing_is_low: bool) -> Test:
    if_missing = missing_is_low and bounds.gt is None and bounds.ge is None
    gt, ge = (-inf if one is None else one for one in (bounds.gt, bounds.ge))
    lt, le = (inf if one is None else one for one in (bounds.lt, bounds.le))

    def within(value: Any) -> bool:
        number = as_number(value)
        return if_missing if number is None else gt < number < lt and ge <= number <= le

    return within


# --- in words ------------------------------------------------------------------------------


def _bounds(comparison: Comparison) -> Iterator[tuple[str, float]]:
    for name in Comparison.model_fields:
        bound = getattr(comparison, name)
        if bound is not None:
            yield name, bound


def _described(clause: Clause) -> str:
    if isinstance(clause, Comparison):
        return str(clause)
    if isinstance(clause, list):
        shown = ", ".join(show(one) for one in clause[:5])
        return f"one of {shown}" + ", …" * (len(clause) > 5)
    return show(clause)
