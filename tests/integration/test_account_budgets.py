"""Budgets of an account by day and month: never above, whichever of its batches asks, and by its own clock."""

import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from models import DEFAULT_ACCOUNT, Priority, money
from models.inserts import BatchRef
from models.money import Spending, account_money, fold_spending, read_spending
from models.outlook import WaitingFor
from models.progress import BatchView, read_batch
from producer.batches import BatchLimits, open_batch, retry_batch
from producer.submission import insert
from settings import Settings
from tests.integration.api_fixtures import new_account
from tests.integration.conftest import add_batch, photo
from tests.integration.ended_jobs import succeed
from worker.admit import admit

EAST, WEST = "Pacific/Kiritimati", "Pacific/Pago_Pago"  # 25 hours apart: never the same day
JOB_USD = Decimal("0.12")


def limited(engine: Engine, *, day: str | None = None, month: str | None = None, zone: str = "UTC") -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE accounts SET budget_day_usd = :day, budget_month_usd = :month, time_zone = :zone"),
            {"day": day, "month": month, "zone": zone},
        )


def tick(engine: Engine, concurrency: int = 100) -> int:
    with engine.begin() as connection:
        return len(admit(connection, Settings(concurrency=concurrency)))


def spending(engine: Engine) -> Spending:
    with engine.connect() as connection:
        return read_spending(connection, DEFAULT_ACCOUNT)


def fold(engine: Engine) -> None:
    with engine.begin() as connection:
        fold_spending(connection)


def tomorrow(engine: Engine) -> None:
    """What was spent was spent a day earlier."""
    fold(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE account_days SET day = day - 1"))


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def end_some(engine: Engine, source: random.Random) -> None:
    """Some of what is in flight ends, at a cost below its estimate, fails for nothing, or is not executed after all."""
    ended = "due_at = NULL, finished_at = now()"
    outcomes = [f"state = 'succeeded', cost_usd = 0.1, {ended}", f"state = 'failed', {ended}", "state = 'queued'"]
    with engine.begin() as connection:
        for job_id in connection.execute(text("SELECT id FROM jobs WHERE state = 'submitting'")).scalars().all():
            if source.random() < 0.5:
                outcome = source.choices(outcomes, [8, 1, 1])[0]
                connection.execute(text(f"UPDATE jobs SET {outcome} WHERE id = :id"), {"id": job_id})


def test_batches_of_one_account_are_never_above_it_together(engine: Engine) -> None:
    limited(engine, day="1.00")
    for priority in (Priority.NORMAL, Priority.NORMAL, Priority.BULK):
        add_batch(engine, 20, priority=priority)
    with engine.begin() as connection:
        insert(connection, [photo() for _ in range(20)])
    assert tick(engine) == 8  # 8 × 0.12 = 0.96
    assert tick(engine) == 0
    assert spending(engine).day_usd == Decimal("0.96")


def test_a_turn_of_each_lane_spends_what_is_left(engine: Engine) -> None:
    limited(engine, day="0.24")
    batches = [add_batch(engine, 5), add_batch(engine, 5)]
    assert tick(engine) == 2
    assert [view(engine, batch).counts["submitting"] for batch in batches] == [1, 1]


def test_it_holds_over_many_ticks_and_settles_with_real_costs(engine: Engine) -> None:
    limited(engine, day="3.00")
    source = random.Random(4)
    for number in range(3):
        add_batch(engine, 40, budget_usd=Decimal("1.30") if number else None)
    for _ in range(40):
        tick(engine, concurrency=source.randint(1, 12))
        assert spending(engine).day_usd <= Decimal("3.00")
        end_some(engine, source)
        if source.random() < 0.3:
            fold(engine)
    with engine.connect() as connection:
        real = connection.scalar(
            text("SELECT sum(coalesce(cost_usd, CASE state WHEN 'submitting' THEN estimate_usd ELSE 0 END)) FROM jobs")
        )
    assert spending(engine).day_usd == real
    assert Decimal("3.00") - JOB_USD < real <= Decimal("3.00")


def test_a_lane_that_cannot_pay_itself_takes_nothing_from_the_others(engine: Engine) -> None:
    limited(engine, day="0.36")
    add_batch(engine, 9, budget_usd=Decimal("0.20"))
    assert tick(engine) == 1
    add_batch(engine, 9)
    assert tick(engine) == 2


def test_a_band_that_begins_nothing_does_not_hold_up_the_next(engine: Engine) -> None:
    limited(engine, day="5.00")
    add_batch(engine, 9, budget_usd=Decimal("0.20"), priority=Priority.INTERACTIVE)
    assert tick(engine) == 1
    add_batch(engine, 3)
    assert tick(engine) == 3


def test_a_job_dearer_than_all_that_is_left_holds_up_no_other(engine: Engine) -> None:
    limited(engine, day="0.40")
    with engine.begin() as connection:
        insert(connection, [photo(params={"image": "s3://photos/1.jpg", "num_output_images": 4})], batch=None)
    add_batch(engine, 9)
    assert tick(engine) == 3


def test_accounts_without_money_hold_up_no_other(engine: Engine) -> None:
    limited(engine, day="0.10")
    for _ in range(3):
        add_batch(engine, 2)
    tenant = new_account(engine, "tenant")
    with engine.begin() as connection:
        insert(connection, [photo() for _ in range(3)], account_id=tenant.id)
    assert (tick(engine, concurrency=1), tick(engine, concurrency=2)) == (1, 1)


def test_the_next_day_it_goes_on(engine: Engine) -> None:
    limited(engine, day="0.24")
    batch = add_batch(engine, 5)
    assert (tick(engine), tick(engine)) == (2, 0)
    tomorrow(engine)
    assert (tick(engine), tick(engine)) == (2, 0)
    assert view(engine, batch).paused_reason is None


def test_a_month_is_made_of_its_days(engine: Engine) -> None:
    limited(engine, day="1.00", month="1.00")
    add_batch(engine, 20)
    with engine.begin() as connection:
        today = connection.execute(text("SELECT (now() AT TIME ZONE 'UTC')::date")).scalar_one()
        first = today.replace(day=1)
        for day, usd in ((first, "0.70"), (first - timedelta(days=1), "9.00")):
            connection.execute(
                text("INSERT INTO account_days SELECT id, :day, :usd FROM accounts"), {"day": day, "usd": usd}
            )
    assert tick(engine) == 2
    assert spending(engine).month_usd == Decimal("0.94")


def test_another_account_pays_for_itself(engine: Engine) -> None:
    limited(engine, day="0.12")
    tenant = new_account(engine, "tenant")
    with engine.begin() as connection:
        insert(connection, [photo() for _ in range(3)], account_id=tenant.id)
    add_batch(engine, 3)
    assert tick(engine) == 4


def test_what_was_not_executed_after_all_gives_its_money_back(engine: Engine) -> None:
    limited(engine, day="0.12")
    add_batch(engine, 2)
    assert tick(engine) == 1
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'queued', hold = 'idle' WHERE state = 'submitting'"))
    assert spending(engine).day_usd == 0
    assert (tick(engine), tick(engine)) == (1, 0)


@pytest.mark.parametrize("zone", [EAST, WEST, "UTC"])
def test_a_day_is_that_of_the_accounts_zone(engine: Engine, zone: str) -> None:
    limited(engine, day="0.12", zone=zone)
    batch = add_batch(engine, 2)
    tick(engine)
    fold(engine)
    with engine.begin() as connection:
        now = connection.execute(text("SELECT now()")).scalar_one()
        day = connection.scalar(text("SELECT day FROM account_days WHERE usd <> 0"))
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now(), cost_usd = 0.12 "
                "WHERE state = 'submitting'"
            )
        )
    local = now.astimezone(ZoneInfo(zone))
    assert day == local.date()
    waiting = view(engine, batch).waiting
    assert waiting is not None
    assert waiting.until == datetime.combine(local.date() + timedelta(days=1), time.min, ZoneInfo(zone))


