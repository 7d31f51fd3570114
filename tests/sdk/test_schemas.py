"""The published contracts are up to date, sound, and agree with what the code takes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from secondlook import events, schemas
from secondlook.testing import NOON, POISON, TOOL, Poison, a_correction, an_output

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "docs" / "contracts"
OUTPUT_TYPE = "secondlook.output.recorded.v1"

# What JSON Schema can't say, or what json.loads forgives and our parser does not.
BEYOND_SCHEMA = {
    "output id of 202 bytes in 101 characters",
    "output id of white space",
    "output id a byte-order mark",
    "category of white space",
    "input text over 64 KiB in bytes",
    "subject of another output",
    "time on 30 February",
    "time before the year 1 in UTC",
    "time after the year 9999 in UTC",
    "lone high surrogate",
    "lone low surrogate",
    "surrogates the wrong way round",
}


def published(name: str) -> dict[str, Any]:
    found = json.loads((CONTRACTS / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_the_published_contracts_are_up_to_date() -> None:
    made = {path: schemas.text_of(document) for path, document in schemas.documents().items()}
    kept = {
        path.relative_to(CONTRACTS).as_posix(): path.read_text(encoding="utf-8")
        for path in CONTRACTS.rglob("*.json")
    }
    assert kept == made, "run: python -m secondlook.schemas docs/contracts"


def test_every_schema_is_a_schema() -> None:
    for path in (CONTRACTS / "schemas").glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(published(path.stem))


def test_every_event_is_in_the_asyncapi_document_and_every_reference_leads_somewhere() -> None:
    document = schemas.asyncapi()
    for reference in _references(document):
        if reference.startswith("#/"):
            found: Any = document
            for step in reference[2:].split("/"):
                found = found[step]
        else:
            assert (CONTRACTS / reference).is_file()
    carried = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert len(carried) == len(get_args(events.AnyEvent))
    assert {c["address"] for c in document["channels"].values()} == {t.name for t in events.TOPICS}


# An implementation of JSON Schema in Python looks at every entry, and takes half a minute.
TOO_SLOW = {"250,000 alternatives that are none"}

COMPARED = [
    poison
    for poison in POISON
    if not poison.headers
    and poison.expected != "unknown_type"
    and poison.name not in BEYOND_SCHEMA | TOO_SLOW
    and len(poison.raw) <= events.EVENT_BYTES
]


@pytest.mark.parametrize("poison", COMPARED, ids=lambda poison: poison.name)
def test_schema_and_code_agree(poison: Poison) -> None:
    assert _fits_schema(poison.raw) == (poison.expected == "valid-but-tricky")


def _fits_schema(raw: bytes) -> bool:
    try:
        found = json.loads(raw.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    is_correction = isinstance(found, dict) and "correction" in str(found.get("type"))
    name = "secondlook.correction.recorded.v1" if is_correction else OUTPUT_TYPE
    return jsonschema.Draft202012Validator(published(name)).is_valid(found)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("category", "refund"),
        ("text", ""),
        ("flag", False),
        ("fields", {"a": {"value": 1, "confidence": 1}, "b": {"value": 1.5}, "c": {"value": "x"}}),
    ],
)
def test_every_kind_of_output_fits_the_schemas(kind: Any, value: Any) -> None:
    output = an_output(kind=kind, value=value, alternatives=[{"value": value}])
    event = events.output_recorded(TOOL, output, time=NOON)
    jsonschema.validate(json.loads(events.encode(event)), published(OUTPUT_TYPE))
    jsonschema.validate(json.loads(output.model_dump_json()), published("output"))


def test_corrections_fit_the_schema() -> None:
    for correction in (a_correction(), a_correction(kind="dispute"), a_correction(value={"a": 1})):
        body = json.loads(correction.model_dump_json())
        jsonschema.validate(body, published("correction"))


def test_the_command_writes_them_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "secondlook.schemas"]
    assert subprocess.run([*command, str(tmp_path)]).returncode == 0
    assert (tmp_path / "asyncapi.json").is_file()
    wrong = subprocess.run(command, capture_output=True)
    assert wrong.returncode == 2
    assert b"usage" in wrong.stderr


def _references(document: Any) -> list[str]:
    if isinstance(document, list):
        return [found for one in document for found in _references(one)]
    if not isinstance(document, dict):
        return []
    own = [document["$ref"]] if "$ref" in document else []
    return own + [found for one in document.values() for found in _references(one)]
