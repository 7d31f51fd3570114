"""The SQL of every move of a case, made from `rules.TRANSITIONS`. There is no other."""

from sqlalchemy import TextClause, text

from services.escalation.rules import (
    PAUSED,
    TRANSITIONS,
    CaseVerb,
    ClaimEffect,
    Transition,
    Who,
)

# The database's clock at the statement decides whether a claim is live: a writer that was
# frozen between reading the clock and writing must not act on the time before its sleep.
PRESENT = "greatest(:now, clock_timestamp())"
IS_LIVE = f"claimant = :me AND claim_seq = :token AND lease_expires_at > {PRESENT}"
"""Whether the claim that `token` stands for is still the caller's."""

_CLAIM = {
    ClaimEffect.TAKE: ("claimant = :me", "lease_expires_at = :until"),
    ClaimEffect.END: (
        "claimant = NULL",
        "lease_expires_at = NULL",
        "claim_seq = claim_seq + 1",
    ),
    ClaimEffect.NONE: (),
}


_PAUSE_ENDS = (
    "paused_for = paused_for + coalesce(:now - paused_since, interval '0')",
    "paused_since = NULL",
    "wakes_at = NULL",
    "pause_reason = NULL",
    "wakes_after = NULL",
)


def move(
    verb: CaseVerb,
    *,
    sets: str = "",
    given: str = "",
    where: str = "",
    which: str = "id = :id",
    returning: str,
) -> TextClause:
    """The statement that does `verb`: nothing happens to cases in a state it does not lead from.

    Args:
        verb: which one.
        sets: what else it writes.
        given: rows that say so for each case, where they differ.
        where: what else must hold, besides the state and, for a claimant's verbs, the claim.
        which: the cases that it is about.
        returning: what it answers of each case that moved.
    """
    made = TRANSITIONS[verb]
    assigned = [
        f"state = '{made.target.value}'",
        *_CLAIM[made.claim],
        *(_PAUSE_ENDS if _ends_pause(made) else ()),
        "version = version + 1",
        *filter(None, [sets]),
    ]
    sources = ", ".join(f"'{state.value}'" for state in made.sources)
    required = [which, f"state IN ({sources})", *filter(None, [where])]
    if made.who is Who.CLAIMANT:
        required.append(IS_LIVE)
    beside = f" FROM {given}" if given else ""
    return text(
        f'UPDATE "case" SET {", ".join(assigned)}{beside} WHERE {" AND ".join(required)}'
        f" RETURNING {returning}"
    )


def _ends_pause(made: Transition) -> bool:
    return any(state in PAUSED for state in made.sources) and made.target not in PAUSED
