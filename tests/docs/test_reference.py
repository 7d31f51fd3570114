"""Everything that can be set, measured, sent or typed is documented, and links lead somewhere."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from secondlook import events

from services.people.rules import ALLOWED

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "metrics.md", "commands.md"])
def test_reference_says_what_the_code_has(name: str) -> None:
    made = _reference().DOCUMENTS[name]()
    assert (DOCS / name).read_text() == made, "run: python docs/make_reference.py"


def test_every_event_is_documented() -> None:
    text = (DOCS / "events.md").read_text()
    for type_, topic in events.TOPIC_OF.items():
        assert f"| `{type_}` | `{topic}` |" in text
    for topic in events.TOPICS:
        assert topic.name in text


def test_every_role_is_documented() -> None:
    text = (DOCS / "people" / "admin.md").read_text()
    for role in ALLOWED:
        assert f"| {role} |" in text


_DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("**/*.md")]


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", _DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(path: Path) -> None:
    known = {name for name, _ in _reference().each_command()}
    for line in re.findall(
        r"^(?:\.venv/bin/)?secondlook ([a-z][a-z -]*)", path.read_text(), re.MULTILINE
    ):
        words = line.split()
        found = any(" ".join(words[:n]) in known for n in (1, 2))
        assert found, line
