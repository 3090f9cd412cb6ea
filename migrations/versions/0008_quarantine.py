"""jobs whose workers fell silent twice are found by key; failures of calls are counted from one success to the next"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_suspect", "jobs", ["due_at"], postgresql_where=sa.text("claims >= 2"))
    op.add_column("upstreams", sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.drop_column("upstreams", "failures")
    op.drop_index("ix_jobs_suspect", "jobs")
