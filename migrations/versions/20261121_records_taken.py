"""How many records each consumer has taken.

Revision 0003, after 0002. What was taken before is counted by its offsets.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One schema further."""
    taken = sa.Column("taken", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("consumer_offset", taken)
    op.execute("UPDATE consumer_offset SET taken = next_offset - start_offset")


def downgrade() -> None:
    """One schema back."""
    op.drop_column("consumer_offset", "taken")
