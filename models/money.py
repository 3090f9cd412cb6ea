"""What accounts have left of their budgets: by the day and month of their own time zone. Money in USD."""

import uuid
from collections.abc import Collection
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

# As `USED`, for many accounts in one look at the deltas, which no index tells apart by account.
_LEFT = text(
    f"""
    WITH account AS MATERIALIZED (
        SELECT id, budget_day_usd, budget_month_usd, {_TODAY} AS today FROM accounts AS account
        WHERE id = ANY(:ids) AND coalesce(budget_day_usd, budget_month_usd) IS NOT NULL
    ), fresh AS MATERIALIZED (
        SELECT account_id, day, sum(usd) AS usd FROM account_deltas GROUP BY account_id, day
    ), known AS (
        SELECT * FROM fresh
        UNION ALL
        SELECT account.id, folded.day, folded.usd FROM account CROSS JOIN LATERAL (
            SELECT day, usd FROM account_days
            WHERE account_id = account.id AND day >= date_trunc('month', account.today)::date
            OFFSET 0  -- by its key, account for account, whatever the planner thinks of their numbers
        ) AS folded
    )
    SELECT account.id,
           least(account.budget_day_usd - coalesce(sum(known.usd) FILTER (WHERE known.day >= account.today), 0),
                 account.budget_month_usd - coalesce(sum(known.usd), 0)) AS usd
    FROM account LEFT JOIN known
      ON known.account_id = account.id AND known.day >= date_trunc('month', account.today)::date
    GROUP BY account.id, account.budget_day_usd, account.budget_month_usd
    """
)


def account_money(connection: Connection, accounts: Collection[uuid.UUID]) -> dict[uuid.UUID, Decimal]:
    """What each of these that has a budget may still admit today, estimates of what is in flight taken off."""
    return {row.id: row.usd for row in connection.execute(_LEFT, {"ids": list(accounts)})}


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
