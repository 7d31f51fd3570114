"""Promises about notifications: whoever is concerned is told, once, and of nothing else."""

from tests.conservation.ledger import Check

NOTICE_CHECKS = (
    # What opens is told of: once, to whoever owns it, or with the incident that it is part of.
    Check(
        "told",
        """SELECT format('nobody was told that case %s opened', c.id)
             FROM "case" c
            WHERE NOT EXISTS (SELECT FROM notification n
                              WHERE n.case_id = c.id AND n.what = 'opened')
              AND NOT EXISTS (SELECT FROM timeline_entry t WHERE t.case_id = c.id
                                 AND t.event = 'merged' AND t.at = c.opened_at)
           UNION ALL
           SELECT format('%s was told %s times that case %s opened', person, count(*), case_id)
             FROM notification WHERE what = 'opened'
            GROUP BY person, case_id HAVING count(*) > 1""",
    ),
    # A person who owns a case hears of all that others, and the clock, do to it.
    Check(
        "owner told",
        """SELECT format('%s was not told of %s of case %s, which they own', o.email,
                         p.event->>'type', p.event->'data'->>'case_id')
             FROM published p
             JOIN person o ON p.event->'data'->'owner'->>'kind' = 'person'
              AND o.email = p.event->'data'->'owner'->>'id' AND o.active
            WHERE p.topic = 'secondlook.cases'
              AND p.event->>'type' LIKE ANY (ARRAY['%.opened.v1', '%.reassigned.v1',
                  '%.reopened.v1', '%.undone.v1', '%.unmerged.v1', '%.woken.v1',
                  '%.escalated.v1', '%.overdue.v1', '%.reminded.v1'])
              AND o.email IS DISTINCT FROM p.event->'data'->'actor'->>'id'
              AND p.event->'data'->>'state' <> 'merged'
              AND NOT EXISTS (SELECT FROM notification n WHERE n.person = o.email
                                 AND n.dedupe_key = p.event->>'id')""",
    ),
    # Whoever spoke before a verdict was given, or taken back, hears of it.
    Check(
        "answered",
        """SELECT format('%s was not told of %s on output %s of %s', w.actor, p.event->>'type',
                         w.output_id, w.tool)
             FROM published p
             JOIN word_on_output w ON w.tool = p.event->'data'->>'tool'
              AND w.output_id = p.event->'data'->>'output_id' AND w.heard_at < p.created_at
             JOIN person o ON o.email = w.actor AND o.active
            WHERE p.topic = 'secondlook.verdicts'
              AND w.actor IS DISTINCT FROM p.event->'data'->'actor'->>'id'
              AND NOT EXISTS (SELECT FROM notification n WHERE n.person = w.actor
                                 AND n.dedupe_key = p.event->>'id')""",
    ),
    Check(
        "true news",
        """SELECT format('%s was told of %s (%s), which never happened', n.person, n.what,
                         n.dedupe_key)
             FROM notification n
            WHERE n.case_id IS NOT NULL AND NOT EXISTS (
                  SELECT FROM published p WHERE p.topic = 'secondlook.cases'
                     AND p.event->>'id' = n.dedupe_key
                     AND p.event->'data'->>'case_id' = n.case_id::text)""",
    ),
)
