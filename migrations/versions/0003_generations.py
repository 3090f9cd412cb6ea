"""a job can be retried: a new row, the next generation, which counts in the place of the one before; callbacks"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ERRORS = "state IN ('failed', 'rejected', 'expired')"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("generation", sa.SmallInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("jobs", sa.Column("retry_of", sa.Uuid()))
    op.add_column("jobs", sa.Column("superseded_at", sa.DateTime(timezone=True)))
    op.add_column("jobs", sa.Column("is_woken", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_foreign_key(op.f("fk_jobs_retry_of_jobs"), "jobs", "jobs", ["retry_of"], ["id"])
    op.drop_constraint("uq_jobs_batch_id_custom_id", "jobs")
    op.create_index(
        "uq_jobs_batch_id_custom_id",
        "jobs",
        ["batch_id", "custom_id"],
        unique=True,
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.drop_index("ix_jobs_errors", "jobs")
    op.create_index(
        "ix_jobs_errors",
        "jobs",
        ["batch_id", "error_code"],
        postgresql_where=sa.text(f"{ERRORS} AND superseded_at IS NULL"),
    )
    op.create_index("ix_jobs_remote_job_id", "jobs", ["remote_job_id"], postgresql_where=sa.text("state = 'running'"))
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"], postgresql_where=sa.text("retry_of IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_jobs_retry_of", "jobs")
    op.drop_index("ix_jobs_remote_job_id", "jobs")
    op.drop_index("ix_jobs_errors", "jobs")
    op.create_index("ix_jobs_errors", "jobs", ["batch_id", "error_code"], postgresql_where=sa.text(ERRORS))
    op.drop_index("uq_jobs_batch_id_custom_id", "jobs")
    op.execute("UPDATE jobs SET custom_id = NULL WHERE superseded_at IS NOT NULL")
    op.create_unique_constraint("uq_jobs_batch_id_custom_id", "jobs", ["batch_id", "custom_id"])
    for column in ("is_woken", "superseded_at", "retry_of", "generation"):
        op.drop_column("jobs", column)
