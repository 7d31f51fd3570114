"""Everybody who objected to what a case is about, each objection once.

Revision 0008, after 0007. Of cases of before the last objection alone is known.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KNOWN = """
INSERT INTO objection (case_id, correction_id, actor, said, at)
SELECT id, dispute->>'id', coalesce(disputed_by, ''), dispute, opened_at
FROM "case" WHERE dispute->>'id' IS NOT NULL
"""


def upgrade() -> None:
    """One schema further."""
    op.create_table(
        "objection",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("correction_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("said", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_objection_case_id_case")),
        sa.PrimaryKeyConstraint("case_id", "correction_id", name=op.f("pk_objection")),
    )
    op.execute(_KNOWN)
    where = sa.text("trigger = 'unmatched' AND kind IS NULL")
    op.create_index("ix_case_awaiting", "case", ["tool", "output_id"], postgresql_where=where)


def downgrade() -> None:
    """One schema back."""
    op.drop_index("ix_case_awaiting", table_name="case")
    op.drop_table("objection")
