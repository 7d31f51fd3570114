"""Ways in, and what is left of them."""

from datetime import timedelta

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
    with database.transaction() as session:
        access.forget(session, before=now + timedelta(hours=2), limit=10)
    for table, left in (("sign_in", 1), ("sign_in_link", 1), ("personal_token", 1)):
        assert one(database, f"SELECT count(*) FROM {table}") == left
