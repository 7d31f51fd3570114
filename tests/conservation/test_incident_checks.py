"""The checker finds what is wrong with incidents and their parts."""

import pytest

from services.escalation import parts, service
from services.escalation.service import Judgement
from services.tools.rules import VerdictKind
from tests.conservation.planting import found, run, run_ddl
from tests.factories import LEASE, OWNER, TEAMMATE, actor_of, failure, one
from tests.factories.pipeline import Pipeline

_INCIDENT = "SELECT id FROM \"case\" WHERE subject_kind = 'incident'"


@pytest.fixture
def incident(pipeline: Pipeline) -> int:
    """Ten failures of one cause, told of once."""
    pipeline.send(*(failure(f"down-{n}") for n in range(10)))
    pipeline.settle()
    assert found(pipeline) == set()
    return int(one(pipeline.database, _INCIDENT))


def decide(pipeline: Pipeline, who: str, whole: int, *, most: int = 3) -> None:
    with pipeline.database.transaction() as session:
        now, actor = pipeline.clock.now(session), actor_of(session, who)
        ids = [case.id for case in service.merged_into(session, actor, whole)]
        said = Judgement(VerdictKind.NOT_ACTIONABLE, note="known")
        service.decide(session, actor, ids[:most], said, lease=LEASE, now=now)
    for id_ in ids[:most]:
        pipeline.ledger.verdict(id_, who).times += 1
    pipeline.settle()


def test_parts_decided_in_somebodys_hands_are_sound(pipeline: Pipeline, incident: int) -> None:
    decide(pipeline, OWNER, incident)
    assert found(pipeline) == set()


def test_incident_that_is_decided_with_its_last_part_is_sound(
    pipeline: Pipeline, incident: int
) -> None:
    refused = pipeline.ledger.verdict(incident, OWNER)
    assert refused.times == 0
    decide(pipeline, OWNER, incident, most=10)
    assert one(pipeline.database, f"{_INCIDENT} AND state = 'resolved'") == incident
    assert found(pipeline) == set()


def test_part_decided_past_its_holder_is_found(
    pipeline: Pipeline, incident: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.claim(TEAMMATE, incident)
    whole = parts._Whole(incident, is_incident=True, token="0", begun=False)
    monkeypatch.setattr(parts, "_why_refused", lambda *_: None)
    monkeypatch.setattr(parts, "_claim", lambda *_, **__: whole)
    decide(pipeline, OWNER, incident)
    assert found(pipeline) == {"fencing"}


def test_incident_of_nothing_is_found(pipeline: Pipeline, incident: int) -> None:
    run_ddl(pipeline, 'ALTER TABLE "case" DISABLE TRIGGER USER')
    run(
        pipeline,
        """UPDATE "case" SET state = 'closed', verdict = 'upheld', verdict_by = :who,
        verdict_id = 'x' WHERE incident = :i""",
        i=incident,
        who=OWNER,
    )
    assert "parts" in found(pipeline)


def test_part_of_another_cause_is_found(pipeline: Pipeline, incident: int) -> None:
    run(
        pipeline,
        """UPDATE "case" SET cause = '{}' WHERE id = (
        SELECT min(id) FROM "case" WHERE incident = :i)""",
        i=incident,
    )
    assert found(pipeline) == {"parts"}
