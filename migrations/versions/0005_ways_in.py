"""ways in: content keys, windows and deadlines, money of accounts by day, schedules, triggers"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_before = import_module("migrations.versions.0004_webhook_endpoints")

# What a job takes of its account's money, on the day it was admitted: its estimate while it is in flight, then its cost.
_USD = """
            SELECT account_id, admitted_at,
                   {sign} (CASE WHEN state IN ('submitting', 'running') THEN estimate_usd ELSE 0 END
                           + coalesce(cost_usd, 0)) AS usd
            FROM {table} WHERE admitted_at IS NOT NULL
"""
_SPEND = """
        INSERT INTO account_deltas (account_id, day, usd)
        SELECT change.account_id, (change.admitted_at AT TIME ZONE account.time_zone)::date, sum(change.usd)
        FROM ({rows}) AS change JOIN accounts AS account ON account.id = change.account_id
        GROUP BY 1, 2 HAVING sum(change.usd) <> 0;
"""
_NEW, _OLD = _USD.format(sign="+", table="new_jobs"), _USD.format(sign="-", table="old_jobs")
JOBS_CHANGED = _before.JOBS_CHANGED.replace(
    "    ELSIF TG_OP = 'UPDATE' THEN", f"{_SPEND.format(rows=_NEW)}    ELSIF TG_OP = 'UPDATE' THEN"
).replace("    ELSE\n", f"{_SPEND.format(rows=_OLD + ' UNION ALL ' + _NEW)}    ELSE\n", 1)

_RUN_ENDPOINTS = _before._ENDPOINTS.format(
    account="schedule.account_id",
    own_url="schedule.webhook_url",
    batch_url="NULL",
    batch_digest="false",
    type="'schedule.finished'",
    family="'schedule.*'",
)
# A schedule's address becomes an endpoint with the schedule, as a batch's does.
SCHEDULE_EVENTS = f"""
CREATE FUNCTION schedule_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deliveries (account_id, schedule_run_id, type, endpoint_id, url, state, due_at, finished_at, error)
    SELECT schedule.account_id, NEW.id, 'schedule.finished', endpoint.id, endpoint.url, {_before._OUTCOME}
    FROM schedules AS schedule CROSS JOIN LATERAL ({_RUN_ENDPOINTS}) AS endpoint
    WHERE schedule.id = NEW.schedule_id;
    RETURN NULL;
END $$;
CREATE TRIGGER schedule_finished AFTER UPDATE ON schedule_runs FOR EACH ROW
    WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL) EXECUTE FUNCTION schedule_finished();
