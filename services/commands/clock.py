"""`clock confirm`: where the clock was moved, and is right where it is."""

from services.commands.shared import AsJson, answer, group, transaction, whoami
from services.kit import audit, clock_guard
from services.kit.errors import Conflict

clock = group("The database's clock, by which deadlines fire.")


@clock.command()
def confirm(as_json: AsJson = False) -> None:
    """Say that the clock, which was moved, is right now: what stands still goes on at once."""
    with transaction() as (_, session, now):
        watched = clock_guard.watched(session, now=now)
        machines = clock_guard.confirm(session)
        if not machines:
            raise Conflict("The clock is believed as it is; there is nothing to confirm.")
        moved = watched[0].divergence.total_seconds() if watched else None
        audit.note(session, now, whoami(), "confirm", "clock", "database", seconds=moved)
    data = {"machines": machines, "seconds": moved}
    line = "the clock is taken to be right; what is due fires within seconds"
    answer(data, as_json=as_json, lines=[line])
