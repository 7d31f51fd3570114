"""Whether everything is where it must be, asked of the tables in raw SQL.

Imports nothing of Secondlook: what a package believes of itself is what is being checked. Give
it the sender's own ledger and where the log ends; it answers violations in plain words, none
where all is well. It is meant for a quiet installation: nothing in flight, no timer about to fire.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg

OUTPUTS, CORRECTIONS = "secondlook.outputs", "secondlook.corrections"


class Violation(NamedTuple):
    """A promise that was broken: its short name, and what was found."""

    check: str
    found: str


@dataclass(slots=True)
class Sent:
    """One event as its sender knows it.

    `name` is what it is found by: an output's id, a correction's note, or for bytes that are
    no event the key of their record. `fate` is where it must be: `stored`, `refused`,
    `parked`, or `any` of them. `times` were acknowledged; of `unanswered` nobody knows.
    """

    topic: str
    name: str
    fate: str = "stored"
    times: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Ledger:
    """What the senders and the reviewers know of what they did."""

    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)
    verdicts: dict[tuple[int, str], Sent] = field(default_factory=dict)

    def entry(self, topic: str, name: str, fate: str = "stored") -> Sent:
        """The entry of an event, made when it is first met."""
        return self.sent.setdefault((topic, name), Sent(topic, name, fate))

    def verdict(self, case: int, actor: str) -> Sent:
        """The entry of a person's verdicts on a case."""
        return self.verdicts.setdefault((case, actor), Sent("verdict", actor))


Ends = Mapping[tuple[str, int], int]
"""The offset after the last record, by topic and partition."""


class _Check(NamedTuple):
    name: str
    sql: str


_GIVEN = """
CREATE TEMP TABLE sent (topic text, name text, fate text, times bigint, unanswered bigint);
CREATE TEMP TABLE reviewed (case_id bigint, actor text, times bigint, unanswered bigint);
CREATE TEMP TABLE log_end (topic text, number bigint, next_offset bigint);
"""

# What the counts must be, from the rows that they count. A version of 0 or an hour of NULL
# is one that the rows do not keep.
_RAW = """
CREATE TEMP VIEW raw_count AS
SELECT 'outputs' AS measure, tool, version, disposition AS label,
       date_trunc('hour', recorded_at, 'UTC') AS hour, count(*) AS n
  FROM output WHERE recorded_at IS NOT NULL GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'overridden', tool, version, disposition, date_trunc('hour', recorded_at, 'UTC'), count(*)
  FROM output WHERE recorded_at IS NOT NULL AND overridden GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'corrections', c.tool, o.version, c.kind, NULL, count(*)
  FROM correction c JOIN output o USING (tool, output_id)
 WHERE o.recorded_at IS NOT NULL GROUP BY 2, 3, 4
UNION ALL
SELECT 'cases', tool, 0, trigger, date_trunc('hour', opened_at, 'UTC'), count(*)
  FROM "case" GROUP BY 2, 4, 5
UNION ALL
SELECT 'exceptions', tool, version, exception, date_trunc('hour', recorded_at, 'UTC'), count(*)
  FROM output WHERE exception IS NOT NULL GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'verdicts', c.tool, 0, t.detail->>'verdict', date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'resolved' GROUP BY 2, 4, 5
UNION ALL
SELECT 'overdue', c.tool, 0, c.queue || '/' || (t.detail->>'clock'),
       date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'overdue' GROUP BY 2, 4, 5
UNION ALL
SELECT 'escalations', c.tool, 0, '', NULL, count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'escalated' GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.outputs', NULL, count(*)
  FROM output WHERE recorded_at IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.corrections', NULL, count(*)
  FROM (SELECT tool FROM correction UNION ALL SELECT tool FROM withdrawal) s GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.verdicts', NULL, count(*) + count(undone_at)
  FROM verdict GROUP BY 2
UNION ALL
SELECT CASE WHEN parked THEN 'parked' ELSE 'dead_lettered' END, coalesce(tool, ''), 0, topic,
       NULL, count(*)
  FROM dead_letter WHERE consumer = 'feedback' GROUP BY 1, 2, 4;

CREATE TEMP VIEW kept_count AS
SELECT CASE measure WHEN 'overrides_withdrawn' THEN 'overridden' ELSE measure END AS measure, tool,
       CASE WHEN measure IN ('outputs', 'overridden', 'overrides_withdrawn', 'corrections',
                            'exceptions')
            THEN version ELSE 0 END AS version,
       CASE measure WHEN 'escalations' THEN '' ELSE label END AS label,
       hour, CASE measure WHEN 'overrides_withdrawn' THEN -n ELSE n END AS n
  FROM (SELECT measure, tool, version, label, NULL::timestamptz AS hour, n FROM total_count
        UNION ALL SELECT measure, tool, version, label, hour, n FROM hourly_count) counted
 WHERE measure NOT IN ('duplicate', 'gate_disagreements');

-- What we published, wherever it is: sent by way of the outbox, or put onto the log itself.
-- A table, so that nothing but our own events is read as JSON.
CREATE TEMP TABLE published AS
SELECT topic, convert_from(value, 'UTF8')::jsonb AS event FROM outbox
 WHERE topic IN ('secondlook.cases', 'secondlook.reviews')
UNION ALL
SELECT p.topic, convert_from(r.value, 'UTF8')::jsonb
  FROM log_record r JOIN log_partition p ON p.id = r.partition_id
 WHERE p.topic IN ('secondlook.cases', 'secondlook.reviews') AND r.appended_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM outbox o WHERE o.topic = p.topic AND o.value = r.value);

CREATE TEMP VIEW requested AS
SELECT event->'data'->>'tool' AS tool, event->'data'->>'output_id' AS output_id,
       event->'data'->>'trigger' AS trigger, event->'data'->'output' AS facts,
       event->'data'->'objection'->>'correction_id' AS correction_id
  FROM published WHERE event->>'type' = 'secondlook.review.requested.v1';

-- The timeline with the cycle that each entry belongs to, and the word before it on who holds.
CREATE TEMP VIEW told AS
SELECT t.*, 1 + count(*) FILTER (WHERE event = 'reopened') OVER up_to_here AS cycle
  FROM timeline_entry t WINDOW up_to_here AS (PARTITION BY case_id ORDER BY id);

CREATE TEMP VIEW holding AS
SELECT case_id, id, event, actor,
       lag(event) OVER before AS event_before, lag(actor) OVER before AS actor_before
  FROM timeline_entry WHERE event IN ('claimed', 'released', 'reassigned', 'resolved')
WINDOW before AS (PARTITION BY case_id ORDER BY id);
"""

