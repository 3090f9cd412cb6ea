"""jobs, batches, outputs, attempts, deliveries"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "outputs",
    "attempts",
    "deliveries",
    "jobs",
    "batch_deltas",
    "batch_counts",
    "batches",
    "upstream_reports",
    "upstreams",
    "accounts",
)

# The secret is 32 bytes, 244 bits of them random (two UUIDv4), as Standard Webhooks writes secrets down.
DEFAULT_ROWS = """
INSERT INTO accounts (id, name, webhook_secret)
VALUES (
    '00000000-0000-7000-8000-000000000001',
    'default',
    'whsec_' || encode(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'), 'base64')
);
INSERT INTO upstreams (name) VALUES ('phota');
"""

# Counts and events follow from the rows themselves, once a statement, whoever writes.
_COUNT = """
    INSERT INTO batch_deltas (batch_id, state, jobs, estimate_usd, cost_usd)
    SELECT batch_id, state, sum(n), sum(n * estimate_usd), sum(n * coalesce(cost_usd, 0))
    FROM ({rows}) AS change
    WHERE batch_id IS NOT NULL
    GROUP BY batch_id, state
    HAVING sum(n) <> 0 OR sum(n * estimate_usd) <> 0 OR sum(n * coalesce(cost_usd, 0)) <> 0;
"""
_TELL = """
    INSERT INTO deliveries (account_id, batch_id, job_id, type, url)
    SELECT job.account_id, job.batch_id, job.id, 'job.' || job.state, coalesce(job.webhook_url, batch.webhook_url)
    FROM ({ended}) AS job LEFT JOIN batches AS batch ON batch.id = job.batch_id
    WHERE job.finished_at IS NOT NULL AND job.state <> 'skipped'
      AND (job.webhook_url IS NOT NULL
           OR batch.webhook_url IS NOT NULL AND batch.webhook_events ? ('job.' || job.state));
"""
_NEW = "SELECT batch_id, state, estimate_usd, cost_usd, 1 AS n FROM new_jobs"
_OLD = "SELECT batch_id, state, estimate_usd, cost_usd, -1 AS n FROM old_jobs"
_ENDED = "SELECT new_jobs.* FROM new_jobs JOIN old_jobs ON old_jobs.id = new_jobs.id WHERE old_jobs.finished_at IS NULL"
JOB_CHANGES = f"""
CREATE FUNCTION jobs_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        {_COUNT.format(rows=_NEW)}
        {_TELL.format(ended="SELECT * FROM new_jobs")}
    ELSIF TG_OP = 'UPDATE' THEN
        {_COUNT.format(rows=_OLD + " UNION ALL " + _NEW)}
        {_TELL.format(ended=_ENDED)}
    ELSE
        {_COUNT.format(rows=_OLD)}
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION jobs_changed();
CREATE TRIGGER jobs_updated AFTER UPDATE ON jobs REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION jobs_changed();
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs REFERENCING OLD TABLE AS old_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION jobs_changed();
"""

BATCH_CHANGES = """
CREATE FUNCTION batch_status_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deliveries (account_id, batch_id, type, url)
    VALUES (NEW.account_id, NEW.id,
            'batch.' || CASE NEW.status WHEN 'running' THEN 'started' ELSE NEW.status END, NEW.webhook_url);
    RETURN NULL;
END $$;
CREATE TRIGGER batch_status_changed AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL AND NEW.status IS DISTINCT FROM OLD.status
          AND NEW.status NOT IN ('open', 'cancelling')
          AND (NEW.status <> 'running' OR OLD.started_at IS NULL))
    EXECUTE FUNCTION batch_status_changed();
