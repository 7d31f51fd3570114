"""One word per concept: the rooms, the tables and the contracts use the same."""

from enum import StrEnum

import pytest
from secondlook import events

from services.escalation import rules as escalation
from services.feedback import rules as feedback
from services.insight import metrics
from services.kit.words import values
from services.registry import rules as registry


@pytest.mark.parametrize(
    ("ours", "contract"),
    [
        (feedback.Disposition, events.DISPOSITIONS),
        (feedback.CorrectionKind, events.CORRECTION_KINDS),
        (feedback.VerdictKind, events.VERDICT_WORDS),
        (escalation.VerdictKind, events.VERDICT_WORDS),
        (escalation.Trigger, events.TRIGGERS),
        (escalation.CaseState, events.CASE_STATES),
        (registry.OutputKind, events.KINDS),
        (registry.ToolState, events.TOOL_STATES),
    ],
)
def test_words_are_those_of_the_contracts(ours: type[StrEnum], contract: tuple[str, ...]) -> None:
    assert sorted(values(ours)) == sorted(contract)


def test_metrics_start_every_word_at_zero() -> None:
    assert set(metrics.DISPOSITIONS) == set(events.DISPOSITIONS)
    assert set(metrics.TRIGGERS) == set(events.TRIGGERS)
    assert set(metrics.CORRECTIONS) == set(events.CORRECTION_KINDS)
    assert set(metrics.VERDICTS) == set(events.VERDICT_WORDS)