_OPEN = "state IN ('open', 'claimed', 'waiting', 'snoozed')"

_NO_LIMIT = 1_000_000_000

CHECKS = (
    # I1: sent = stored + duplicate + dead-lettered + parked.
    _Check(
        "received",
        """SELECT format('%s holds %s records, %s to %s were sent', s.topic,
                         coalesce(e.held, 0), s.least, s.most)
             FROM (SELECT topic, sum(times) AS least, sum(times + unanswered) AS most
                     FROM sent GROUP BY topic) s
             LEFT JOIN (SELECT topic, sum(next_offset) AS held FROM log_end GROUP BY topic) e
                  USING (topic)
            WHERE coalesce(e.held, 0) NOT BETWEEN s.least AND s.most""",
    ),
    _Check(
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
    _Check(
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
    _Check(
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
    _Check(
        "unknown",
        """SELECT format('output %s is stored and nobody sent it', o.output_id) FROM output o
            WHERE o.recorded_at IS NOT NULL AND EXISTS (SELECT FROM sent)
              AND NOT EXISTS (SELECT FROM sent s WHERE s.topic = 'secondlook.outputs'
                              AND (s.name = o.output_id OR s.fate = 'any'))""",
    ),
    # I2: every id once.
    _Check(
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
    # I3: every open case has an active owner.
    _Check(
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
    _Check(
        "unfired",
        f"""SELECT format('the %s timer %s of case %s was due at %s and has not fired', t.kind,
                          t.rung, t.case_id, t.due_at)
              FROM timer t JOIN "case" c ON c.id = t.case_id
             WHERE t.fired_at IS NULL AND t.stopped_at IS NULL AND c.{_OPEN}
               AND t.due_at < clock_timestamp() - interval '10 s'""",
    ),
    _Check(
        "deadlines",
        """SELECT format('the %s clock of case %s fired %s times and was told %s times',
                         clock, case_id, fired, told)
             FROM (SELECT case_id, kind AS clock, count(fired_at) AS fired FROM timer
                    WHERE kind <> 'rung' GROUP BY 1, 2) f
             FULL JOIN (SELECT case_id, detail->>'clock' AS clock, count(*) AS told
                          FROM timeline_entry WHERE event = 'overdue' GROUP BY 1, 2) t
                  USING (case_id, clock)
            WHERE coalesce(fired, 0) <> coalesce(told, 0)""",
    ),
    _Check(
        "rungs",
        """SELECT format('case %s was escalated to level %s %s times in cycle %s', case_id,
                         detail->>'level', count(*), cycle)
             FROM told WHERE event = 'escalated' AND detail ? 'level'
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
              AND coalesce(c.ladder->(t.rung + 1)::int->>'at', CASE
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
            WHERE coalesce(told.n, 0) <> coalesce(fired.n, 0)""",
    ),
    _Check(
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
    # Claims: who writes holds.
    _Check(
        "fencing",
        """SELECT format('%s resolved case %s without holding it: before that, %s by %s', actor,
                         case_id, coalesce(event_before, 'nothing'),
                         coalesce(actor_before, 'nobody'))
             FROM holding
            WHERE event = 'resolved'
              AND (event_before, actor_before) IS DISTINCT FROM ('claimed', actor)
           UNION ALL
           SELECT format('case %s counts %s claims, its timeline %s', c.id, c.claim_seq,
                         count(h.id))
             FROM "case" c LEFT JOIN holding h ON h.case_id = c.id
            GROUP BY c.id HAVING c.claim_seq <> count(h.id)""",
    ),
    _Check(
        "verdicts",
        """SELECT format('%s gave %s to %s verdicts on case %s, which tells of %s', j.actor,
                         j.times, j.times + j.unanswered, j.case_id, count(t.id))
             FROM reviewed j LEFT JOIN timeline_entry t ON t.case_id = j.case_id
              AND t.actor = j.actor AND t.event = 'resolved'
            GROUP BY j.case_id, j.actor, j.times, j.unanswered
           HAVING count(t.id) NOT BETWEEN j.times AND j.times + j.unanswered""",
    ),
    # I6: every count is what its rows say, and every truth what was said.
    _Check(
        "totals",
        """SELECT format('%s of %s (%s, %s): %s counted, %s there', measure, tool, version,
                         label, coalesce(k.n, 0), coalesce(r.n, 0))
             FROM (SELECT measure, tool, version, label, sum(n) AS n FROM kept_count
                    WHERE hour IS NULL GROUP BY 1, 2, 3, 4) k
             FULL JOIN (SELECT measure, tool, version, label, sum(n) AS n FROM raw_count
                         GROUP BY 1, 2, 3, 4) r USING (measure, tool, version, label)
            WHERE coalesce(k.n, 0) <> coalesce(r.n, 0)""",
    ),
    _Check(
        "hours",
        """SELECT format('%s of %s (%s, %s) at %s: %s counted, %s there', measure, tool,
                         version, label, hour, coalesce(k.n, 0), coalesce(r.n, 0))
             FROM (SELECT measure, tool, version, label, hour, sum(n) AS n FROM kept_count
                    WHERE hour IS NOT NULL AND measure IN ('outputs', 'overridden', 'cases',
                          'verdicts', 'overdue', 'exceptions') GROUP BY 1, 2, 3, 4, 5) k
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
    _Check(
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
                            AND w.actor = c.actor)
                   ORDER BY least(c.occurred_at, c.recorded_at) DESC,
                            c.event_id COLLATE "C" DESC LIMIT 1) word ON true
             LEFT JOIN LATERAL (
                  SELECT v.verdict, v.value FROM verdict v
                   WHERE v.tool = o.tool AND v.output_id = o.output_id
                     AND v.verdict IN ('upheld', 'corrected') AND v.undone_at IS NULL
                   ORDER BY v.at DESC LIMIT 1) reviewed ON true
            CROSS JOIN LATERAL (SELECT CASE
                  WHEN reviewed.verdict IS NOT NULL THEN reviewed.value IS DISTINCT FROM o.value
                  WHEN word.kind = 'confirmation' THEN false
                  WHEN word.kind = 'correction' THEN word.value IS DISTINCT FROM o.value
                  END AS overridden) said
            WHERE o.recorded_at IS NOT NULL AND o.overridden IS DISTINCT FROM said.overridden""",
    ),
    _Check(
        "met",
        """SELECT format('correction %s of %s speaks of an output that has no row', c.event_id,
                         c.tool)
             FROM correction c LEFT JOIN output o USING (tool, output_id)
            WHERE o.output_id IS NULL""",
    ),
    _Check(
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
    _Check(
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
    _Check(
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
    _Check(
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
                     AND t.correction_id = w.event_id AND t.actor = w.actor) AS withdrawn) said
            WHERE o.recorded_at IS NOT NULL AND w.kind IN ('dispute', 'appeal')
              AND CASE WHEN b.case_id IS NULL THEN NOT said.withdrawn
                       ELSE (b.withdrawn_at IS NOT NULL) <> said.withdrawn END""",
    ),
    # What one package tells the other.
    _Check(
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
    _Check(
        "told",
        """SELECT format('case %s: %s happened %s times and was told %s times', case_id, event,
                         coalesce(t.n, 0), coalesce(o.n, 0))
             FROM (SELECT case_id, event, count(*) AS n FROM timeline_entry
                    WHERE event NOT IN ('rung skipped', 'output arrived', 'dispute withdrawn')
                    GROUP BY 1, 2) t
             FULL JOIN (SELECT (data->>'case_id')::bigint AS case_id,
                               split_part(type, '.', 3) AS event, count(*) AS n
                          FROM (SELECT event->>'type' AS type, event->'data' AS data
                                  FROM published WHERE topic = 'secondlook.cases') d
                         GROUP BY 1, 2) o USING (case_id, event)
            WHERE coalesce(t.n, 0) <> coalesce(o.n, 0)""",
    ),
    _Check(
        "arrived",
        """SELECT format('case %s was resolved %s times, feedback knows of %s', case_id,
                         coalesce(r.n, 0), coalesce(v.n, 0))
             FROM (SELECT case_id, count(*) AS n FROM timeline_entry WHERE event = 'resolved'
                    GROUP BY 1) r
             FULL JOIN (SELECT case_id, count(*) AS n FROM verdict GROUP BY 1) v
                  USING (case_id)
            WHERE coalesce(r.n, 0) <> coalesce(v.n, 0)
           UNION ALL
           SELECT format('%s objections have met their output, %s were told', met.n, told.n)
             FROM (SELECT count(*) AS n FROM correction c JOIN output o USING (tool, output_id)
                    WHERE o.recorded_at IS NOT NULL AND c.kind IN ('dispute', 'appeal')
                      AND NOT EXISTS (
                          SELECT FROM withdrawal w WHERE w.tool = c.tool AND w.actor = c.actor
                             AND w.correction_id = c.event_id
                             AND w.recorded_at <= greatest(c.recorded_at, o.recorded_at))) met,
                  (SELECT count(*) AS n FROM requested WHERE trigger = 'dispute') told
            WHERE met.n <> told.n
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
    # The offsets.
    _Check(
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


def check(
    url: str, ledger: Ledger, ends: Ends | None = None, *, repeats: bool = False
) -> list[Violation]:
    """Every broken promise. `ends` are of Kafka; without them the log in the database counts.

    `repeats`: the log's client may write a record again without its sender's knowledge, as
    Kafka's does when a broker dies after writing. What it writes must be explained all the same.
    """
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _prepare(connection, ledger, ends, spare=_NO_LIMIT if repeats else 0)
        found = []
        for name, sql in CHECKS:
            found += [Violation(name, row[0]) for row in connection.execute(sql)]
        connection.rollback()
    return found


def _prepare(
    connection: "psycopg.Connection[Any]", ledger: Ledger, ends: Ends | None, *, spare: int
) -> None:
    """Put what is known outside of the database beside its tables, for this transaction."""
    connection.execute(_GIVEN)
    sent = ((s.topic, s.name, s.fate, s.times, s.unanswered + spare) for s in ledger.sent.values())
    _copy(connection, "sent", sent)
    reviewed = (
        (case, actor, s.times, s.unanswered) for (case, actor), s in ledger.verdicts.items()
    )
    _copy(connection, "reviewed", reviewed)
    if ends is None:
        connection.execute(
            "INSERT INTO log_end SELECT topic, number, next_offset FROM log_partition"
        )
    else:
        _copy(connection, "log_end", ((*place, end) for place, end in ends.items()))
    connection.execute(_RAW)


def _copy(
    connection: "psycopg.Connection[Any]", table: str, rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


_FIGURES = """
SELECT (SELECT count(*) FROM output WHERE recorded_at IS NOT NULL)
       + (SELECT count(*) FROM correction) + (SELECT count(*) FROM withdrawal),
       (SELECT count(*) FROM dead_letter WHERE consumer = 'feedback' AND NOT parked),
       (SELECT count(*) FROM dead_letter WHERE consumer = 'feedback' AND parked)
"""


def figures(url: str, ends: Ends | None = None) -> dict[str, int]:
    """What `secondlook account` must say, counted from the rows and the log alone."""
    with psycopg.connect(url) as connection:
        if ends is None:
            rows = connection.execute("SELECT topic, number, next_offset FROM log_partition")
            ends = {(topic, number): end for topic, number, end in rows}
        stored, dead, parked = connection.execute(_FIGURES).fetchone() or (0, 0, 0)
    received = sum(end for (topic, _), end in ends.items() if topic in (OUTPUTS, CORRECTIONS))
    return {
        "received": received,
        "stored": stored,
        "duplicate": received - stored - dead - parked,
        "dead_lettered": dead,
        "parked": parked,
        "unexplained": 0,
    }
