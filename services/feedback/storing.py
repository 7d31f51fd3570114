"""How a batch of rows gets into a table, each event once: one statement for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import TextClause, TextualSelect, text
from sqlalchemy.orm import Session

from services.feedback.rows import Key, Row, StoreResult
from services.kit.database import selecting

Columns = Mapping[str, str]
"""Names of columns, each with its type in PostgreSQL."""

KEY_COLUMNS = {"tool": "text", "output_id": "text"}
IDENTITY_COLUMNS = {
    "position": "bigint",
    **KEY_COLUMNS,
    "event_id": "text",
    "digest": "text",
}


def recordset(columns: Columns) -> str:
    """The batch, the parameter `rows`, as a table `g`: one document, however many rows."""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(CAST(:rows AS json)) AS g({listed})"


def picked(columns: Iterable[str]) -> str:
    """The batch's columns as a select list; digests travel as hexadecimal digits."""
    return ", ".join(f"decode(g.{c}, 'hex')" if c == "digest" else f"g.{c}" for c in columns)


def as_json(rows: Iterable[Any]) -> str:
    """The batch as one document; what is absent becomes NULL, in columns and in contracts."""
    return to_json(list(rows), exclude_none=True).decode()


def keys_json(keys: Iterable[Key]) -> str:
    """Outputs' names as one document."""
    return as_json(key._asdict() for key in keys)


def insert_of(table: str, columns: Columns, key: Sequence[str]) -> TextualSelect:
    """An insert of the batch, in the key's order, that leaves known rows alone.

    Answers the keys of the new ones.
    """
    return selecting(
        f"""
INSERT INTO {table} ({", ".join(columns)}, recorded_at)
SELECT {picked(columns)}, :now FROM {recordset(columns)} ORDER BY {", ".join(key)}
ON CONFLICT DO NOTHING RETURNING {", ".join(key)}
""",
        key,
    )


_Name = tuple[str, str, str]


def first_bearers(rows: Sequence[Row], identities: tuple[str, ...]) -> tuple[list[Row], list[Row]]:
    """The rows that share no id with one before them in the batch, and all the others."""
    first: list[Row] = []
    others: list[Row] = []
    seen: set[_Name] = set()
    for row in rows:
        names = _names(row, identities)
        (first if seen.isdisjoint(names) else others).append(row)
        seen.update(names)
    return first, others


def sift(rows: Sequence[Row], identities: tuple[str, ...], result: StoreResult[Row]) -> list[Row]:
    """Of rows that the database knows nothing of: answer those to store, file the others."""
    fresh = []
    taken: dict[_Name, Row] = {}
    for row in rows:
        names = _names(row, identities)
        earlier = [taken[name] for name in names if name in taken]
        if not earlier:
            taken.update(dict.fromkeys(names, row))
            fresh.append(row)
        else:
            is_same = all(_is_same(row, other) for other in earlier)
            (result.duplicates if is_same else result.conflicts).append(row)
    return fresh


def _names(row: Row, identities: tuple[str, ...]) -> list[_Name]:
    return [(identity, row["tool"], str(row[identity])) for identity in identities]  # type: ignore[literal-required]


def _is_same(row: Row, other: Row) -> bool:
    """Whether two rows are one payload: same digest, about the same output."""
    return row["digest"] == other["digest"] and row["output_id"] == other["output_id"]


def store_events(
    session: Session,
    rows: Sequence[Row],
    insert: TextualSelect,
    known: TextClause,
    *,
    now: datetime,
) -> StoreResult[Row]:
    """Store the rows of events that have no other id than the event's own."""
    result: StoreResult[Row] = StoreResult()
    fresh, repeated = first_bearers(rows, ("event_id",))
    if fresh:
        answered = session.execute(insert, {"rows": as_json(fresh), "now": now})
        stored = {(row.tool, row.event_id) for row in answered}
        result.stored = [row for row in fresh if (row["tool"], row["event_id"]) in stored]
        rest = [row for row in fresh if (row["tool"], row["event_id"]) not in stored]
        result.conflicts += file_known(session, known, rest + repeated, result)
    return result


def known_events(table: str) -> TextClause:
    """Which events of the batch the table holds, and whether with the same payload."""
    return text(f"""
SELECT g.position, k.output_id = g.output_id AND k.digest = decode(g.digest, 'hex') AS same
FROM {recordset(IDENTITY_COLUMNS)} JOIN {table} k ON k.tool = g.tool AND k.event_id = g.event_id
""")


def file_known(
    session: Session, known: TextClause, rows: Sequence[Row], result: StoreResult[Row]
) -> list[Row]:
    """File rows that the database has already as duplicates or as conflicts; answers the others."""
    if not rows:
        return []
    wanted = ("tool", "output_id", "event_id", "digest")
    asked = [
        {"position": position, **{name: row[name] for name in wanted}}  # type: ignore[literal-required]
        for position, row in enumerate(rows)
    ]
    same = {row.position: row.same for row in session.execute(known, {"rows": as_json(asked)})}
    for position, is_same in same.items():
        (result.duplicates if is_same else result.conflicts).append(rows[position])
    return [row for position, row in enumerate(rows) if position not in same]
