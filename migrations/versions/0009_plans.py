"""events of jobs that end together take time that grows with them; statistics follow large tables too"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_before = import_module("migrations.versions.0005_ways_in")
_first = import_module("migrations.versions.0004_webhook_endpoints")

# The function keeps its plans as long as the session lives, and the first is made for the few rows of that moment: then
# joining the old rows and the new of a large cancel took their product. Grouping takes their sum, whatever the plan.
_ENDED = """
            SELECT id, account_id, batch_id, max(state) AS state, max(webhook_url) AS webhook_url,
                   max(finished_at) AS finished_at
            FROM (SELECT id, account_id, batch_id, state, webhook_url, finished_at, false AS had_ended
                  FROM new_jobs WHERE finished_at IS NOT NULL
                  UNION ALL
                  SELECT id, account_id, batch_id, NULL, NULL, NULL, true
                  FROM old_jobs WHERE finished_at IS NOT NULL) AS row
            GROUP BY id, account_id, batch_id HAVING NOT bool_or(had_ended)
"""
JOBS_CHANGED = _before.JOBS_CHANGED.replace(_first._ENDED, _ENDED)
# A tenth of twenty million, the default, is more than most nights change.
_ANALYZE = ("autovacuum_analyze_scale_factor", "autovacuum_analyze_threshold")


def upgrade() -> None:
    op.execute(JOBS_CHANGED)
    _expiring("finished_at IS NULL AND expires_at IS NOT NULL")
    for table in ("jobs", "deliveries"):
        op.execute(f"ALTER TABLE {table} SET ({_ANALYZE[0]} = 0, {_ANALYZE[1]} = 10000)")


def downgrade() -> None:
    for table in ("jobs", "deliveries"):
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(_ANALYZE)})")
    _expiring("state = 'queued' AND expires_at IS NOT NULL")
    op.execute(_before.JOBS_CHANGED)


def _expiring(which: str) -> None:
    op.drop_index("ix_jobs_expires_at", "jobs")
    op.create_index("ix_jobs_expires_at", "jobs", ["expires_at"], postgresql_where=sa.text(which))
