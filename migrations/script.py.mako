"""${message}

Revision ${up_revision}, after ${down_revision or "nothing"}.

The previous release is still running while this one migrates: add before you use, stop
using before you remove.
"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
