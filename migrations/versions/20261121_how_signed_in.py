"""How each browser session began, so that a password changes for whoever knows it alone.

Revision 0007, after 0006. Sessions of before count as begun with the password.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One schema further."""
    op.add_column("sign_in", sa.Column("how", sa.Text()))


def downgrade() -> None:
    """One schema back."""
    op.drop_column("sign_in", "how")
