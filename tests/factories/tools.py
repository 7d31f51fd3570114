"""The tools of all tests: one of our team, one of each kind, an audited one, a foreign one."""

from typing import Any

from sqlalchemy.orm import Session

from services.kit.clock import DatabaseClock
from services.tools import keys as tool_keys
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests.factories.people import OPERATOR, OTHER_TEAM, TEAM

TOOL, TEXT, FLAG, FIELDS = "categoriser", "drafter", "alarm", "reader"
AUDITED, FOREIGN = "audited", "foreign"
CATEGORIES = ["billing", "refund", "tax"]
VIPS = [{"id": "vip", "when": {"attributes.vip": "yes"}}]
"""Under which a person must look, whatever the confidence."""
KINDS = {TEXT: OutputKind.TEXT, FLAG: OutputKind.FLAG, FIELDS: OutputKind.FIELDS}
VALUES: dict[str, Any] = {
    TOOL: "billing",
    TEXT: "Dear customer,\r\n\r\nwe refunded you.",
    FLAG: True,
    FIELDS: {"number": {"value": "A-17"}, "total": {"value": 128.5, "confidence": 0.6}},
    AUDITED: "billing",
    FOREIGN: "billing",
}
"""What each of them answers where a test does not say."""


def add_tool(
    session: Session,
    slug: str = TOOL,
    *,
    kind: OutputKind | None = None,
    team: str = TEAM,
    **given: Any,
) -> None:
    """A tool whose outputs mature at once; its kind is that of `KINDS`, else `category`."""
    kind = kind or KINDS.get(slug, OutputKind.CATEGORY)
    categories = CATEGORIES if kind is OutputKind.CATEGORY else ()
    defaults = {
        "categories": categories,
        "threshold": 0.7,
        "maturity_seconds": 0,
        "review_when": VIPS,
    }
    now = DatabaseClock().now(session)
    tool_service.add_tool(
        session, slug, kind=kind, team=team, actor=OPERATOR, now=now, **{**defaults, **given}
    )


def add_every_tool(session: Session) -> None:
    """All of them but the first."""
    for slug in KINDS:
        add_tool(session, slug)
    add_tool(session, AUDITED, audit_rate=1.0)
    add_tool(session, FOREIGN, team=OTHER_TEAM)


def tool_key(session: Session, slug: str = TOOL) -> str:
    """A fresh key of a tool."""
    return tool_keys.create_key(session, slug, actor=OPERATOR, now=DatabaseClock().now(session))