"""

_STATES = (
    "queued",
    "submitting",
    "running",
    "storing",
    "succeeded",
    "failed",
    "rejected",
    "cancelled",
    "expired",
    "skipped",
)
_COUNTS = ",\n    ".join(f"coalesce(sum(jobs) FILTER (WHERE state = '{s}'), 0)::bigint AS {s}" for s in _STATES)
PROGRESS = f"""
CREATE VIEW batch_progress AS
SELECT batch.id AS batch_id, batch.account_id, batch.name, batch.status, batch.budget_usd, progress.*
FROM batches AS batch CROSS JOIN LATERAL (
    SELECT {_COUNTS},
    coalesce(sum(jobs), 0)::bigint AS total,
    coalesce(sum(estimate_usd), 0) AS estimated_usd,
    coalesce(sum(estimate_usd) FILTER (WHERE state IN ('submitting', 'running')), 0) AS reserved_usd,
    coalesce(sum(cost_usd), 0) AS spent_usd
    FROM (
        SELECT state, jobs, estimate_usd, cost_usd FROM batch_counts WHERE batch_id = batch.id
        UNION ALL
        SELECT state, jobs, estimate_usd, cost_usd FROM batch_deltas WHERE batch_id = batch.id
    ) AS counted
) AS progress;
"""

# These rows live short or change often: vacuum early, and leave room in the page for the next version of a row.
VACUUM = """
ALTER TABLE jobs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE batch_deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE upstream_reports SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
"""


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("webhook_secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "upstream_reports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ok", sa.Integer(), nullable=False),
        sa.Column("throttled", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("retry_after_s", sa.Float(), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.Column("looks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstream_reports")),
    )
    op.create_table(
        "upstreams",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("in_flight_limit", sa.Float(), server_default=sa.text("8"), nullable=False),
        sa.Column("is_slow_start", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("decreased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_reason", sa.Text(), nullable=True),
        sa.Column("latency_s", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upstreams")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("budget_usd", sa.Numeric(precision=12, scale=4), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column(
            "webhook_events", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False
        ),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column(
            "status",
            sa.Text(),
            sa.Computed(
                "CASE WHEN outcome IS NOT NULL THEN outcome WHEN cancelled_at IS NOT NULL THEN 'cancelling' WHEN paused_at IS NOT NULL THEN 'paused' WHEN started_at IS NOT NULL THEN 'running' ELSE 'open' END",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.CheckConstraint(
            "outcome IN ('completed', 'completed_with_errors', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_batches_outcome"),
        ),
        sa.CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name=op.f("ck_batches_finished")),
        sa.CheckConstraint("(paused_at IS NULL) = (paused_reason IS NULL)", name=op.f("ck_batches_paused")),
        sa.CheckConstraint("budget_usd >= 0", name=op.f("ck_batches_budget_usd")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_batches_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("slug", name=op.f("uq_batches_slug")),
    )
    op.create_index(
        "ix_batches_unfinished",
        "batches",
        ["account_id", "name"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "batch_counts",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("estimate_usd", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_counts_batch_id_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "state", name=op.f("pk_batch_counts")),
    )
    op.create_table(
        "batch_deltas",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("estimate_usd", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_deltas")),
    )
    op.create_index(op.f("ix_batch_deltas_batch_id"), "batch_deltas", ["batch_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("lane_id", sa.Uuid(), sa.Computed("coalesce(batch_id, account_id)", persisted=True), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.Column("source", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'queued'"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
        sa.Column("hold", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("claims", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("client_request_id", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("remote_job_id", sa.Text(), nullable=True),
        sa.Column("poll_url", sa.Text(), nullable=True),
        sa.Column("result_urls", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("known_subjects", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("estimate_usd", sa.Numeric(precision=12, scale=4), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=12, scale=4), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'skipped')) = (due_at IS NULL)",
            name=op.f("ck_jobs_final_is_never_due"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'skipped')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_is_finished"),
        ),
        sa.CheckConstraint("hold IN ('idle', 'sent', 'held')", name=op.f("ck_jobs_hold")),
        sa.CheckConstraint("state <> 'queued' OR requested_at IS NULL", name=op.f("ck_jobs_queued_is_uncharged")),
        sa.CheckConstraint("state <> 'succeeded' OR cost_usd IS NOT NULL", name=op.f("ck_jobs_succeeded_is_charged")),
        sa.CheckConstraint(
            "state IN ('queued', 'submitting', 'running', 'storing', 'succeeded', 'failed', 'rejected', 'cancelled', 'expired', 'skipped')",
            name=op.f("ck_jobs_state"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_jobs_account_id_accounts")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_jobs_batch_id_batches")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("account_id", "idempotency_key", name=op.f("uq_jobs_account_id_idempotency_key")),
        sa.UniqueConstraint("batch_id", "custom_id", name=op.f("uq_jobs_batch_id_custom_id")),
    )
    op.create_index(
        "ix_jobs_admission",
        "jobs",
        ["priority", "lane_id", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_jobs_batch_id_id", "jobs", ["batch_id", "id"], unique=False)
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('submitting', 'running', 'storing')"),
    )
    op.create_index(
        "ix_jobs_errors",
        "jobs",
        ["batch_id", "error_code"],
        unique=False,
        postgresql_where=sa.text("state IN ('failed', 'rejected', 'expired')"),
    )
    op.create_index(
        "ix_jobs_expires_at",
        "jobs",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND expires_at IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint("stage IN ('submit', 'poll', 'store', 'notify')", name=op.f("ck_attempts_stage")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_job_id"), "attempts", ["job_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True),
        sa.Column("hold", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name=op.f("ck_deliveries_pending_is_due")),
        sa.CheckConstraint("hold IN ('idle', 'sent', 'held')", name=op.f("ck_deliveries_hold")),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_deliveries_account_id_accounts")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_deliveries_batch_id_batches"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(op.f("ix_deliveries_batch_id"), "deliveries", ["batch_id"], unique=False)
    op.create_index(
        "ix_deliveries_due_at", "deliveries", ["due_at"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(op.f("ix_deliveries_job_id"), "deliveries", ["job_id"], unique=False)
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.SmallInteger(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_outputs_sha256")),
        sa.CheckConstraint("bytes > 0 AND width > 0 AND height > 0", name=op.f("ck_outputs_size")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_outputs_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_outputs")),
    )
    for statement in (DEFAULT_ROWS, JOB_CHANGES, BATCH_CHANGES, PROGRESS, VACUUM):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW batch_progress")
    for table in TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION jobs_changed, batch_status_changed")
