"""First tables.

Revision 0001, after nothing. The tables of each package lie in a file of its own.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_FIRST = Path(__file__).parent.parent / "first"
_FILES = ("kit", "people", "tools", "feedback", "escalation", "notifications", "guards")


def upgrade() -> None:
    """Make everything."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    for name in _FILES:
        # As it stands: a colon in a pattern is no parameter.
        connection.execute((_FIRST / f"{name}.sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Leave nothing but Alembic's own table."""
    op.execute("""
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema() AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DROP TABLE %I CASCADE', found.tablename);
    END LOOP;
    FOR found IN SELECT p.oid::regprocedure AS signature FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e') LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', found.signature);
    END LOOP;
    DROP SEQUENCE IF EXISTS tool_revision;
END $$""")
