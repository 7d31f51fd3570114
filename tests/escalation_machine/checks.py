"""What holds after every step, as one statement: what is broken, and how often."""

from sqlalchemy import text

from services.escalation import impartial
from services.escalation.models import OPEN

_ABLE = """CASE WHEN c.owner_team IS NOT NULL THEN can_own(c.owner_team) ELSE EXISTS (
    SELECT FROM person p
    WHERE p.email = c.owner_person AND p.active AND p.role IN ('owner', 'lead', 'admin')) END"""

_CHECKS = {
    "open case without an owner who can own it": f"""
        SELECT count(*) FROM "case" c WHERE c.{OPEN} AND NOT {_ABLE}""",
    "output that was asked about and has no case": """
        SELECT abs(:asked - count(*)) FROM "case" c JOIN case_output o ON o.case_id = c.id""",
    "case that was opened twice, or never": """
        SELECT count(*) FROM "case" c WHERE 1 <> (
            SELECT count(*) FROM timeline_entry t WHERE t.case_id = c.id AND t.event = 'opened')""",
    "deadline that was missed more or less often than it fired": """
        SELECT count(*) FROM "case" c WHERE (
            SELECT count(*) FROM timeline_entry t WHERE t.case_id = c.id AND t.event = 'overdue'
        ) <> (
            SELECT count(*) FROM timer m WHERE m.case_id = c.id AND m.fired_at IS NOT NULL
                AND m.kind IN ('claim', 'resolve'))""",
    "case that climbed more often than it has levels": """
        SELECT count(*) FROM "case" c CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE t.event = 'escalated') AS n FROM timeline_entry t
            WHERE t.case_id = c.id AND t.id > coalesce((
                SELECT max(r.id) FROM timeline_entry r
                WHERE r.case_id = c.id AND r.event = 'reopened'), 0)) climbed
        WHERE climbed.n > c.level OR (climbed.n = 0) <> (c.level = 0)""",
    "case that was reminded of more often than rungs were reached": """
        SELECT count(*) FROM "case" c WHERE (
            SELECT count(*) FROM timeline_entry t WHERE t.case_id = c.id AND t.event = 'reminded'
                -- Another policy brings another ladder.
                AND t.id > coalesce((SELECT max(r.id) FROM timeline_entry r
                    WHERE r.case_id = c.id AND r.event = 'rerouted'), 0)
        ) > (
            SELECT count(*) FROM timer m WHERE m.case_id = c.id AND m.fired_at IS NOT NULL
                AND m.kind = 'rung')""",
    "open case without its two deadlines": f"""
        SELECT count(*) FROM "case" c WHERE c.{OPEN} AND 2 <> (
            SELECT count(*) FROM timer m WHERE m.case_id = c.id AND m.cycle = c.cycle
                AND m.kind IN ('claim', 'resolve'))""",
    "timer that stands while its clock runs, or runs while it stands": """
        SELECT count(*) FROM timer m JOIN "case" c ON c.id = m.case_id AND c.cycle = m.cycle
        WHERE m.fired_at IS NULL AND (m.stopped_at IS NULL) <> CASE
            WHEN m.kind = 'claim' THEN c.state = 'open'
            WHEN m.kind = 'wake' THEN c.state IN ('waiting', 'snoozed') AND m.rung = c.pauses
            ELSE c.state IN ('open', 'claimed') END""",
    "timer whose step failed": "SELECT count(*) FROM timer WHERE failures > 0",
    "case that is due at another time than its deadlines say": """
        SELECT count(*) FROM "case" c
        WHERE c.state = 'open' AND c.overdue_since IS NULL
            AND c.due_at <> least(c.claim_due_at, c.resolve_due_at)""",
    "case that is put off and comes due before it wakes": """
        SELECT count(*) FROM "case" c
        WHERE c.state IN ('waiting', 'snoozed') AND c.overdue_since IS NULL
            AND c.due_at > c.paused_since AND c.due_at < c.wakes_at""",
    "parts of a case that were miscounted": """
        SELECT count(*) FROM "case" c
        WHERE c.children <> (SELECT count(*) FROM "case" p WHERE p.incident = c.id)""",
    "part of a case that is not open itself": f"""
        SELECT count(*) FROM "case" p JOIN "case" c ON c.id = p.incident
        WHERE p.state = 'merged' AND NOT c.{OPEN}""",
    "cause with two open incidents": f"""
        SELECT count(*) FROM (SELECT FROM "case" c
            WHERE c.subject_kind = 'incident' AND c.{OPEN}
            GROUP BY c.cause HAVING count(*) > 1) g""",
    "verdict that was told more or less often than it was given or taken back": """
        SELECT abs((
            SELECT count(*) FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
            WHERE t.event IN ('resolved', 'undone') AND c.subject_kind <> 'incident'
        ) - (SELECT count(*) FROM outbox WHERE topic = 'secondlook.verdicts'))""",
    "case that is counted as decided, or not, against its timeline": """
        SELECT count(*) FROM "case" c CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE t.event = 'resolved')
                - count(*) FILTER (WHERE t.event IN ('undone', 'reopened')) AS n
            FROM timeline_entry t WHERE t.case_id = c.id) given
        WHERE given.n <> CASE WHEN c.state IN ('resolved', 'closed') THEN 1 ELSE 0 END""",
    "entry that was not told, or told twice": """
        SELECT abs((
            SELECT count(*) FROM timeline_entry WHERE event = ANY(:told)
        ) - (SELECT count(*) FROM outbox WHERE topic = 'secondlook.cases'))""",
}

BROKEN = text(
    "SELECT broken, n FROM (\n"
    + "\nUNION ALL\n".join(
        f"SELECT '{words}' AS broken, ({query}) AS n" for words, query in _CHECKS.items()
    )
    + "\n) found WHERE n <> 0"
)
"""Takes how many outputs were `asked` about, and the entries that are `told` of by an event."""

OFF_DUTY = text(f"""
SELECT c.id, c.subject_kind, c.state, c.owner_person, (
    SELECT array_agg(t.event ORDER BY t.id) FROM timeline_entry t WHERE t.case_id = c.id) AS events
FROM "case" c
WHERE c.owner_schedule = :slug AND c.{OPEN} AND c.owner_person IS DISTINCT FROM :person
    AND NOT ({" OR ".join(part.format(who=":person") for part in impartial.EVERY_PART)})
""")
"""The cases that a schedule owns through somebody who does not have its duty, though whoever has it
has no part in them."""
