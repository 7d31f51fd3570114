"""How a batch of rows gets into a table, each event once: one statement for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.feedback.rows import Key, Row, StoreResult

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


def insert_of(table: str, columns: Columns, *, order: str, returning: str) -> TextClause:
    """An insert of the whole batch that leaves known rows alone and answers the new ones."""
    return text(f"""
INSERT INTO {table} ({", ".join(columns)}, recorded_at)
SELECT {picked(columns)}, :now FROM {recordset(columns)} ORDER BY {order}
ON CONFLICT DO NOTHING RETURNING {returning}
""")


def sift(rows: Sequence[Row], identities: tuple[str, ...], result: StoreResult[Row]) -> list[Row]:
    """Within the batch: answer the first bearer of each id, and file the others in `result`."""
    fresh = []
    first: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        names = [(identity, row["tool"], str(row[identity])) for identity in identities]  # type: ignore[literal-required]
        earlier = [first[name] for name in names if name in first]
        if not earlier:
            first.update((name, row) for name in names)
            fresh.append(row)
        elif all(_is_same(row, other) for other in earlier):
            result.duplicates.append(row)
        else:
            result.conflicts.append(row)
    return fresh


def _is_same(row: Row, other: Row) -> bool:
    """Whether two rows are one payload: same digest, about the same output."""
    return row["digest"] == other["digest"] and row["output_id"] == other["output_id"]


def file_known(
    session: Session, known: TextClause, rows: Sequence[Row], result: StoreResult[Row]
) -> None:
    """File rows that the database has already: as duplicates, or as conflicts."""
    if not rows:
        return
    wanted = ("tool", "output_id", "event_id", "digest")
    asked = [
        {"position": position, **{name: row[name] for name in wanted}}  # type: ignore[literal-required]
        for position, row in enumerate(rows)
    ]
    same = {row.position: row.same for row in session.execute(known, {"rows": as_json(asked)})}
    for position, row in enumerate(rows):
        (result.duplicates if same.get(position) else result.conflicts).append(row)
