"""Publishes the contracts: JSON Schemas and an AsyncAPI 3 document.

`python -m secondlook.schemas DIR` writes them. What a schema can't say (the length of a text in
bytes, a date that does not exist, a subject that differs from the output) `events.decode` checks.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from secondlook.events import (
    DEAD_LETTERS,
    TOOL_EVENT_TYPES,
    TOPICS,
    AnyEvent,
    Correction,
    Event,
    Output,
    Topic,
)
from secondlook.gate import GatePolicy

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BODIES: dict[str, type[BaseModel]] = {
    "output": Output,
    "correction": Correction,
    "gate-policy": GatePolicy,
}
_WRONG_USAGE = 2

Document = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Says what the validators mean where pydantic's own schemas fall short of it."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Any of, not one of: a whole number is also a number."""
        made = super().tagged_union_schema(schema)
        return {"anyOf" if name == "oneOf" else name: value for name, value in made.items()}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """No name but such as fit the pattern."""
        made = super().dict_schema(schema)
        return {**made, "additionalProperties": False} if "patternProperties" in made else made

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: they only repeat the names."""
        return False


def documents() -> dict[str, Document]:
    """Every published document by its path below the folder of the contracts."""
    found = {f"schemas/{name}.json": _schema(model) for name, model in _BODIES.items()}
    for event in get_args(AnyEvent):
        found[f"schemas/{_name_of(event)}.json"] = _schema(event)
    return {**found, "asyncapi.json": asyncapi()}


def write(folder: Path) -> None:
    """Write every document, sorted and indented, so that a change shows in review."""
    for path, document in documents().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text_of(document), encoding="utf-8")


def text_of(document: Document) -> str:
    """A document as it is written."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def asyncapi() -> Document:
    """The AsyncAPI 3 document: topics, what they carry, and who sends and receives."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Secondlook",
            "version": "1.0.0",
            "description": (
                "Events are CloudEvents 1.0 in structured JSON; binary mode is taken too. The key "
                "of a record is `<tool>/<output_id>`, that of a change of a tool its slug."
            ),
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {_channel_name(topic): _channel(topic) for topic in TOPICS},
        "operations": {
            **{f"take-{_channel_name(t)}": _operation(t, "receive") for t in _from_tools()},
            **{f"send-{_channel_name(t)}": _operation(t, "send") for t in _from_us()},
        },
        "components": {"messages": {_name_of(e): _message(e) for e in get_args(AnyEvent)}},
    }


def _schema(model: type[BaseModel]) -> Document:
    return {"$schema": _DIALECT, **model.model_json_schema(schema_generator=_Generator)}


def _types_of(event: type[Event]) -> tuple[str, ...]:
    return get_args(event.model_fields["type"].annotation)


def _name_of(event: type[Event]) -> str:
    """The type of the event; for those of a case, which differ by a word only, without it."""
    types = _types_of(event)
    return types[0] if len(types) == 1 else "secondlook.case.v1"


def _channel_name(topic: Topic) -> str:
    return topic.name.removeprefix("secondlook.")


def _channel(topic: Topic) -> Document:
    names = {_name_of(e) for e in get_args(AnyEvent) if set(_types_of(e)) <= set(topic.types)}
    kafka: Document = {"partitions": topic.partitions, "bindingVersion": "0.5.0"}
    if topic.compacted:
        kafka["topicConfiguration"] = {"cleanup.policy": ["compact"]}
    return {
        "address": topic.name,
        "description": _DESCRIPTIONS[topic.name],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(names)},
        "bindings": {"kafka": kafka},
    }


def _message(event: type[Event]) -> Document:
    return {
        "name": _name_of(event),
        "summary": event.__doc__,
        "contentType": "application/cloudevents+json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./schemas/{_name_of(event)}.json"},
        },
    }


def _operation(topic: Topic, action: str) -> Document:
    return {"action": action, "channel": {"$ref": f"#/channels/{_channel_name(topic)}"}}


def _from_tools() -> list[Topic]:
    return [topic for topic in TOPICS if set(topic.types) & set(TOOL_EVENT_TYPES)]


def _from_us() -> list[Topic]:
    return [topic for topic in TOPICS if topic not in _from_tools()]


_DESCRIPTIONS = {
    "secondlook.outputs": "What tools returned, and where they returned nothing.",
    "secondlook.corrections": "What people say about outputs.",
    "secondlook.reviews": "Outputs that need a person, with all that is known of them.",
    "secondlook.cases": "What happened to cases.",
    "secondlook.verdicts": "Verdicts of reviewers.",
    "secondlook.tools": "The gate policy and state of each tool; the last one holds.",
    DEAD_LETTERS: "Records that could not be taken: the bytes as they came, the reason in headers.",
}


def main(arguments: Sequence[str]) -> int:
    """Write the contracts to the folder named; 0 done, 2 wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m secondlook.schemas DIR\n")
        return _WRONG_USAGE
    write(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