def test_a_zone_that_is_changed_gives_nothing_back(engine: Engine) -> None:
    limited(engine, day="0.12", zone=EAST)
    add_batch(engine, 3)
    assert tick(engine) == 1
    limited(engine, day="0.12", zone=WEST)
    assert tick(engine) == 0


def test_a_retry_that_goes_on_with_a_charge_keeps_its_day(engine: Engine) -> None:
    batch = add_batch(engine, 1)
    tick(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now(), cost_usd = 0.10, "
                "requested_at = now(), poll_url = 'https://phota/jobs/r', admitted_at = now() - interval '1 day'"
            )
        )
    before = days(engine)
    with engine.begin() as connection:
        assert retry_batch(connection, batch.id).collected_again == 1
    assert days(engine) == {day: usd + Decimal("0.02") for day, usd in before.items()}  # reserved in full again
    assert list(before.values()) == [Decimal("0.10")]


def days(engine: Engine) -> dict[date, Decimal]:
    """What each day took, without those that came to nothing."""
    fold(engine)
    with engine.connect() as connection:
        return {row.day: row.usd for row in connection.execute(text("SELECT day, usd FROM account_days")) if row.usd}


def test_a_retry_that_is_called_anew_spends_todays_money(engine: Engine) -> None:
    limited(engine, day="0.12")
    batch = add_batch(engine, 1)
    tick(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now()"))
        assert retry_batch(connection, batch.id).retried == 1
    assert tick(engine) == 1
    assert spending(engine).day_usd == JOB_USD


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ({"day": "0.12"}, WaitingFor.ACCOUNT_BUDGET_DAY),
        ({"month": "0.12"}, WaitingFor.ACCOUNT_BUDGET_MONTH),
        ({"day": "0.12", "month": "0.12"}, WaitingFor.ACCOUNT_BUDGET_MONTH),
    ],
)
def test_a_batch_says_which_budget_it_waits_for(engine: Engine, budgets: dict[str, str], reason: WaitingFor) -> None:
    limited(engine, **budgets)
    batch = add_batch(engine, 2)
    tick(engine)
    assert view(engine, batch).waiting is None  # what is in flight may give some back
    with engine.connect() as connection:
        job_id = connection.scalar(text("SELECT id FROM jobs WHERE state = 'submitting'"))
    succeed(engine, str(job_id))
    waiting = view(engine, batch).waiting
    assert (waiting and waiting.reason, view(engine, batch).paused_reason) == (reason, None)


def test_accounts_without_a_budget_are_not_looked_up(engine: Engine) -> None:
    new_account(engine, "tenant")
    with engine.begin() as connection:
        open_batch(connection, "free", limits=BatchLimits())
        assert account_money(connection, [DEFAULT_ACCOUNT]) == {}
    limited(engine, day="5.00")
    with engine.connect() as connection:
        assert account_money(connection, [DEFAULT_ACCOUNT]) == {DEFAULT_ACCOUNT: Decimal("5.00")}


def test_many_accounts_cost_one_look_at_what_has_just_changed(engine: Engine) -> None:
    limited(engine, day="5.00")
    accounts = [new_account(engine, str(number)).id for number in range(20)]
    limited(engine, day="5.00")
    with engine.connect() as connection:
        explained = text(f"EXPLAIN ANALYZE {money._LEFT}")
        plan = connection.execute(explained, {"ids": accounts}).scalars().all()
    looks = [line.partition("loops=")[2].rstrip(")") for line in plan if "account_deltas" in line and "loops=" in line]
    assert looks == ["1"]
