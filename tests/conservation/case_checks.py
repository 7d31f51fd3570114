"""Promises about cases: owned, on time, and written by one at a time."""

from tests.conservation.ledger import Check

# A case that is routed anew climbs another ladder: its levels and reminders begin again there.
_REROUTED = "SELECT case_id FROM timeline_entry WHERE event = 'rerouted'"
_OPEN = "state IN ('open', 'claimed', 'waiting', 'snoozed')"

CASE_CHECKS = (
    # I3: every open case has an active owner.
    Check(
        "owned",
        f"""SELECT format('case %s is open and belongs to %s', c.id,
                          coalesce(c.owner_team, c.owner_person, 'nobody'))
              FROM "case" c
             WHERE c.{_OPEN} AND c.owner_team IS DISTINCT FROM 'last-resort'
               AND NOT EXISTS (SELECT FROM person p WHERE p.email = c.owner_person AND p.active
                                  AND p.role IN ('owner', 'lead', 'admin'))
               AND NOT EXISTS (
                   SELECT FROM team t JOIN membership m ON m.team = t.slug
                     JOIN person p ON p.email = m.person
                    WHERE t.slug = c.owner_team AND t.active AND p.active
                      AND p.role IN ('owner', 'lead', 'admin'))""",
    ),
    # I4: each due step fired once.
    Check(
        "unfired",
        f"""SELECT format('the %s timer %s of case %s was due at %s and has not fired', t.kind,
                          t.rung, t.case_id, t.due_at)
              FROM timer t JOIN "case" c ON c.id = t.case_id
             WHERE t.fired_at IS NULL AND t.stopped_at IS NULL AND c.{_OPEN}
               AND t.due_at < clock_timestamp() - interval '10 s'""",
    ),
    Check(
        "deadlines",
        """SELECT format('the %s clock of case %s fired %s times and was told %s times',
                         clock, case_id, fired, told)
             FROM (SELECT case_id, kind AS clock, count(fired_at) AS fired FROM timer
                    WHERE kind IN ('claim', 'resolve') GROUP BY 1, 2) f
             FULL JOIN (SELECT case_id, detail->>'clock' AS clock, count(*) AS told
                          FROM timeline_entry WHERE event = 'overdue' GROUP BY 1, 2) t
                  USING (case_id, clock)
            WHERE coalesce(fired, 0) <> coalesce(told, 0)""",
    ),
    Check(
        "rungs",
        f"""SELECT format('case %s was escalated to level %s %s times in cycle %s', case_id,
                         detail->>'level', count(*), cycle)
             FROM told WHERE event = 'escalated' AND detail ? 'level'
              AND case_id NOT IN ({_REROUTED})
            GROUP BY case_id, cycle, detail->>'level' HAVING count(*) > 1
           UNION ALL
           SELECT format('rung %s of case %s has fired and the case is on level %s', t.rung,
                         c.id, c.level)
             FROM timer t JOIN "case" c ON c.id = t.case_id AND c.cycle = t.cycle
            WHERE t.kind = 'rung' AND t.fired_at IS NOT NULL AND c.level < t.rung
              AND t.rung < jsonb_array_length(c.ladder) AND NOT EXISTS (
                  SELECT FROM timeline_entry s WHERE s.case_id = c.id
                     AND s.event = 'rung skipped')
           UNION ALL
           SELECT format('rung %s of case %s has fired and the next one was not set', t.rung,
                         c.id)
             FROM timer t JOIN "case" c ON c.id = t.case_id
            WHERE t.kind = 'rung' AND t.fired_at IS NOT NULL
              AND coalesce(c.ladder->(t.rung + 1)::int->>'after', CASE
                  WHEN t.rung + 1 >= jsonb_array_length(c.ladder)
                  THEN c.ladder->-1->>'repeat' END) IS NOT NULL
              AND NOT EXISTS (SELECT FROM timer n WHERE n.case_id = t.case_id
                                 AND n.cycle = t.cycle AND n.kind = 'rung'
                                 AND n.rung = t.rung + 1)
           UNION ALL
           SELECT format('case %s was reminded %s times by %s rungs', c.id, coalesce(told.n, 0),
                         coalesce(fired.n, 0))
             FROM "case" c
             LEFT JOIN (SELECT case_id, count(*) AS n FROM timeline_entry
                         WHERE event = 'reminded' GROUP BY 1) told ON told.case_id = c.id
             LEFT JOIN (SELECT t.case_id, count(*) AS n FROM timer t
                          JOIN "case" k ON k.id = t.case_id
                         WHERE t.kind = 'rung' AND t.fired_at IS NOT NULL
                           AND t.rung >= jsonb_array_length(k.ladder) GROUP BY 1) fired
                  ON fired.case_id = c.id
            WHERE coalesce(told.n, 0) <> coalesce(fired.n, 0) AND c.id NOT IN ({_REROUTED})""",
    ),
    Check(
        "clocks",
        """SELECT format('case %s has %s %s timers in cycle %s', c.id, count(t.id), k.kind,
                         n.cycle)
             FROM "case" c CROSS JOIN (VALUES ('claim'), ('resolve')) AS k (kind)
            CROSS JOIN LATERAL generate_series(1, c.cycle) AS n (cycle)
             LEFT JOIN timer t ON t.case_id = c.id AND t.cycle = n.cycle AND t.kind = k.kind
            GROUP BY c.id, k.kind, n.cycle HAVING count(t.id) <> 1
           UNION ALL
           SELECT format('rung %s of case %s is there %s times', rung, case_id, count(*))
             FROM timer WHERE kind = 'rung' GROUP BY case_id, cycle, rung HAVING count(*) > 1""",
    ),
    Check(
        "marks",
        """SELECT format('the %s clock of case %s %s twice in a row in cycle %s', clock, case_id,
                         CASE WHEN runs THEN 'went on' ELSE 'stood' END, cycle)
             FROM (SELECT *, lag(runs, 1, true) OVER (
                              PARTITION BY case_id, cycle, clock ORDER BY id) AS ran
                     FROM clock_mark) m WHERE runs = ran
           UNION ALL
           SELECT format('case %s is %s, and its %s clock %s', c.id, c.state, k.clock,
                         CASE WHEN coalesce(last.runs, true) THEN 'runs' ELSE 'stands' END)
             FROM "case" c CROSS JOIN (VALUES ('claim'), ('resolve')) AS k (clock)
             LEFT JOIN LATERAL (SELECT runs FROM clock_mark m WHERE m.case_id = c.id
                 AND m.cycle = c.cycle AND m.clock = k.clock ORDER BY id DESC LIMIT 1) last ON true
            WHERE coalesce(last.runs, true) <> CASE k.clock WHEN 'claim' THEN c.state = 'open'
                  ELSE c.state IN ('open', 'claimed') END""",
    ),
    Check(
        "pauses",
        """SELECT format('case %s is %s and %s timers would wake it', c.id, c.state, count(t.id))
             FROM "case" c LEFT JOIN timer t ON t.case_id = c.id AND t.kind = 'wake'
                  AND t.fired_at IS NULL AND t.stopped_at IS NULL
            GROUP BY c.id
           HAVING count(t.id) <> (c.state IN ('waiting', 'snoozed'))::int""",
    ),
    Check(
        "parts",
        """SELECT format('case %s says that it has %s parts, and has %s', c.id, c.children,
                         count(p.id))
             FROM "case" c LEFT JOIN "case" p ON p.incident = c.id
            GROUP BY c.id HAVING count(p.id) <> c.children
           UNION ALL
           SELECT format('case %s is part of case %s, which is %s', p.id, c.id, c.state)
             FROM "case" p JOIN "case" c ON c.id = p.incident
            WHERE p.state = 'merged'
              AND c.state NOT IN ('open', 'claimed', 'waiting', 'snoozed')
           UNION ALL
           SELECT format('incident %s is %s, and nothing is part of it', c.id, c.state)
             FROM "case" c WHERE c.subject_kind = 'incident'
              AND c.state IN ('open', 'claimed', 'waiting', 'snoozed')
              AND NOT EXISTS (SELECT FROM "case" p
                              WHERE p.incident = c.id AND p.state = 'merged')
           UNION ALL
           SELECT format('case %s has another cause, tool or team than incident %s', p.id, c.id)
             FROM "case" p JOIN "case" c ON c.id = p.incident AND c.subject_kind = 'incident'
            WHERE p.state = 'merged' AND (p.cause, p.tool, p.team)
                  IS DISTINCT FROM (c.cause, c.tool, c.team)
              -- A lead may merge what they like.
              AND (SELECT t.actor FROM timeline_entry t WHERE t.case_id = p.id
                      AND t.event = 'merged' ORDER BY t.id DESC LIMIT 1) = 'secondlook'""",
    ),
    # What we publish ourselves is taken by all who read it.
    Check(
        "rejected",
        """SELECT format('%s rejected a record of %s as %s: %s', consumer, topic, reason,
                         problems)
             FROM dead_letter WHERE consumer <> 'feedback'""",
    ),
    # Claims: who writes holds.
    Check(
        "fencing",
        """SELECT format('%s resolved case %s without holding it: before that, %s by %s', actor,
                         case_id, coalesce(event_before, 'nothing'),
                         coalesce(actor_before, 'nobody'))
             FROM holding
            WHERE event IN ('resolved', 'reviewed')
              AND (event_before, actor_before) IS DISTINCT FROM ('claimed', actor)
              AND NOT (event = 'resolved' AND event_before = 'reviewed' AND actor_before = actor)
           UNION ALL
           SELECT format('case %s counts %s claims, its timeline %s', c.id, c.claim_seq,
                         count(h.id))
             FROM "case" c LEFT JOIN holding h ON h.case_id = c.id AND NOT (
                  h.event = 'resolved' AND h.event_before = 'reviewed')
            GROUP BY c.id HAVING c.claim_seq <> count(h.id)
           UNION ALL
           SELECT format('%s resolved case %s without holding case %s, which it was part of',
                         t.actor, t.case_id, t.detail->>'incident')
             FROM timeline_entry t LEFT JOIN LATERAL (
                  SELECT h.event, h.actor FROM holding h
                   WHERE h.case_id = (t.detail->>'incident')::bigint AND h.id < t.id
                   ORDER BY h.id DESC LIMIT 1) held ON true
            WHERE t.event = 'resolved' AND t.detail ? 'incident'
              AND (held.event, held.actor) IS DISTINCT FROM ('claimed', t.actor)""",
    ),
    # An incident is given none: it is decided with the last of its parts.
    Check(
        "verdicts",
        """SELECT format('%s gave %s to %s verdicts on case %s, which tells of %s', j.actor,
                         j.times, j.times + j.unanswered, j.case_id, count(t.id))
             FROM reviewed j LEFT JOIN (timeline_entry t
                  JOIN "case" c ON c.id = t.case_id AND c.subject_kind <> 'incident')
               ON t.case_id = j.case_id AND t.actor = j.actor AND t.event = 'resolved'
            GROUP BY j.case_id, j.actor, j.times, j.unanswered
           HAVING count(t.id) NOT BETWEEN j.times AND j.times + j.unanswered""",
    ),
    Check(
        "requests",
        """SELECT format('output %s of %s needs a person (%s) and %s reviews were requested',
                         o.output_id, o.tool, o.exception, count(r.tool))
             FROM output o LEFT JOIN requested r ON r.tool = o.tool
              AND r.output_id = o.output_id AND r.correction_id IS NULL
              AND r.trigger <> 'unmatched'
            WHERE o.recorded_at IS NOT NULL AND o.exception IN
                  ('low_confidence', 'policy', 'tool_failure')
            GROUP BY o.tool, o.output_id HAVING count(r.tool) <> 1
           UNION ALL
           SELECT format('output %s of %s was drawn for an audit and %s reviews were requested',
                         o.output_id, o.tool, count(r.tool))
             FROM output o LEFT JOIN requested r ON r.tool = o.tool
              AND r.output_id = o.output_id AND r.trigger = 'audit'
            WHERE o.audit GROUP BY o.tool, o.output_id HAVING count(r.tool) <> 1
           UNION ALL
           SELECT format('a review of output %s of %s was requested for %s, and it needs none',
                         r.output_id, r.tool, r.trigger)
             FROM requested r LEFT JOIN output o USING (tool, output_id)
            WHERE r.correction_id IS NULL AND r.trigger <> 'unmatched' AND (
                  o.recorded_at IS NULL OR r.facts IS NULL
                  OR (r.trigger = 'audit' AND NOT o.audit)
                  OR (r.trigger <> 'audit' AND o.exception IS DISTINCT FROM r.trigger))""",
    ),
    Check(
        "cases",
        """SELECT format('a review of output %s of %s was requested and there is no case',
                         r.output_id, r.tool)
             FROM requested r LEFT JOIN case_output c USING (tool, output_id)
            WHERE c.case_id IS NULL AND NOT EXISTS (
                  SELECT FROM dead_letter d WHERE d.consumer = 'escalation')
           UNION ALL
           SELECT format('case %s is about nothing', c.id)
             FROM "case" c LEFT JOIN case_output f ON f.case_id = c.id
            WHERE c.subject_kind = 'output' AND f.case_id IS NULL
           UNION ALL
           SELECT format('case %s lacks the facts of output %s, which is %s', f.case_id,
                         f.output_id, CASE WHEN o.recorded_at IS NULL THEN 'not stored'
                                           ELSE 'stored' END)
             FROM case_output f JOIN "case" c ON c.id = f.case_id
             LEFT JOIN output o ON o.tool = f.tool AND o.output_id = f.output_id
            WHERE (f.kind IS NULL) <> (o.recorded_at IS NULL)
               OR (f.kind IS NULL AND c.trigger <> 'unmatched')
           UNION ALL
           SELECT format('case %s shows another value of output %s than is stored', f.case_id,
                         f.output_id)
             FROM case_output f JOIN output o USING (tool, output_id)
            WHERE f.kind IS NOT NULL AND f.value IS DISTINCT FROM o.value""",
    ),
    Check(
        "objections",
        """SELECT format('%s of %s is an objection that case %s knows %s', w.event_id, w.tool,
                         c.case_id,
                         CASE WHEN b.case_id IS NULL THEN 'nothing of'
                              ELSE 'otherwise than withdrawn or not' END)
             FROM correction w JOIN output o USING (tool, output_id)
             JOIN case_output c USING (tool, output_id)
             LEFT JOIN objection b ON b.case_id = c.case_id AND b.correction_id = w.event_id
            CROSS JOIN LATERAL (SELECT EXISTS (
                  SELECT FROM withdrawal t WHERE t.tool = w.tool
                     AND t.correction_id = w.event_id AND t.output_id = w.output_id
                     AND t.actor = w.actor) AS withdrawn) said
            WHERE o.recorded_at IS NOT NULL AND w.kind IN ('dispute', 'appeal')
              AND CASE WHEN b.case_id IS NULL THEN NOT said.withdrawn
                       ELSE (b.withdrawn_at IS NOT NULL) <> said.withdrawn END""",
    ),
    Check(
        "told",
        """SELECT format('case %s: %s happened %s times and was told %s times', case_id, event,
                         coalesce(t.n, 0), coalesce(o.n, 0))
             FROM (SELECT case_id, event, count(*) AS n FROM timeline_entry
                    WHERE event NOT IN ('rung skipped', 'output arrived', 'dispute withdrawn',
                          'opinion taken back', 'joined', 'left', 'unassigned')
                    GROUP BY 1, 2) t
             FULL JOIN (SELECT (data->>'case_id')::bigint AS case_id,
                               split_part(type, '.', 3) AS event, count(*) AS n
                          FROM (SELECT event->>'type' AS type, event->'data' AS data
                                  FROM published WHERE topic = 'secondlook.cases') d
                         GROUP BY 1, 2) o USING (case_id, event)
            WHERE coalesce(t.n, 0) <> coalesce(o.n, 0)""",
    ),
    Check(
        "arrived",
        """SELECT format('case %s was resolved %s times, feedback knows of %s', case_id,
                         coalesce(r.n, 0), coalesce(v.n, 0))
             FROM (SELECT t.case_id, count(*) AS n FROM timeline_entry t
                     JOIN "case" c ON c.id = t.case_id AND c.subject_kind = 'output'
                    WHERE t.event = 'resolved' GROUP BY 1) r
             FULL JOIN (SELECT case_id, count(*) AS n FROM verdict GROUP BY 1) v
                  USING (case_id)
            WHERE coalesce(r.n, 0) <> coalesce(v.n, 0)
           UNION ALL
           SELECT format('%s objections have met their output, %s were told', met.n, told.n)
             FROM (SELECT count(*) AS n FROM correction c JOIN output o USING (tool, output_id)
                    WHERE o.recorded_at IS NOT NULL AND c.kind IN ('dispute', 'appeal')
                      AND (c.withdrawn_at IS NULL
                        OR c.withdrawn_at >
                           greatest(c.recorded_at, o.recorded_at) + interval '10 minutes'
                        OR (tool, c.event_id) IN (
                          SELECT tool, correction_id FROM requested WHERE trigger = 'dispute'))
                  ) met,
                  (SELECT count(DISTINCT (tool, correction_id)) AS n FROM requested
                    WHERE trigger = 'dispute') told
            WHERE met.n <> told.n
           UNION ALL
           SELECT format('objection %s to output %s of %s was told %s times', r.correction_id,
                         r.output_id, r.tool, count(*))
             FROM requested r WHERE r.trigger = 'dispute'
            GROUP BY r.tool, r.output_id, r.correction_id
           HAVING count(*) > 2 OR count(*) > 1 AND (
                  -- Of more words than fit one piece, two that meet may be sent on once more.
                  SELECT count(*) FROM correction c
                   WHERE c.tool = r.tool AND c.output_id = r.output_id) <= 100
           UNION ALL
           SELECT format('%s dead letters are kept, %s were sent on', kept.n, told.n)
             FROM (SELECT count(*) AS n FROM dead_letter) kept,
                  (SELECT sum(n) AS n FROM (
                      SELECT count(*) AS n FROM outbox WHERE topic = 'secondlook.dead-letters'
                      UNION ALL
                      SELECT count(*)
                        FROM log_record r JOIN log_partition p ON p.id = r.partition_id
                       WHERE p.topic = 'secondlook.dead-letters' AND NOT EXISTS (
                             SELECT FROM outbox o WHERE o.topic = p.topic AND o.value = r.value)
                  ) every) told
            WHERE kept.n <> told.n""",
    ),
)
