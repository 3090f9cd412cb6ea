"""what failed and may have been charged is found by content; a retry may pay again in spite of it"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Few rows at any size, so an index of its own: `ix_jobs_content` would have to be built anew over all that was done.
UNCLEAR = "state = 'failed' AND cost_usd IS NOT NULL AND num_nulls(superseded_at) = 1 AND content_key IS NOT NULL"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("is_paid_again", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_jobs_unclear", "jobs", ["content_key"], postgresql_where=sa.text(UNCLEAR))


def downgrade() -> None:
    op.drop_index("ix_jobs_unclear", "jobs")
    op.drop_column("jobs", "is_paid_again")
