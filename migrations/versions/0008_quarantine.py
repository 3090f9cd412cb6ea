"""jobs whose workers fell silent twice are found by key; failures and successes of calls in a row are counted"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_suspect", "jobs", ["due_at"], postgresql_where=sa.text("claims >= 2"))
    for name in ("failures", "calm"):
        op.add_column("upstreams", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    for name in ("calm", "failures"):
        op.drop_column("upstreams", name)
    op.drop_index("ix_jobs_suspect", "jobs")
