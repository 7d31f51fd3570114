"""Two people who name each other as stand-ins at the same moment."""

import threading
from datetime import UTC, datetime, timedelta

from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.people import absences
from tests.factories import OWNER, TEAMMATE, one
from tests.factories.people import OPERATOR

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TRIES = 20


def _at_once(database: Database, begin: datetime) -> list[str]:
    """Let each of two name the other; answers what became of it."""
    ready, became = threading.Barrier(2), list[str]()

    def go(person: str, stand_in: str) -> None:
        span = {"begin": begin, "end": begin + timedelta(hours=1), "now": NOW}
        try:
            with database.transaction() as session:
                ready.wait(10)
                absences.go_away(session, person, stand_in=stand_in, actor=OPERATOR, **span)
            became.append("away")
        except InvalidInput:
            became.append("refused")

    pairs = ((OWNER, TEAMMATE), (TEAMMATE, OWNER))
    threads = [threading.Thread(target=go, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return sorted(became)


def test_two_who_name_each_other_at_once_make_no_circle(populated: Database) -> None:
    """One of the two is refused in words; neither waits for the other for ever."""
    for number in range(TRIES):
        assert _at_once(populated, NOW + timedelta(days=number)) == ["away", "refused"]
    assert one(populated, "SELECT count(*) FROM absence") == TRIES
