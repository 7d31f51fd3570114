"""How long each case's owners have to claim it, so that a new cycle gives as long again.

Revision 0006, after 0005. Cases of before have none, and are measured by their deadline.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One schema further."""
    op.add_column("case", sa.Column("claim_within", sa.Interval()))


def downgrade() -> None:
    """One schema back."""
    op.drop_column("case", "claim_within")
