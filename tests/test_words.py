"""One word per concept: the packages, the tables and the contracts use the same."""

from enum import StrEnum

import pytest
from secondlook import events

from services.escalation import rules as escalation
from services.feedback import rules as feedback
from services.kit.columns import values
from services.tools import rules as tool_rules
from services.tools.rules import VerdictKind


@pytest.mark.parametrize(
    ("ours", "contract"),
    [
        (feedback.Disposition, events.DISPOSITIONS),
        (feedback.CorrectionKind, events.CORRECTION_KINDS),
        (VerdictKind, events.VERDICT_WORDS),
        (tool_rules.Trigger, events.TRIGGERS),
        (escalation.CaseState, events.CASE_STATES),
        (tool_rules.OutputKind, events.KINDS),
        (tool_rules.ToolState, events.TOOL_STATES),
    ],
)
def test_words_are_those_of_the_contracts(ours: type[StrEnum], contract: tuple[str, ...]) -> None:
    assert sorted(values(ours)) == sorted(contract)
