"""accounts with limits, API keys, idempotency keys"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("old_webhook_secret", sa.Text()))
    op.add_column("accounts", sa.Column("old_webhook_secret_until", sa.DateTime(timezone=True)))
    op.add_column("accounts", sa.Column("requests_per_minute", sa.Integer()))
    op.add_column("accounts", sa.Column("requests_used_until", sa.DateTime(timezone=True)))
    op.add_column("accounts", sa.Column("queue_limit", sa.Integer()))
    op.add_column("accounts", sa.Column("s3_prefixes", postgresql.JSONB()))
    op.create_unique_constraint(op.f("uq_accounts_name"), "accounts", ["name"])
    op.create_check_constraint(op.f("ck_accounts_requests_per_minute"), "accounts", "requests_per_minute > 0")
    op.create_check_constraint(op.f("ck_accounts_queue_limit"), "accounts", "queue_limit > 0")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("length(sha256) = 32", name=op.f("ck_api_keys_sha256")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_account_id"), "api_keys", ["account_id"])
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_idempotency_keys_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_index("ix_batches_account_id_id", "batches", ["account_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_batches_account_id_id", "batches")
    op.drop_table("idempotency_keys")
    op.drop_table("api_keys")
    op.drop_constraint(op.f("uq_accounts_name"), "accounts")
    for column in ("s3_prefixes", "queue_limit", "requests_used_until", "requests_per_minute"):
        op.drop_column("accounts", column)
    for column in ("old_webhook_secret_until", "old_webhook_secret"):
        op.drop_column("accounts", column)
