"""webhook endpoints as rows; deliveries belong to one and keep the order of their events"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Every endpoint that an event concerns, once: named by the job, named by the batch, registered for the type.
_ENDPOINTS = """
    SELECT id, url, is_digest, disabled_at FROM webhook_endpoints
    WHERE account_id = {account} AND url = {own_url}
    UNION
    SELECT id, url, is_digest OR {batch_digest}, disabled_at FROM webhook_endpoints
    WHERE account_id = {account} AND url = {batch_url}
    UNION
    SELECT id, url, is_digest, disabled_at FROM webhook_endpoints
    WHERE account_id = {account} AND is_registered AND events ?| ARRAY[{type}, {family}, '*']
"""
# A disabled endpoint keeps its events, so that they can be replayed. The statement's time, not the transaction's: an
# event is due after those that its transaction saw committed, so a batch ends after its jobs.
_OUTCOME = """
    CASE WHEN endpoint.disabled_at IS NULL THEN 'pending' ELSE 'failed' END,
    CASE WHEN endpoint.disabled_at IS NULL THEN statement_timestamp() END,
    CASE WHEN endpoint.disabled_at IS NOT NULL THEN now() END,
    CASE WHEN endpoint.disabled_at IS NOT NULL THEN 'endpoint_disabled' END
"""
_JOB_ENDPOINTS = _ENDPOINTS.format(
    account="job.account_id",
    own_url="job.webhook_url",
    batch_url="CASE WHEN batch.webhook_events ? ('job.' || job.state) THEN batch.webhook_url END",
    batch_digest="batch.webhook_digest",
    type="'job.' || job.state",
    family="'job.*'",
)
_ENDED = "SELECT new_jobs.* FROM new_jobs JOIN old_jobs ON old_jobs.id = new_jobs.id WHERE old_jobs.finished_at IS NULL"
_TELL = f"""
        INSERT INTO deliveries (account_id, batch_id, job_id, type, endpoint_id, url, is_digest, state, due_at,
                                finished_at, error)
        SELECT job.account_id, job.batch_id, job.id, 'job.' || job.state, endpoint.id, endpoint.url,
               bool_or(endpoint.is_digest) AND job.batch_id IS NOT NULL, {_OUTCOME}
        FROM ({{ended}}) AS job LEFT JOIN batches AS batch ON batch.id = job.batch_id
        CROSS JOIN LATERAL ({_JOB_ENDPOINTS}) AS endpoint
        WHERE job.finished_at IS NOT NULL AND job.state <> 'skipped'
        GROUP BY job.account_id, job.batch_id, job.id, job.state, job.finished_at, endpoint.id, endpoint.url,
                 endpoint.disabled_at
        ORDER BY job.finished_at, job.id;
"""
# A generation that another took the place of counts no more, but what it cost is spent.
_ROWS = """
            SELECT batch_id, state, estimate_usd, cost_usd, {n} AS n,
                   CASE WHEN superseded_at IS NULL THEN {n} ELSE 0 END AS jobs
            FROM {table}
"""
_NEW, _OLD = _ROWS.format(n="1", table="new_jobs"), _ROWS.format(n="-1", table="old_jobs")
_COUNT = """
        INSERT INTO batch_deltas (batch_id, state, jobs, estimate_usd, cost_usd)
        SELECT batch_id, state, sum(jobs), sum(jobs * estimate_usd), sum(n * coalesce(cost_usd, 0))
        FROM ({rows}) AS change
        WHERE batch_id IS NOT NULL
        GROUP BY batch_id, state
        HAVING sum(jobs) <> 0 OR sum(jobs * estimate_usd) <> 0 OR sum(n * coalesce(cost_usd, 0)) <> 0;
"""
JOBS_CHANGED = f"""
CREATE OR REPLACE FUNCTION jobs_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO webhook_endpoints (account_id, url)
        SELECT DISTINCT account_id, webhook_url FROM new_jobs WHERE webhook_url IS NOT NULL
        ORDER BY account_id, webhook_url ON CONFLICT DO NOTHING;
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
"""
_BATCH_ENDPOINTS = _ENDPOINTS.format(
    account="NEW.account_id",
    own_url="NEW.webhook_url",
    batch_url="NULL",
    batch_digest="false",
    type="event_type",
    family="'batch.*'",
)
BATCH_STATUS_CHANGED = f"""
CREATE OR REPLACE FUNCTION batch_status_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE event_type text := 'batch.' || CASE TG_NAME WHEN 'batch_started' THEN 'started' ELSE NEW.status END;
BEGIN
    INSERT INTO deliveries (account_id, batch_id, type, endpoint_id, url, state, due_at, finished_at, error)
    SELECT NEW.account_id, NEW.id, event_type, endpoint.id, endpoint.url, {_OUTCOME}
    FROM ({_BATCH_ENDPOINTS}) AS endpoint;
    RETURN NULL;
END $$;
DROP TRIGGER batch_status_changed ON batches;
CREATE TRIGGER batch_status_changed AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.status IS DISTINCT FROM OLD.status AND NEW.status NOT IN ('open', 'running', 'cancelling'))
    EXECUTE FUNCTION batch_status_changed();
