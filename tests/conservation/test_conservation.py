"""The short campaigns: everything is killed once, on either log. `python -m tests.conservation`
runs the whole ones."""

import pytest

from tests.conftest import IN_CI
from tests.conservation.campaign import campaign
from tests.factories.broker import running_broker, why_no_kafka

SEED = 2_026_1121


@pytest.mark.slow
def test_conservation_on_the_embedded_log() -> None:
    report = campaign(size=2_000, kills=5, seed=SEED, pace=4)
    assert report.violations == [], report
    assert set(report.kills) == {"web", "feedback", "escalation", "tick", "postgres"}
    assert report.fired > 0
    assert report.verdicts > 0


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.xdist_group("conservation on kafka")
def test_conservation_on_kafka() -> None:
    """On a broker of its own: it is killed, and nobody else's records may be on it."""
    if (why := why_no_kafka()) is not None:
        assert not IN_CI, why
        pytest.skip(why)
    with running_broker(briefly=True) as broker:
        report = campaign(size=2_000, kills=6, seed=SEED, pace=2, broker=broker)
    assert report.violations == [], report
    assert report.kills["broker"] == 1
