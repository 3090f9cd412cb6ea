"""jobs whose workers fell silent twice are found by key"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_suspect", "jobs", ["due_at"], postgresql_where=sa.text("claims >= 2"))


def downgrade() -> None:
    op.drop_index("ix_jobs_suspect", "jobs")