CREATE TRIGGER batch_started AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.started_at IS NOT NULL AND OLD.started_at IS NULL)  -- also of one that was paused in that moment
    EXECUTE FUNCTION batch_status_changed();
"""
BATCH_OPENED = """
CREATE FUNCTION batch_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_endpoints (account_id, url) VALUES (NEW.account_id, NEW.webhook_url) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER batch_opened AFTER INSERT ON batches FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL) EXECUTE FUNCTION batch_opened();
"""
# Longer ones fit no index, and nothing could have been delivered to many of them.
_KNOWN_URLS = """
UPDATE batches SET webhook_url = NULL WHERE octet_length(webhook_url) > 2000;
UPDATE jobs SET webhook_url = NULL WHERE octet_length(webhook_url) > 2000;
DELETE FROM deliveries WHERE octet_length(url) > 2000;
INSERT INTO webhook_endpoints (account_id, url)
SELECT account_id, url FROM deliveries
UNION SELECT account_id, webhook_url FROM batches WHERE webhook_url IS NOT NULL
UNION SELECT account_id, webhook_url FROM jobs WHERE webhook_url IS NOT NULL;
UPDATE deliveries SET endpoint_id = webhook_endpoints.id FROM webhook_endpoints
WHERE webhook_endpoints.account_id = deliveries.account_id AND webhook_endpoints.url = deliveries.url;
UPDATE deliveries SET seq = ordered.seq
FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS seq FROM deliveries) AS ordered
WHERE deliveries.id = ordered.id;
"""

# What is delivered leaves its place in the index of what is due: vacuum early, as for jobs.
VACUUM = "ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("is_registered", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("events", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("is_digest", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("secret", sa.Text()),
        sa.Column("old_secret", sa.Text()),
        sa.Column("old_secret_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("hold", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("hold IN ('idle', 'sent', 'held')", name=op.f("ck_webhook_endpoints_hold")),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoints_disabled")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_webhook_endpoints_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
        sa.UniqueConstraint("account_id", "url", name=op.f("uq_webhook_endpoints_account_id_url")),
    )
    op.create_index(
        "ix_webhook_endpoints_registered",
        "webhook_endpoints",
        ["account_id"],
        postgresql_where=sa.text("is_registered"),
    )
    op.add_column("batches", sa.Column("webhook_digest", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    _extend_deliveries()
    op.execute(JOBS_CHANGED)
    op.execute(BATCH_STATUS_CHANGED)
    op.execute(BATCH_OPENED)


def _extend_deliveries() -> None:
    computed = sa.Computed("coalesce(job_id, batch_id)", persisted=True)
    op.add_column("deliveries", sa.Column("subject_id", sa.Uuid(), computed))
    op.add_column("deliveries", sa.Column("seq", sa.BigInteger(), sa.Identity(always=False), nullable=False))
    op.add_column("deliveries", sa.Column("is_digest", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("deliveries", sa.Column("digest_id", sa.Uuid()))
    op.add_column("deliveries", sa.Column("endpoint_id", sa.Uuid()))
    op.execute(_KNOWN_URLS)
    op.alter_column("deliveries", "endpoint_id", nullable=False)
    op.create_foreign_key(
        op.f("fk_deliveries_endpoint_id_webhook_endpoints"), "deliveries", "webhook_endpoints", ["endpoint_id"], ["id"]
    )
    pending = sa.text("state = 'pending'")
    op.drop_index("ix_deliveries_due_at", "deliveries")
    op.create_index("ix_deliveries_due", "deliveries", ["endpoint_id", "due_at", "seq"], postgresql_where=pending)
    op.create_index(
        "ix_deliveries_subject", "deliveries", ["endpoint_id", "subject_id", "seq"], postgresql_where=pending
    )
    op.create_index(
        "ix_deliveries_digest_id", "deliveries", ["digest_id"], postgresql_where=sa.text("digest_id IS NOT NULL")
    )
    op.create_index("ix_deliveries_endpoint_id_seq", "deliveries", ["endpoint_id", "seq"])
    op.create_index(
        "ix_deliveries_failed", "deliveries", ["endpoint_id", "seq"], postgresql_where=sa.text("state = 'failed'")
    )
    op.execute(VACUUM)


def downgrade() -> None:
    first = import_module("migrations.versions.0001_jobs_and_batches")
    op.execute("DROP FUNCTION jobs_changed, batch_status_changed, batch_opened CASCADE")
    op.drop_column("batches", "webhook_digest")
    op.execute("ALTER TABLE deliveries RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_cost_delay)")
    for index in ("failed", "endpoint_id_seq", "digest_id", "subject", "due"):
        op.drop_index(f"ix_deliveries_{index}", "deliveries")
    for column in ("endpoint_id", "digest_id", "is_digest", "seq", "subject_id"):
        op.drop_column("deliveries", column)
    op.create_index("ix_deliveries_due_at", "deliveries", ["due_at"], postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("webhook_endpoints")
    op.execute(first.JOB_CHANGES)
    op.execute(first.BATCH_CHANGES)
