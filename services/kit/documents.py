"""Documents that people write by hand, in YAML: what is wrong with one is said with its line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from services.kit.errors import InvalidInput, Problem
from services.kit.strict_yaml import StrictLoader

Model = TypeVar("Model", bound=BaseModel)
Words = tuple[str, str]
"""What is wrong, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping that was read from YAML, and where its parts stand."""

    title: str
    """What it is, as in "The routing policy"."""
    data: Mapping[str, Any]
    node: yaml.Node | None

    def line(self, place: Sequence[Any]) -> int:
        """The line of what stands at a place, or of what comes nearest to it; the first is 1."""
        line, node = 1, self.node
        for step in place:
            found = _below(node, step)
            if found is None:
                break
            at, node = found
            line = at.start_mark.line + 1
        return line


def read(text: str, title: str, *, begin_with: str) -> Document:
    """Read a document.

    Args:
        text: the YAML.
        title: what it is.
        begin_with: how such a document begins, for whoever wrote something else.

    Raises:
        InvalidInput: it is no YAML, or no mapping.
    """
    try:
        data = yaml.load(text, StrictLoader)  # noqa: S506 - it is a SafeLoader
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "it cannot be read"
        hint = "Check keys, indentation and quotes there."
        found = Problem(place, f"it is no YAML: {said}", hint)
        raise InvalidInput(f"{title} is no YAML ({place}): {said}.", problems=(found,)) from None
    if not isinstance(data, dict):
        found = Problem("/", "it is no mapping", f"Begin with {begin_with}.")
        raise InvalidInput(f"{title} is no mapping.", problems=(found,))
    return Document(title, data, node)


def _below(node: yaml.Node | None, step: Any) -> tuple[yaml.Node, yaml.Node] | None:
    """The node one step further down, after the one that says where it is: its key, or itself."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == str(step):
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def wrong(problem: str, hint: str, *at: str | int) -> PydanticCustomError:
    """The error of a model's validator for what stands at a place below it."""
    given = {"problem": problem, "hint": hint, "at": at}
    return PydanticCustomError("document", "{problem}", given)


def _no_words(_item: Mapping[str, Any]) -> Words | None:
    return None


def _no_name(_place: Sequence[Any], _data: Mapping[str, Any]) -> str:
    return ""


def checked(
    document: Document,
    model: type[Model],
    *,
    explained_in: str,
    words: Callable[[Mapping[str, Any]], Words | None] = _no_words,
    name: Callable[[Sequence[Any], Mapping[str, Any]], str] = _no_name,
) -> Model:
    """What a document says, as a `model`.

    Args:
        document: what was read.
        model: what it must be.
        explained_in: the page of the docs that shows a whole one.
        words: what is wrong by an error of pydantic's, where a model has words of its own for it.
        name: what the author calls the part of the document that a place is in.

    Raises:
        InvalidInput: it is no such thing; every problem names its place, its line and a hint.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False):
            place = [*item["loc"], *item.get("ctx", {}).get("at", ())]
            problem, hint = words(item) or _words(item, explained_in)
            said = f"line {document.line(place)}: {name(place, document.data)}{problem}"
            problems.append(Problem("".join(f"/{step}" for step in place) or "/", said, hint))
    detail = "; ".join(f"{p.pointer}: {p.problem}" for p in problems)
    raise InvalidInput(f"{document.title}: {detail}", problems=tuple(problems))


def _words(item: Mapping[str, Any], explained_in: str) -> Words:
    if "hint" in item.get("ctx", {}):
        return item["ctx"]["problem"], item["ctx"]["hint"]
    if item["type"] == "extra_forbidden":
        return f"'{str(item['loc'][-1])[:40]}' is no key here", "Check its spelling."
    if item["type"] == "missing":
        return "it is missing", f"Add it; {explained_in} shows a whole one."
    if item["type"] == "string_pattern_mismatch":
        return (
            f"'{str(item['input'])[:70]}' is no slug",
            "Use 1 to 63 lower-case letters, digits and hyphens, a letter or digit first.",
        )
    return item["msg"].removeprefix("Value error, "), f"{explained_in} says what stands here."
