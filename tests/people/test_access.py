"""Ways in, and what is left of them."""

from datetime import timedelta

from sqlalchemy import text

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.people import access
from tests.factories import OWNER, one, populate
from tests.factories.people import OPERATOR


def test_what_is_over_is_forgotten_and_nothing_else(database: Database) -> None:
    populate(database)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        for hours in (1, 100):
            length = timedelta(hours=hours)
            link = access.create_link(session, OWNER, actor=OPERATOR, now=now, length=length)
            access.use_link(session, link, now=now, length=length)
        access.create_token(session, OWNER, actor=OPERATOR, now=now)
        session.execute(text("INSERT INTO rate_bucket (name, tokens) VALUES ('x', 1)"))
    with database.transaction() as session:
        access.forget(session, before=now + timedelta(hours=2))
    for table, left in (("sign_in", 1), ("sign_in_link", 1), ("personal_token", 1)):
        assert one(database, f"SELECT count(*) FROM {table}") == left
    assert one(database, "SELECT count(*) FROM rate_bucket") == 0
