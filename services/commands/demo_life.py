"""What makes every page of `run --demo` show life within the first minute."""

from collections.abc import Iterable
from datetime import timedelta

import httpx2
from secondlook import Secondlook

from services.app.resources import Resources
from services.commands.demo import ACTOR, TEAM, TOOL
from services.escalation.policy import revisions
from services.kit.database import Session
from services.people import absences, rotations, schedules
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rules import Role

_BILLING, _BILLING_OWNER = "billing", "billing@demo.example"
_SCHEDULE = "triage-duty"
_OWNER = "owner@demo.example"
_TURNS = """
timezone: Europe/Berlin
layers:
  - people: [owner@demo.example, owner2@demo.example]
    every: 1d
    start: 2026-11-02T09:00
"""
_POLICY = f"""
version: 1
catch_all: {{team: {TEAM}, priority: P3, sla: {{claim: 4h, resolve: 2bd}}, escalate: standard}}
rules:
  - id: outages
    when: {{trigger: tool_failure}}
    owner: {{team: {TEAM}}}
    priority: P1
    sla: {{claim: 15m, resolve: 4h}}
    group: {{by: [failure, version], window: 2h, incident_at: 10}}
  - id: refund-disputes
    when: {{trigger: dispute, predicted.category: "refund-*"}}
    owner: {{team: {_BILLING}}}
    priority: P2
    sla: {{claim: 1h, resolve: 1bd}}
  - id: unsure-refunds
    mode: monitor
    when: {{trigger: low_confidence, predicted.category: "refund-*"}}
    owner: {{team: {_BILLING}}}
    priority: P2
ladders:
  standard:
    - {{at: 0m, own: team:{TEAM}}}
    - {{at: 4h, own: user:lead@demo.example, repeat: 4h}}
tests:
  - case: {{trigger: dispute, predicted.category: refund-missing}}
    expect: {{rule: refund-disputes, team: {_BILLING}}}
"""
_OUTAGE = 12


def furnish(found: Resources) -> None:
    """Make a second team and a schedule, where they are missing, let somebody go away, and put a
    routing policy where nobody has put any."""
    with found.database.transaction() as session:
        if _BILLING not in {team.slug for team in people_queries.teams(session)}:
            _add_billing(found, session)
            _add_schedule(found, session)
        if revisions.newest(session) is None:
            revisions.put(session, _POLICY, actor=ACTOR, now=found.clock.now(session))


def _add_billing(found: Resources, session: Session) -> None:
    now = found.clock.now(session)
    people_service.add_team(session, _BILLING, name="Billing", actor=ACTOR, now=now)
    people_service.add_person(
        session,
        _BILLING_OWNER,
        name="Bea Billing",
        role=Role.OWNER,
        teams=[_BILLING],
        actor=ACTOR,
        now=now,
    )


def _add_schedule(found: Resources, session: Session) -> None:
    now = found.clock.now(session)
    read = rotations.read(_TURNS)
    schedules.put_schedule(session, _SCHEDULE, read, team=TEAM, actor=ACTOR, now=now)
    begin = now + timedelta(days=3)
    absences.go_away(
        session,
        "owner2@demo.example",
        begin=begin,
        end=begin + timedelta(days=2),
        stand_in=None,
        actor=ACTOR,
        now=now,
    )


def fail_for_a_while(look: Secondlook, model: str) -> None:
    """The model's provider is down for a moment: failures of one cause, which are one incident."""
    for n in range(_OUTAGE):
        look.failed(
            f"{model}-outage-{n}",
            kind="timeout",
            message="the model did not answer in 10 s",
            input_text="Where is my refund?",
            model=model,
            subject=f"ticket-outage-{n}",
        )


def dispute(look: Secondlook, actor: str, outputs: Iterable[str]) -> None:
    """The rep disputes some outputs; the owners answer soon, and the rep's inbox says what."""
    for output_id in outputs:
        look.dispute(output_id, actor=actor, note="This is not what the customer asks.")


def hand_over(address: str, lead_token: str | None) -> None:
    """The lead gives the first owner a case, with a word: so their inbox has something in it,
    whoever is on duty."""
    if lead_token is None:
        return
    headers = {"Authorization": f"Bearer {lead_token}"}
    with httpx2.Client(base_url=address, headers=headers, timeout=30) as client:
        asked = {"tool": TOOL, "trigger": "low_confidence", "state": "open", "limit": "1"}
        for case in client.get("/v1/cases", params=asked).json()["items"]:
            given = {"owner": {"kind": "person", "id": _OWNER}, "note": "Please look at this one."}
            client.post(f"/v1/cases/{case['id']}/reassign", json=given)
