"""the controller of the limit remembers at which one it was refused"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("upstreams", sa.Column("refused_limit", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("upstreams", "refused_limit")
