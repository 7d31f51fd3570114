"""`audit`: who changed what, and that nobody changed the past."""

import typer

from services.commands.shared import AsJson, answer, group, transaction
from services.kit import audit

commands = group("The audit log.")


@commands.command("verify")
def verify_audit(as_json: AsJson = False) -> None:
    """Check that nobody changed the past; exit 1 where somebody did."""
    with transaction() as (_, session, _now):
        broken = list(audit.verify(session))
    data = {"sound": not broken, "broken": [b._asdict() for b in broken]}
    lines = [f"entry {b.entry}: {b.problem}" for b in broken] or ["the audit log is sound"]
    answer(data, as_json=as_json, lines=lines)
    if broken:
        raise typer.Exit(1)
