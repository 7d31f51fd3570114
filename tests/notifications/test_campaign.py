"""The short campaign; `python -m tests.notifications` runs the whole one."""

from collections.abc import Callable

import pytest

from tests.notifications.campaign import EACH_EVENT, PUSH_SERVICES, installation


@pytest.mark.slow
def test_everything_arrives_though_receivers_fail_and_senders_die(
    fresh_database: Callable[[], str], free_port: Callable[[], int]
) -> None:
    with installation(fresh_database(), free_port) as made:
        made.prepare(112)
        report = made.run(3)
    assert report.violations == []
    events = 112 // EACH_EVENT
    assert (report.deliveries, report.sent) == (112, (EACH_EVENT - 2) * events)
    assert (report.pushed, report.forbidden) == (len(PUSH_SERVICES) * events, 2 * events)
    assert report.kills == 3
