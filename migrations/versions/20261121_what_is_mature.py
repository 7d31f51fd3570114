"""What is mature stays so when a tool's maturity grows.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One schema further."""
    op.add_column("tool", sa.Column("matured_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """One schema back."""
    op.drop_column("tool", "matured_since")
