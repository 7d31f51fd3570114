"""The audit log: what was written verifies, what was changed shows."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit import audit
from tests.factories import NOON


def note(session: Session, **detail: Any) -> None:
    audit.record(session, at=NOON, actor="a", verb="v", object_kind="k", object_id="1", **detail)


@pytest.mark.parametrize(
    "value", [-0.0, 0.1, 1e22, 1e-7, 10**30, "\u00e9", None, True, [1, {"b": 2, "a": [None]}], {}]
)
def test_entry_verifies_whatever_it_says(value: Any, session: Session) -> None:
    note(session, value=value)
    note(session)
    session.expire_all()
    assert list(audit.verify(session)) == []


def test_changed_entry_shows(session: Session) -> None:
    note(session, value=1)
    note(session, value=2)
    session.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER USER"))
    session.execute(text("UPDATE audit_entry SET detail = '{\"value\": 3}' WHERE id = 1"))
    session.expire_all()
    assert [broken.entry for broken in audit.verify(session)] == [1]
