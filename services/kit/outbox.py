"""Events written with the state that they speak of, and sent to the log afterwards."""

from collections.abc import Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.eventlog.headers import headers_to_json
from services.kit.eventlog.port import NewRecord

_ENQUEUE = text("""
INSERT INTO outbox (topic, key, value, headers)
SELECT topic, decode(key, 'hex'), decode(value, 'hex'), headers
FROM json_to_recordset(CAST(:rows AS json))
    AS g(position bigint, topic text, key text, value text, headers jsonb)
ORDER BY position
""")


def enqueue(session: Session, records: Sequence[NewRecord]) -> None:
    """Write records to be sent once this transaction is committed, in this order per key."""
    rows = [
        {
            "position": position,
            "topic": record.topic,
            "key": record.key.hex(),
            "value": record.value.hex(),
            "headers": headers_to_json(record.headers),
        }
        for position, record in enumerate(records)
    ]
    if rows:
        session.execute(_ENQUEUE, {"rows": to_json(rows, exclude_none=True).decode()})
