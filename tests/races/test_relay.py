"""Relays: what one of them had in hand when it was killed goes out soon by another."""

from collections.abc import Callable

from services.kit.consuming.outbox import Relay
from tests.conservation.small import small_house
from tests.house import output, rows

_WAITS = """
SELECT extract(epoch FROM max(claimed_until) - clock_timestamp()) FROM outbox WHERE sent_at IS NULL
"""


def test_claims_of_a_killed_relay_end_within_twenty_seconds(
    fresh_database: Callable[[], str],
) -> None:
    """Consumption has to be back by then, and what waits in the outbox is part of it."""
    with small_house(fresh_database()) as house:
        house.say(output("o-1", confidence=0.2))
        house.settle()
        house.claim("olga@example.org", house.case("o-1"))
        assert Relay(house.database, house.log)._claim()  # and here it is killed
        assert 0 < rows(house.database, _WAITS)[0][0] < 15
