"""The short form of `python -m tests.engines`."""

from collections.abc import Callable

from tests.engines.campaign import campaign


def test_every_timer_fires_once_whatever_happens_to_engines_and_clocks(
    fresh_database: Callable[[], str],
) -> None:
    with campaign(fresh_database(), size=160, freeze=2.0, changes=1, every=0.2) as opened:
        found = opened.run()
    assert (found.missed, found.doubled, found.displaced) == (0, 0, 0)
    assert found.timers >= 160
