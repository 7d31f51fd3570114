"""Relays: what one of them had in hand when it was killed goes out soon by another."""

from collections.abc import Callable

from services.kit.consuming.outbox import Relay
from services.kit.database import Database, make_engine
from tests.factories import OWNER, Casework, output, rows
from tests.factories.pipeline import open_pipeline

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
