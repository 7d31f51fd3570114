"""Each package's SQL names its own tables alone; what is another's is read through its queries.

Statements are found where they are written: strings of the source, with the module's own
constants filled in, and every statement that a module holds ready.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import TextClause

from services.kit.database import Base

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(
    path.name for path in (ROOT / "services").iterdir() if (path / "__init__.py").exists()
)
for package in PACKAGES:
    if (ROOT / "services" / package / "models.py").exists():
        importlib.import_module(f"services.{package}.models")

OWNER_OF = {
    mapper.local_table.name: mapper.class_.__module__.split(".")[1]  # type: ignore[attr-defined]
    for mapper in Base.registry.mappers
}
"""The package of each table."""
MODELS = {
    (mapper.class_.__module__, mapper.class_.__name__): OWNER_OF[mapper.local_table.name]  # type: ignore[attr-defined]
    for mapper in Base.registry.mappers
}

_NAME = r'"?([a-z_]+)"?(?!\w)'
_ALIAS = r"(?:\s+(?:AS\s+)?[a-z_]\w*)?"
_TABLES = re.compile(
    r"(?<!DISTINCT )\b(?:FROM|JOIN|UPDATE|INTO|USING)\s+(?:ONLY\s+)?"
    rf"{_NAME}((?:{_ALIAS}\s*,\s*{_NAME})*)"
)


def tables_in(sql: str) -> set[str]:
    """The names that stand where a statement names tables; keywords are written in capitals."""
    plain = re.sub(r"--[^\n]*|'[^']*'", " ", sql)
    found = set()
    for match in _TABLES.finditer(plain):
        found.add(match[1])
        found.update(name for name in re.findall(rf",\s*{_NAME}", match[2]))
    return found & OWNER_OF.keys()


def modules_of(folder: Path) -> Iterator[tuple[ModuleType, ast.Module]]:
    """The modules below a folder, with what is written in them."""
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield importlib.import_module(name), ast.parse(path.read_text())


def statements_of(module: ModuleType, tree: ast.Module) -> Iterator[str]:
    """Everything in a module that may be SQL, or a part of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(_part(module, part) for part in node.values)
    for value in vars(module).values():
        if isinstance(value, TextClause):
            yield value.text


def _part(module: ModuleType, part: ast.expr) -> str:
    """A part of a formatted string: itself, the constant that it names, or nothing known."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    named = getattr(module, part.value.id, None) if isinstance(part.value, ast.Name) else None
    return named if isinstance(named, str) else " "


def foreign_models(tree: ast.Module, package: str) -> Iterator[str]:
    """The tables, as classes, that a module imports from another package."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        for alias in node.names:
            if alias.name == "models" and node.module != f"services.{package}":
                yield f"{node.module}.models"
            if MODELS.get((node.module, alias.name), package) != package:
                yield f"{node.module}.{alias.name}"


def folder_of(package: str) -> Path:
    """Where a package lies."""
    return ROOT / "ui" if package == "ui" else ROOT / "services" / package


@pytest.mark.parametrize("package", [*PACKAGES, "ui"])
def test_sql_names_the_package_s_own_tables_alone(package: str) -> None:
    foreign = [
        f"{module.__name__}: {table} is {OWNER_OF[table]}'s"
        for module, tree in modules_of(folder_of(package))
        for statement in statements_of(module, tree)
        for table in tables_in(statement)
        if OWNER_OF[table] != package
    ]
    assert sorted(set(foreign)) == []


@pytest.mark.parametrize("package", [*PACKAGES, "ui"])
def test_classes_of_tables_stay_in_their_package(package: str) -> None:
    found = {
        f"{module.__name__} imports {name}"
        for module, tree in modules_of(folder_of(package))
        for name in foreign_models(tree, package)
    }
    assert sorted(found) == []


@pytest.mark.parametrize("package", ["feedback", "escalation"])
def test_every_table_of_a_package_is_found(package: str) -> None:
    """Where they are not, nothing is held against the rule."""
    found = {
        table
        for module, tree in modules_of(folder_of(package))
        for statement in statements_of(module, tree)
        for table in tables_in(statement)
    }
    assert found == {table for table, owner in OWNER_OF.items() if owner == package}


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ('SELECT FROM "case" c LEFT JOIN case_output o ON o.case_id = c.id', "case case_output"),
        ("UPDATE output o SET x = 1 FROM unnest(:a) AS g WHERE o.tool = g.tool", "output"),
        ("INSERT INTO verdict (tool) SELECT tool FROM person", "verdict person"),
        ("DELETE FROM timer t USING team WHERE true", "timer team"),
        ("SELECT FROM output o, tool AS t, person WHERE true", "output tool person"),
        ("SELECT x IS DISTINCT FROM verdict, 'FROM team' -- FROM person", ""),
        ("SELECT FROM a FOR UPDATE OF c; ON CONFLICT DO UPDATE SET verdict = 1", ""),
    ],
)
def test_tables_are_found_where_a_statement_names_them(sql: str, tables: str) -> None:
    assert tables_in(sql) == set(tables.split())
