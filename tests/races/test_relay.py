"""Relays: what one of them had in hand when it was killed goes out soon by another."""

import threading
from collections.abc import Callable
from dataclasses import replace

from secondlook import events

from services.app import roles as app_roles
from services.kit.consuming.outbox import Relay, enqueue
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import NewRecord
from tests.factories import OWNER, Casework, output, rows
from tests.factories.installation import open_resources
from tests.factories.pipeline import open_pipeline
from tests.waiting import until

_WAITS = """
SELECT extract(epoch FROM max(claimed_until) - clock_timestamp()) FROM outbox WHERE sent_at IS NULL
"""


def test_claims_of_a_killed_relay_end_within_twenty_seconds(
    fresh_database: Callable[[], str],
) -> None:
    """Consumption has to be back by then, and what waits in the outbox is part of it."""
    with open_pipeline(fresh_database()) as pipeline:
        pipeline.send(output("o-1", confidence=0.2))
        pipeline.settle()
        # As on Kafka: what is said waits in the outbox.
        elsewhere = Casework(Database(make_engine(pipeline.url)))
        elsewhere.claim(OWNER, pipeline.case("o-1"))
        assert Relay(pipeline.database, pipeline.log)._claim()  # and here it is killed
        elsewhere.database.close()
        assert 0 < rows(pipeline.database, _WAITS)[0][0] < 15


def test_relay_is_woken_by_the_commit(fresh_database: Callable[[], str]) -> None:
    """Also where it would look by itself only much later."""
    url = fresh_database()
    resources = open_resources(url)
    loops = app_roles.make_loops(resources)
    (loop,) = (replace(one, every=3_600.0) for one in loops if one.name == "relay")
    stopping = threading.Event()
    thread = threading.Thread(target=loop.run, args=(stopping,))
    thread.start()
    try:
        for turn in range(3):  # the first may be found when the relay begins
            _say(url, f"{turn}")
            until(lambda: not rows(resources.database, _WAITING))
    finally:
        stopping.set()
        thread.join()
        resources.close()


_WAITING = "SELECT FROM outbox WHERE sent_at IS NULL"


def _say(url: str, name: str) -> None:
    """Publish as on Kafka: into the outbox."""
    database = Database(make_engine(url))
    with database.transaction() as session:
        enqueue(session, [NewRecord(events.CASES, name.encode(), b"{}")])
    database.close()
