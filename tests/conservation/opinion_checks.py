"""Promises about cases that several people review: one opinion each, and a verdict from them."""

from tests.conservation.ledger import Check

# What each standing opinion comes to: the tool's own value is the tool upheld. Values of texts,
# flags and categories alone, as fields that differ in their form may say the same.
_SAID = """
SELECT p.case_id, p.cycle, p.id, p.reviewer,
       CASE WHEN p.verdict = 'corrected' AND p.value = o.value THEN 'upheld'
            ELSE p.verdict END AS verdict,
       CASE WHEN p.value = o.value THEN NULL ELSE p.value END AS value
  FROM opinion p JOIN case_output o USING (case_id) WHERE p.taken_back_at IS NULL
"""

OPINION_CHECKS = (
    Check(
        "opinions",
        """SELECT format('%s gave %s opinions on case %s in cycle %s', reviewer, count(*), case_id,
                         cycle)
             FROM opinion WHERE taken_back_at IS NULL
            GROUP BY case_id, cycle, reviewer HAVING count(*) > 1
           UNION ALL
           SELECT format('case %s holds %s opinions, its timeline tells of %s', c.id,
                         coalesce(p.n, 0), coalesce(t.n, 0))
             FROM "case" c
             LEFT JOIN (SELECT case_id, count(*) AS n FROM opinion GROUP BY 1) p
                  ON p.case_id = c.id
             LEFT JOIN (SELECT case_id, count(*) AS n FROM timeline_entry
                         WHERE event = 'reviewed' GROUP BY 1) t ON t.case_id = c.id
            WHERE coalesce(p.n, 0) <> coalesce(t.n, 0)
           UNION ALL
           SELECT format('%s disputed the output of case %s and gave an opinion on it', p.reviewer,
                         p.case_id)
             FROM opinion p JOIN objection b ON b.case_id = p.case_id AND b.actor = p.reviewer
              AND b.withdrawn_at IS NULL AND b.at < p.given_at
            WHERE p.taken_back_at IS NULL
           UNION ALL
           SELECT format('case %s asks one reviewer and has an opinion', c.id)
             FROM "case" c JOIN opinion p ON p.case_id = c.id WHERE c.reviewers = 1""",
    ),
    # A verdict is what two opinions say, or the word of a lead who was needed for it.
    Check(
        "judged",
        f"""WITH said AS ({_SAID}), last AS (
                SELECT DISTINCT ON (case_id) case_id, actor, note, detail->>'by' AS by
                  FROM timeline_entry WHERE event = 'resolved' ORDER BY case_id, id DESC
            ), counted AS (
                SELECT c.id, c.reviewers, c.verdict, c.verdict_value, count(s.id) AS given,
                       count(s.id) FILTER (WHERE s.verdict = c.verdict AND
                           s.value IS NOT DISTINCT FROM c.verdict_value) AS alike
                  FROM "case" c LEFT JOIN said s ON s.case_id = c.id AND s.cycle = c.cycle
                 WHERE c.verdict IS NOT NULL AND c.reviewers > 1 GROUP BY c.id)
           SELECT format('case %s is %s by %s: %s of %s opinions say so', k.id, k.verdict,
                         coalesce(l.by, 'nobody'), k.alike, k.given)
             FROM counted k LEFT JOIN last l ON l.case_id = k.id
            WHERE CASE l.by WHEN 'opinions' THEN k.alike < 2 OR k.given < k.reviewers
                            WHEN 'adjudication' THEN k.given <> 3
                            WHEN 'alone' THEN l.note IS NULL ELSE true END
           UNION ALL
           SELECT format('%s settled case %s and leads nobody', l.actor, l.case_id)
             FROM last l LEFT JOIN person p ON p.email = l.actor
            WHERE l.by IN ('adjudication', 'alone')
              AND (p.role IS NULL OR p.role NOT IN ('lead', 'admin'))
           UNION ALL
           SELECT format('case %s has %s opinions and %s a lead', c.id, count(s.id),
                         CASE WHEN c.divided THEN 'asks' ELSE 'does not ask' END)
             FROM "case" c LEFT JOIN said s ON s.case_id = c.id AND s.cycle = c.cycle
            WHERE c.reviewers > 1 AND c.verdict IS NULL GROUP BY c.id
           HAVING c.divided <> (count(s.id) = 3)""",
    ),
)
