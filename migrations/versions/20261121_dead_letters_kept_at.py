"""When each dead letter was kept.

Revision 0002, after 0001. Letters of before count as kept when this runs.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One schema further."""
    moment = sa.Column(
        "kept_at",
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()"),
        nullable=False,
    )
    op.add_column("dead_letter", moment)
    op.create_index("ix_dead_letter_kept", "dead_letter", ["consumer", "kept_at"])


def downgrade() -> None:
    """One schema back."""
    op.drop_index("ix_dead_letter_kept", table_name="dead_letter")
    op.drop_column("dead_letter", "kept_at")
