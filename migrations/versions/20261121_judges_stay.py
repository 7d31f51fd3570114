"""Open cases keep somebody who may judge them, whatever is done to people and teams.

Revision 0005, after 0004. What the previous release does still works; where it would have
left a case to nobody, the database now refuses it. Rows of before are not looked at.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_JUDGES = "('owner', 'lead', 'admin')"
_OPEN = "('open', 'claimed', 'waiting', 'snoozed')"

_HAS_JUDGE = f"""
CREATE FUNCTION has_judge(slug text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM team t
        JOIN membership m ON m.team = t.slug
        JOIN person p ON p.email = m.person
        WHERE t.slug = $1 AND t.active AND p.active AND p.role IN {_JUDGES})
$$"""


def _require_owner(team: str, person: str, words: str) -> str:
    return f"""
CREATE OR REPLACE FUNCTION require_active_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE there boolean;
BEGIN
    IF NEW.owner_team IS NOT NULL THEN
        PERFORM FROM team WHERE slug = NEW.owner_team AND active FOR SHARE;
        there := FOUND{team};
    ELSE
        PERFORM FROM person WHERE email = NEW.owner_person AND active{person} FOR SHARE;
        there := FOUND;
    END IF;
    IF NOT there THEN
        RAISE EXCEPTION '% is not active{words} and cannot own a case',
            coalesce(NEW.owner_team, NEW.owner_person)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owner_is_active';
    END IF;
    RETURN NEW;
END $$"""


# A team's row is locked before its judges are counted, so of two people who would leave it
# at the same moment the second sees that the first has gone.
_JUDGE_STAYS = (
    f"""
CREATE FUNCTION refuse_last_judge(team_left text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM team WHERE slug = team_left FOR NO KEY UPDATE;
    IF NOT has_judge(team_left) AND (
        EXISTS (SELECT FROM "case" WHERE owner_team = team_left AND state IN {_OPEN})
        OR EXISTS (SELECT FROM tool WHERE team = team_left)
    ) THEN
        RAISE EXCEPTION 'nobody would judge in team % any more', team_left
            USING ERRCODE = 'check_violation', CONSTRAINT = 'judge_stays', DETAIL = team_left;
    END IF;
END $$""",
    """
CREATE FUNCTION refuse_person_last_judge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE left_behind text;
BEGIN
    FOR left_behind IN SELECT team FROM membership WHERE person = NEW.email ORDER BY team LOOP
        PERFORM refuse_last_judge(left_behind);
    END LOOP;
    RETURN NULL;
END $$""",
    f"""
CREATE FUNCTION refuse_member_last_judge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM person
               WHERE email = OLD.person AND active AND role IN {_JUDGES}) THEN
        PERFORM refuse_last_judge(OLD.team);
    END IF;
    RETURN NULL;
END $$""",
    """
CREATE FUNCTION refuse_last_admin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('secondlook last admin'));
    IF NOT EXISTS (SELECT FROM person WHERE active AND role = 'admin') THEN
        RAISE EXCEPTION 'there would be no admin any more'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'admin_stays';
    END IF;
    RETURN NULL;
END $$""",
)

_NO_LONGER_JUDGES = f"""
OLD.active AND OLD.role IN {_JUDGES} AND NOT (NEW.active AND NEW.role IN {_JUDGES})"""

_TRIGGERS = (
    f"""
CREATE TRIGGER owner_stays BEFORE UPDATE OF role, active ON person
FOR EACH ROW WHEN ({_NO_LONGER_JUDGES}) EXECUTE FUNCTION refuse_leaving_owner()""",
    f"""
CREATE TRIGGER judge_stays AFTER UPDATE OF role, active ON person
FOR EACH ROW WHEN ({_NO_LONGER_JUDGES}) EXECUTE FUNCTION refuse_person_last_judge()""",
    """
CREATE TRIGGER judge_stays AFTER UPDATE OR DELETE ON membership
FOR EACH ROW EXECUTE FUNCTION refuse_member_last_judge()""",
    """
CREATE TRIGGER admin_stays AFTER UPDATE OF role, active ON person
FOR EACH ROW WHEN (
    OLD.active AND OLD.role = 'admin' AND NOT (NEW.active AND NEW.role = 'admin'))
EXECUTE FUNCTION refuse_last_admin()""",
    f"""
CREATE TRIGGER owner_is_there_again BEFORE UPDATE OF state ON "case"
FOR EACH ROW WHEN (OLD.state NOT IN {_OPEN} AND NEW.state IN {_OPEN})
EXECUTE FUNCTION require_active_owner()""",
)


def upgrade() -> None:
    """One schema further."""
    op.execute(_HAS_JUDGE)
    op.execute(
        _require_owner(
            " AND has_judge(NEW.owner_team)", f" AND role IN {_JUDGES}", " or has nobody who judges"
        )
    )
    for statement in _JUDGE_STAYS:
        op.execute(statement)
    op.execute("DROP TRIGGER owner_stays ON person")
    for statement in _TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """One schema back."""
    op.execute('DROP TRIGGER owner_is_there_again ON "case"')
    op.execute("DROP TRIGGER judge_stays ON membership")
    for trigger in ("admin_stays", "judge_stays", "owner_stays"):
        op.execute(f"DROP TRIGGER {trigger} ON person")
    op.execute("""
CREATE TRIGGER owner_stays BEFORE UPDATE OF active ON person
FOR EACH ROW WHEN (OLD.active AND NOT NEW.active) EXECUTE FUNCTION refuse_leaving_owner()""")
    op.execute("DROP FUNCTION refuse_last_admin()")
    op.execute("DROP FUNCTION refuse_member_last_judge()")
    op.execute("DROP FUNCTION refuse_person_last_judge()")
    op.execute("DROP FUNCTION refuse_last_judge(text)")
    op.execute(_require_owner("", "", ""))
    op.execute("DROP FUNCTION has_judge(text)")
