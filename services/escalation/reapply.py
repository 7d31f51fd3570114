"""All open cases routed anew, batch by batch, each in a transaction of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.escalation import rerouting
from services.escalation.choosing import Meanwhile
from services.escalation.policy.replay import Loads
from services.escalation.rerouting import Left, Rerouted
from services.escalation.routing import Policy, policies
from services.kit.audit import note
from services.kit.clock import Clock
from services.kit.database import Database
from services.people.rules import Actor

BATCH = 500
SHOWN = 20
"""So many of the cases that change are named."""


@dataclass(slots=True)
class Reapplied:
    """What became of the open cases, or would become of them."""

    dry_run: bool
    revision: str = ""
    cases: int = 0
    """So many were looked at."""
    changed: int = 0
    moved: int = 0
    """To another team's people."""
    earlier: int = 0
    later: int = 0
    """Due earlier, or later, than before."""
    teams: Loads = field(default_factory=Loads)
    owners: Loads = field(default_factory=Loads)
    first: list[int] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def as_answer(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "dry_run": self.dry_run,
            "revision": self.revision,
            "cases": self.cases,
            "changed": self.changed,
            "moved": self.moved,
            "teams": self.teams.of,
            "owners": self.owners.of,
            "deadlines": {"earlier": self.earlier, "later": self.later},
            "first": self.first,
            "skipped": [one._asdict() for one in self.left],
        }


def reapply(
    database: Database,
    clock: Clock,
    policy: Policy,
    *,
    actor: Actor,
    also_reassigned: bool = False,
    dry_run: bool = False,
) -> Reapplied:
    """Route every open case of the actor's teams anew by the policy in force, or with `dry_run` say
    what that would do.

    What one batch has done stays done, whatever becomes of the next; done again it goes on.

    Raises:
        NotAllowed: the actor does not route cases.
    """
    found = Reapplied(dry_run)
    with database.transaction() as session:
        numbers = rerouting.open_cases(session, actor)
        in_force = policy(session)
        found.revision = in_force.revision if in_force is not None else "default"
        if not dry_run:
            verb, now = "reapplied", clock.now(session)
            note(session, now, actor.id, verb, "routing policy", found.revision)
    tried = Meanwhile() if dry_run else None
    for batch in _batches(numbers):
        with database.transaction() as session:
            done = rerouting.reroute(
                session,
                policies(session, policy(session)),
                batch,
                actor=actor,
                also_reassigned=also_reassigned,
                tried=tried,
                now=clock.now(session),
            )
        _add(found, done)
    return found


def _batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    yield from (numbers[n : n + BATCH] for n in range(0, len(numbers), BATCH))


def _add(found: Reapplied, done: Rerouted) -> None:
    to = {change.case.id: change.to for change in done.changes}
    for case in done.looked_at:
        after = to.get(case.id, case.routing)
        found.teams.add(case.team, after.team)
        found.owners.add(str(case.owner), str(after.owner))
        found.moved += case.team != after.team
    found.cases += len(done.looked_at)
    found.changed += len(done.changes)
    found.earlier += sum(change.due_at < change.case.due_at for change in done.changes)
    found.later += sum(change.due_at > change.case.due_at for change in done.changes)
    room = SHOWN - len(found.first)
    found.first += [change.case.id for change in done.changes[:room]]
    found.left += done.left
