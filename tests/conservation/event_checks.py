"""Promises about events: each is stored once, counted, and accounted for; truth follows from it."""

from tests.conservation.ledger import Check

EVENT_CHECKS = (
    # I1: sent = stored + duplicate + dead-lettered + parked.
    Check(
        "received",
        """SELECT format('%s holds %s records, %s to %s were sent', s.topic,
                         coalesce(e.held, 0), s.least, s.most)
             FROM (SELECT topic, sum(times) AS least, sum(times + unanswered) AS most
                     FROM sent GROUP BY topic) s
             LEFT JOIN (SELECT topic, sum(next_offset) AS held FROM log_end GROUP BY topic) e
                  USING (topic)
            WHERE coalesce(e.held, 0) NOT BETWEEN s.least AND s.most""",
    ),
    Check(
        "explained",
        """SELECT format('%s: %s records on the log, %s explained', e.topic, e.held,
                         coalesce(c.n, 0))
             FROM (SELECT topic, sum(next_offset) AS held FROM log_end
                    WHERE topic IN ('secondlook.outputs', 'secondlook.corrections')
                    GROUP BY topic) e
             LEFT JOIN (SELECT label AS topic, sum(n) AS n FROM total_count
                         WHERE measure IN ('stored', 'duplicate', 'dead_lettered', 'parked')
                         GROUP BY label) c USING (topic)
            WHERE e.held <> coalesce(c.n, 0)""",
    ),
    Check(
        "lost",
        """SELECT format('%s %s was acknowledged %s times and is not stored', s.topic, s.name,
                         s.times)
             FROM sent s
            WHERE s.fate = 'stored' AND s.times > 0 AND NOT EXISTS (
                  SELECT FROM output o WHERE s.topic = 'secondlook.outputs'
                     AND o.output_id = s.name AND o.recorded_at IS NOT NULL)
              AND NOT EXISTS (SELECT FROM correction c
                   WHERE s.topic = 'secondlook.corrections' AND c.note = s.name)""",
    ),
    Check(
        "dead letters",
        """SELECT format('%s of %s: %s kept as %s, %s to %s were sent', s.name, s.topic,
                         count(d.id), s.fate, s.times, s.times + s.unanswered)
             FROM sent s LEFT JOIN dead_letter d ON d.consumer = 'feedback'
              AND d.topic = s.topic AND d.key = convert_to(s.name, 'UTF8')
              AND d.parked = (s.fate = 'parked')
            WHERE s.fate IN ('refused', 'parked') GROUP BY s.topic, s.name, s.fate, s.times,
                  s.unanswered
           HAVING count(d.id) NOT BETWEEN s.times AND s.times + s.unanswered""",
    ),
    Check(
        "unknown",
        """SELECT format('output %s is stored and nobody sent it', o.output_id) FROM output o
            WHERE o.recorded_at IS NOT NULL AND EXISTS (SELECT FROM sent)
              AND NOT EXISTS (SELECT FROM sent s WHERE s.topic = 'secondlook.outputs'
                              AND (s.name = o.output_id OR s.fate = 'any'))""",
    ),
    # I2: every id once.
    Check(
        "once",
        """SELECT format('output %s of %s is there %s times', output_id, tool, count(*))
             FROM output GROUP BY tool, output_id HAVING count(*) > 1
           UNION ALL
           SELECT format('output event %s of %s is there %s times', event_id, tool, count(*))
             FROM output WHERE event_id IS NOT NULL GROUP BY tool, event_id HAVING count(*) > 1
           UNION ALL
           SELECT format('correction %s of %s is there %s times', event_id, tool, count(*))
             FROM correction GROUP BY tool, event_id HAVING count(*) > 1
           UNION ALL
           SELECT format('correction %s is there under %s ids', s.name, count(*))
             FROM sent s JOIN correction c ON c.note = s.name
            WHERE s.topic = 'secondlook.corrections' GROUP BY s.name HAVING count(*) > 1
           UNION ALL
           SELECT format('output %s of %s has %s cases', output_id, tool, count(*))
             FROM case_output GROUP BY tool, output_id HAVING count(*) > 1
           UNION ALL
           SELECT format('verdict %s is there %s times', event_id, count(*))
             FROM verdict GROUP BY event_id HAVING count(*) > 1""",
    ),
    # I6: every count is what its rows say, and every truth what was said.
    Check(
        "totals",
        """SELECT format('%s of %s (%s, %s): %s counted, %s there', measure, tool, version,
                         label, coalesce(k.n, 0), coalesce(r.n, 0))
             FROM (SELECT measure, tool, version, label, sum(n) AS n FROM kept_count
                    WHERE hour IS NULL GROUP BY 1, 2, 3, 4) k
             FULL JOIN (SELECT measure, tool, version, label, sum(n) AS n FROM raw_count
                         GROUP BY 1, 2, 3, 4) r USING (measure, tool, version, label)
            WHERE coalesce(k.n, 0) <> coalesce(r.n, 0)""",
    ),
    Check(
        "hours",
        """SELECT format('%s of %s (%s, %s) at %s: %s counted, %s there', measure, tool,
                         version, label, hour, coalesce(k.n, 0), coalesce(r.n, 0))
             FROM (SELECT measure, tool, version, label, hour, sum(n) AS n FROM kept_count
                    WHERE hour IS NOT NULL AND measure IN ('outputs', 'overridden', 'cases',
                          'verdicts', 'overdue', 'exceptions', 'routed', 'monitored')
                    GROUP BY 1, 2, 3, 4, 5) k
             FULL JOIN (SELECT * FROM raw_count WHERE hour IS NOT NULL) r
                  USING (measure, tool, version, label, hour)
            WHERE coalesce(k.n, 0) <> coalesce(r.n, 0)
           UNION ALL
           SELECT format('%s of %s (%s, %s): %s in all, %s over the hours', measure, tool,
                         version, label, coalesce(t.n, 0), coalesce(h.n, 0))
             FROM (SELECT measure, tool, version, label, sum(n) AS n FROM total_count
                    GROUP BY 1, 2, 3, 4) t
             FULL JOIN (SELECT measure, tool, version, label, sum(n) AS n FROM hourly_count
                         GROUP BY 1, 2, 3, 4) h USING (measure, tool, version, label)
            WHERE coalesce(t.n, 0) <> coalesce(h.n, 0)""",
    ),
    Check(
        "truth",
        """SELECT format('output %s of %s is %s, what was said makes it %s', o.output_id,
                         o.tool, coalesce(o.overridden::text, 'undecided'),
                         coalesce(said.overridden::text, 'undecided'))
             FROM output o
             LEFT JOIN LATERAL (
                  SELECT c.kind, c.value FROM correction c
                   WHERE c.tool = o.tool AND c.output_id = o.output_id
                     AND c.kind IN ('correction', 'confirmation') AND NOT EXISTS (
                         SELECT FROM withdrawal w WHERE w.tool = c.tool
                            AND w.correction_id = c.event_id
                            AND w.output_id = c.output_id
                            AND w.actor = c.actor)
                   ORDER BY least(c.occurred_at, c.recorded_at) DESC,
                            c.event_id COLLATE "C" DESC LIMIT 1) word ON true
             LEFT JOIN LATERAL (
                  SELECT v.verdict, v.value FROM verdict v
                   WHERE v.tool = o.tool AND v.output_id = o.output_id
                     AND v.verdict IN ('upheld', 'corrected') AND NOT EXISTS (
                         SELECT FROM undone_verdict u WHERE u.verdict_id = v.event_id)
                   ORDER BY v.at DESC LIMIT 1) reviewed ON true
            CROSS JOIN LATERAL (SELECT CASE
                  WHEN reviewed.verdict IS NOT NULL THEN reviewed.value IS DISTINCT FROM o.value
                  WHEN word.kind = 'confirmation' THEN false
                  WHEN word.kind = 'correction' THEN word.value IS DISTINCT FROM o.value
                  END AS overridden) said
            WHERE o.recorded_at IS NOT NULL AND o.overridden IS DISTINCT FROM said.overridden""",
    ),
    Check(
        "met",
        """SELECT format('correction %s of %s speaks of an output that has no row', c.event_id,
                         c.tool)
             FROM correction c LEFT JOIN output o USING (tool, output_id)
            WHERE o.output_id IS NULL""",
    ),
    Check(
        "exceptions",
        """SELECT format('output %s of %s is an exception (%s) and nobody can have said so',
                         o.output_id, o.tool, o.exception)
             FROM output o
            WHERE o.exception IS NOT NULL AND (o.recorded_at IS NULL
               OR (o.exception = 'low_confidence' AND o.disposition <> 'review'
                   AND o.gate_disposition <> 'review')
               OR (o.exception = 'tool_failure' AND o.failure IS NULL)
               OR (o.exception = 'dispute' AND NOT EXISTS (
                   SELECT FROM correction c WHERE c.tool = o.tool AND c.output_id = o.output_id
                      AND c.kind IN ('dispute', 'appeal'))))
           UNION ALL
           SELECT DISTINCT format('output %s of %s is no exception, and a review was requested',
                                  o.output_id, o.tool)
             FROM output o JOIN requested r USING (tool, output_id)
            WHERE o.recorded_at IS NOT NULL AND o.exception IS NULL
              AND r.trigger NOT IN ('audit', 'unmatched')""",
    ),
    # What one package tells the other.
    Check(
        "outbox",
        """SELECT format('%s records for %s wait in the outbox', count(*), topic)
             FROM outbox WHERE sent_at IS NULL GROUP BY topic
           UNION ALL
           SELECT format('%s records were sent to %s, which holds %s', o.n, o.topic,
                         coalesce(e.held, 0))
             FROM (SELECT topic, count(*) AS n FROM outbox WHERE sent_at IS NOT NULL
                    GROUP BY topic) o
             LEFT JOIN (SELECT topic, sum(next_offset) AS held FROM log_end GROUP BY topic) e
                  USING (topic)
            WHERE o.n > coalesce(e.held, 0)""",
    ),
    # The offsets.
    Check(
        "offsets",
        """SELECT format('%s is at %s of %s/%s, which ends at %s', consumer, o.next_offset,
                         o.topic, o.partition, coalesce(e.next_offset, 0))
             FROM consumer_offset o
             LEFT JOIN log_end e ON e.topic = o.topic AND e.number = o.partition
            WHERE o.next_offset <> coalesce(e.next_offset, 0)
           UNION ALL
           SELECT format('%s has never read %s/%s', r.consumer, e.topic, e.number)
             FROM log_end e JOIN (VALUES ('feedback', 'secondlook.outputs'),
                  ('feedback', 'secondlook.corrections'), ('feedback', 'secondlook.verdicts'),
                  ('escalation', 'secondlook.reviews'))
                  AS r (consumer, topic) USING (topic)
             LEFT JOIN consumer_offset o ON o.consumer = r.consumer AND o.topic = e.topic
                  AND o.partition = e.number
            WHERE e.next_offset > 0 AND o.consumer IS NULL
           UNION ALL
           SELECT format('%s missed %s to %s of %s/%s', consumer, first_missing, next_present,
                         topic, partition) FROM log_gap
           UNION ALL
           SELECT format('%s/%s holds %s records from %s to %s', p.topic, p.number, count(r.*),
                         p.first_offset, p.next_offset)
             FROM log_partition p LEFT JOIN log_record r ON r.partition_id = p.id
            GROUP BY p.id HAVING count(r.*) <> p.next_offset - p.first_offset""",
    ),
)
