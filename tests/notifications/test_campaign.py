"""The short campaign; `python -m tests.notifications` runs the whole one."""

from collections.abc import Callable

import pytest

from tests.notifications.campaign import EACH_EVENT, PUSH_SERVICES, TAKEN_TWICE, installation

EVENTS = 8


@pytest.mark.slow
def test_everything_arrives_though_receivers_fail_and_senders_die(
    fresh_database: Callable[[], str], free_port: Callable[[], int]
) -> None:
    with installation(fresh_database(), free_port) as made:
        made.prepare(EVENTS * EACH_EVENT)
        report = made.run(3)
    assert report.violations == []
    assert (report.deliveries, report.sent) == (EVENTS * EACH_EVENT, EVENTS * (EACH_EVENT - 2))
    assert (report.pushed, report.forbidden) == (EVENTS * len(PUSH_SERVICES), EVENTS * 2)
    assert report.kills == 3
    # Each was taken before the line was cut, and came again under its id, the same as before.
    assert report.repeated >= EVENTS * TAKEN_TWICE
