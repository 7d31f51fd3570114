"""Of what is due to a person one mail is made, whoever else gathers meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import text

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.notifications import mailing
from tests.factories import OWNER, TEAMMATE, rows

MANY = """
INSERT INTO notification (person, what, line, dedupe_key, mail_at)
SELECT person, 'opened', 'A line.', 'n-' || n, now() - interval '1 min'
FROM generate_series(1, 20000) AS n, unnest(CAST(:people AS text[])) AS person
"""


def gather(database: Database, together: Barrier) -> int:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        together.wait()
        return mailing.gather(session, now=now)


def test_two_who_gather_at_once_make_each_person_one_mail(database: Database) -> None:
    people = [OWNER, TEAMMATE]
    with database.transaction() as session:
        session.execute(text(MANY), {"people": people})
    together = Barrier(2)
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(gather, database, together) for _ in range(2)]:
            done.result()
    made = rows(database, "SELECT destination FROM delivery ORDER BY destination")
    assert [row.destination for row in made] == people
    assert rows(database, "SELECT FROM notification WHERE mail_at IS NOT NULL") == []