CREATE TRIGGER schedule_added AFTER INSERT ON schedules FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL) EXECUTE FUNCTION batch_opened();
"""

VACUUM = """
ALTER TABLE account_deltas SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE batch_minutes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
"""
_USED = "state IN ('submitting', 'running', 'storing', 'succeeded') AND content_key IS NOT NULL"


def upgrade() -> None:
    _add_money()
    _add_schedules()
    _add_triggers()
    _extend_batches()
    _extend_jobs()
    op.add_column("deliveries", sa.Column("schedule_run_id", sa.Uuid()))
    op.create_foreign_key(
        op.f("fk_deliveries_schedule_run_id_schedule_runs"),
        "deliveries",
        "schedule_runs",
        ["schedule_run_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_deliveries_schedule_run_id",
        "deliveries",
        ["schedule_run_id"],
        postgresql_where=sa.text("schedule_run_id IS NOT NULL"),
    )
    for statement in (JOBS_CHANGED, SCHEDULE_EVENTS, VACUUM):
        op.execute(statement)


def _add_money() -> None:
    op.add_column("accounts", sa.Column("budget_day_usd", sa.Numeric(12, 4)))
    op.add_column("accounts", sa.Column("budget_month_usd", sa.Numeric(12, 4)))
    op.add_column("accounts", sa.Column("time_zone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False))
    op.create_check_constraint(op.f("ck_accounts_budgets"), "accounts", "budget_day_usd >= 0 AND budget_month_usd >= 0")
    op.create_table(
        "account_days",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("usd", sa.Numeric(12, 4), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_days_account_id_accounts")),
        sa.PrimaryKeyConstraint("account_id", "day", name=op.f("pk_account_days")),
    )
    op.create_table(
        "account_deltas",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("usd", sa.Numeric(12, 4), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_deltas")),
    )
    op.create_table(
        "batch_minutes",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_batch_minutes_batch_id_batches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "minute", name=op.f("pk_batch_minutes")),
    )


def _add_schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recipe", postgresql.JSONB(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("budget_usd", sa.Numeric(12, 4)),
        sa.Column("admission_window", sa.Text()),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("max_failure_rate", sa.Double()),
        sa.Column("webhook_url", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("budget_usd >= 0", name=op.f("ck_schedules_budget_usd")),
        sa.CheckConstraint("max_failure_rate BETWEEN 0 AND 1", name=op.f("ck_schedules_max_failure_rate")),
        sa.CheckConstraint("removed_at IS NULL OR due_at IS NULL", name=op.f("ck_schedules_removed_is_never_due")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_schedules_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index(
        "uq_schedules_account_id_name",
        "schedules",
        ["account_id", "name"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_schedules_due_at", "schedules", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_table(
        "schedule_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("tick", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'listing'"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
        sa.Column("hold", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claims", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("batch_id", sa.Uuid()),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen", sa.BigInteger()),
        sa.Column("found", sa.BigInteger()),
        sa.Column("done", sa.BigInteger()),
        sa.Column("failed", sa.BigInteger()),
        sa.Column("carried_over", sa.BigInteger()),
        sa.Column("spent_usd", sa.Numeric(12, 4)),
        sa.Column("ended_by", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("hold IN ('idle', 'sent', 'held')", name=op.f("ck_schedule_runs_hold")),
        sa.CheckConstraint(
            "state IN ('listing', 'running', 'finished', 'failed')", name=op.f("ck_schedule_runs_state")
        ),
        sa.CheckConstraint("(state = 'listing') = (due_at IS NOT NULL)", name=op.f("ck_schedule_runs_listing_is_due")),
        sa.CheckConstraint(
            "(state IN ('finished', 'failed')) = (finished_at IS NOT NULL)", name=op.f("ck_schedule_runs_finished")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_schedule_runs_batch_id_batches")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedules.id"], name=op.f("fk_schedule_runs_schedule_id_schedules")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_runs")),
        sa.UniqueConstraint("schedule_id", "tick", name=op.f("uq_schedule_runs_schedule_id_tick")),
    )
    op.create_index(
        "ix_schedule_runs_due_at", "schedule_runs", ["due_at"], postgresql_where=sa.text("state = 'listing'")
    )
    op.create_index(
        "ix_schedule_runs_unfinished",
        "schedule_runs",
        ["schedule_id"],
        postgresql_where=sa.text("finished_at IS NULL"),
    )


def _add_triggers() -> None:
    op.create_table(
        "triggers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("suffix", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("recipe", postgresql.JSONB(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("quiet_s", sa.Double(), server_default=sa.text("60"), nullable=False),
        sa.Column("most", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.Column("budget_usd", sa.Numeric(12, 4)),
        sa.Column("webhook_url", sa.Text()),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("repair_s", sa.Double(), server_default=sa.text("300"), nullable=False),
        sa.Column("repaired_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
        sa.Column("hold", sa.Text(), server_default=sa.text("'idle'"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("hold IN ('idle', 'sent', 'held')", name=op.f("ck_triggers_hold")),
        sa.CheckConstraint("quiet_s > 0 AND most > 0 AND repair_s > 0", name=op.f("ck_triggers_positive")),
        sa.CheckConstraint(
            "(removed_at IS NULL) = (due_at IS NOT NULL)", name=op.f("ck_triggers_removed_is_never_due")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_triggers_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_triggers")),
    )
    op.create_index(
        "uq_triggers_account_id_name",
        "triggers",
        ["account_id", "name"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_triggers_bucket", "triggers", ["bucket"], postgresql_where=sa.text("removed_at IS NULL"))
    op.create_index("ix_triggers_due_at", "triggers", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_table(
        "seen_objects",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("sequencer", sa.Text()),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source_id", "key", "tag", name=op.f("pk_seen_objects")),
    )


def _extend_batches() -> None:
    op.add_column("batches", sa.Column("admission_window", sa.Text()))
    op.add_column("batches", sa.Column("deadline", sa.DateTime(timezone=True)))
    op.add_column("batches", sa.Column("max_failure_rate", sa.Double()))
    op.add_column("batches", sa.Column("forgiven_ended", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("batches", sa.Column("forgiven_failed", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("batches", sa.Column("run_key", sa.Text()))
    op.add_column("batches", sa.Column("schedule_id", sa.Uuid()))
    op.create_check_constraint(op.f("ck_batches_max_failure_rate"), "batches", "max_failure_rate BETWEEN 0 AND 1")
    op.create_foreign_key(op.f("fk_batches_schedule_id_schedules"), "batches", "schedules", ["schedule_id"], ["id"])
    op.create_index(
        "ix_batches_deadline",
        "batches",
        ["deadline"],
        postgresql_where=sa.text("finished_at IS NULL AND deadline IS NOT NULL"),
    )
    op.create_index(
        "ix_batches_run_key", "batches", ["account_id", "run_key"], postgresql_where=sa.text("run_key IS NOT NULL")
    )
    op.create_index(
        "ix_batches_schedule_id", "batches", ["schedule_id"], postgresql_where=sa.text("schedule_id IS NOT NULL")
    )


def _extend_jobs() -> None:
    op.add_column("jobs", sa.Column("content_key", sa.Text()))
    op.add_column("jobs", sa.Column("is_redo", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("jobs", sa.Column("same_as", sa.Uuid()))
    op.add_column("jobs", sa.Column("admitted_at", sa.DateTime(timezone=True)))
    op.create_foreign_key(op.f("fk_jobs_same_as_jobs"), "jobs", "jobs", ["same_as"], ["id"])
    op.create_index("ix_jobs_content", "jobs", ["content_key", "state"], postgresql_where=sa.text(_USED))
    op.create_index("ix_jobs_same_as", "jobs", ["same_as"], postgresql_where=sa.text("same_as IS NOT NULL"))


def downgrade() -> None:
    op.execute(_before.JOBS_CHANGED)
    op.execute("DROP TRIGGER schedule_finished ON schedule_runs")
    op.execute("DROP TRIGGER schedule_added ON schedules")
    op.execute("DROP FUNCTION schedule_finished")
    op.execute("DELETE FROM deliveries WHERE schedule_run_id IS NOT NULL")
    op.drop_column("deliveries", "schedule_run_id")
    for column in ("admitted_at", "same_as", "is_redo", "content_key"):
        op.drop_column("jobs", column)
    for table in ("seen_objects", "triggers", "schedule_runs"):
        op.drop_table(table)
    for column in (
        "schedule_id",
        "run_key",
        "forgiven_failed",
        "forgiven_ended",
        "max_failure_rate",
        "deadline",
        "admission_window",
    ):
        op.drop_column("batches", column)
    for table in ("schedules", "batch_minutes", "account_deltas", "account_days"):
        op.drop_table(table)
    for column in ("time_zone", "budget_month_usd", "budget_day_usd"):
        op.drop_column("accounts", column)
