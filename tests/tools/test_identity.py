"""Who is calling: a key that is revoked is known for less than a second more."""

import asyncio

import pytest
from starlette.requests import Request

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import NotSignedIn
from services.tools import keys as tool_keys
from services.tools.identity import Identity
from tests.factories import TOOL, tool_key
from tests.factories.people import OPERATOR


def _asks(identity: Identity, key: str) -> str:
    headers = [(b"authorization", f"Bearer {key}".encode())]
    caller = asyncio.run(identity.tool(Request({"type": "http", "headers": headers})))
    return caller.tool.slug


def test_revoked_key_is_refused_within_a_second(populated: Database) -> None:
    seconds = 0.0
    identity = Identity(populated, ticks=lambda: seconds)
    with populated.transaction() as session:
        key = tool_key(session, TOOL)
    assert _asks(identity, key) == TOOL
    with populated.transaction() as session:
        now = DatabaseClock().now(session)
        tool_keys.revoke_key(session, key.split("_")[1], actor=OPERATOR, now=now)
    seconds = 1.0
    with pytest.raises(NotSignedIn):
        _asks(identity, key)
