"""What accounts have left of their budgets: by the day and month of their own time zone. Money in USD."""

import uuid
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, text

_TODAY = "(now() AT TIME ZONE account.time_zone)::date"
# Of the row `account` around it. A day that has not begun counts too: there is one where the zone was changed.
USED = f"""
    SELECT coalesce(sum(usd) FILTER (WHERE day >= {_TODAY}), 0) AS day_usd, coalesce(sum(usd), 0) AS month_usd
    FROM (SELECT day, usd FROM account_days WHERE account_id = account.id
          UNION ALL SELECT day, usd FROM account_deltas WHERE account_id = account.id) AS known
    WHERE day >= date_trunc('month', {_TODAY})::date
"""

_LEFT = text(
    f"""
    SELECT account.id, least(account.budget_day_usd - used.day_usd, account.budget_month_usd - used.month_usd) AS usd
    FROM accounts AS account CROSS JOIN LATERAL ({USED}) AS used
    WHERE account.budget_day_usd IS NOT NULL OR account.budget_month_usd IS NOT NULL
    """
)


def account_money(connection: Connection) -> dict[uuid.UUID, Decimal]:
    """What each account with a budget may still admit today, estimates of what is in flight taken off."""
    return {row.id: row.usd for row in connection.execute(_LEFT)}


@dataclass(frozen=True, slots=True)
class Spending:
    """Spent and reserved by the jobs admitted today and this month, and what may be; None: no limit."""

    day_usd: Decimal
    month_usd: Decimal
    budget_day_usd: Decimal | None
    budget_month_usd: Decimal | None
    time_zone: str


_SPENDING = text(
    f"""
    SELECT used.day_usd, used.month_usd, account.budget_day_usd, account.budget_month_usd, account.time_zone
    FROM accounts AS account CROSS JOIN LATERAL ({USED}) AS used WHERE account.id = :id
    """
)


def read_spending(connection: Connection, account_id: uuid.UUID) -> Spending:
    return Spending(**connection.execute(_SPENDING, {"id": account_id}).mappings().one())


_FOLD = text(
    """
    WITH taken AS (
        DELETE FROM account_deltas WHERE id IN (SELECT id FROM account_deltas ORDER BY id LIMIT 10000) RETURNING *
    )
    INSERT INTO account_days AS counted (account_id, day, usd)
    SELECT account_id, day, sum(usd) FROM taken GROUP BY account_id, day
    ON CONFLICT (account_id, day) DO UPDATE SET usd = counted.usd + excluded.usd
    """
)


def fold_spending(connection: Connection) -> None:
    """Move deltas into days; only the leading dispatcher does. A reader sees before or after, never between."""
    connection.execute(_FOLD)
