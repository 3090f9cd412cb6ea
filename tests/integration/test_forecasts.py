"""The batch object's forecast and what it waits for, from a real table."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, event, text

from models import DEFAULT_ACCOUNT, progress, settle
from models.inserts import BatchRef
from models.outlook import Forecast, WaitingFor
from models.progress import BatchView, list_batches, read_batch, read_batches_async
from models.windows import Window
from producer.batches import BatchLimits, cancel_batch, close_batch, pause_batch
from tests.integration.conftest import Run, add_batch, admit_all


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def ahead(engine: Engine, batch: BatchRef) -> Forecast:
    found = view(engine, batch).forecast
    assert found is not None
    return found


def measured(engine: Engine, limit: float = 8, **latency_s: float) -> None:
    with engine.begin() as connection:
        values = {"limit": limit, "known": json.dumps(latency_s)}
        connection.execute(text("UPDATE upstreams SET in_flight_limit = :limit, latency_s = :known"), values)


def ended(engine: Engine, jobs: int, *, state: str = "succeeded") -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = :state, due_at = NULL, finished_at = now(), cost_usd = 0.1 "
                "WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' LIMIT :jobs)"
            ),
            {"state": state, "jobs": jobs},
        )


def minutes(engine: Engine, batch: BatchRef, *jobs: int) -> None:
    """Jobs that ended in each of the last minutes, the present one last."""
    with engine.begin() as connection:
        for ago, count in enumerate(reversed(jobs)):
            connection.execute(
                text(
                    "INSERT INTO batch_minutes VALUES "
                    "(:batch, date_trunc('minute', now()) - make_interval(mins => :ago), :jobs)"
                ),
                {"batch": batch.id, "ago": ago, "jobs": count},
            )


def shut_window() -> Window:
    """Opens in an hour, for an hour."""
    opens = datetime.now(UTC) + timedelta(hours=1)
    return Window.parse(f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}")


def test_before_anything_is_known_nothing_is_foreseen(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    assert ahead(engine, batch) == Forecast(None, None, None)
    assert view(engine, batch).eta is None


def test_before_anything_has_ended_the_pace_is_that_of_the_fleet(engine: Engine) -> None:
    measured(engine, 8, enhance=4.0, edit=16.0)
    batch = add_batch(engine, 3)
    assert ahead(engine, batch).jobs_per_s == 0.5


def test_then_it_is_that_of_the_batch_since_its_start(engine: Engine) -> None:
    measured(engine, enhance=4.0)
    batch = add_batch(engine, 30)
    ended(engine, 10)
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET started_at = now() - interval '100 s'"))
        found = read_batch(connection, batch.id)
        now = connection.execute(text("SELECT now()")).scalar_one()
    assert found is not None
    assert found.forecast == Forecast(now + timedelta(seconds=200 + 4), 0.1, None)
    assert found.eta == now + timedelta(seconds=204)


def test_what_was_skipped_says_nothing_of_the_pace(engine: Engine) -> None:
    batch = add_batch(engine, 30)
    ended(engine, 10, state="skipped")
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET started_at = now() - interval '1 s'"))
    assert ahead(engine, batch).jobs_per_s is None


def test_whole_minutes_count_and_neither_the_first_nor_the_present_one(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    minutes(engine, batch, 999, 60, 120, 999)
    assert ahead(engine, batch).jobs_per_s == 1.5


def test_the_last_fifteen_minutes_are_the_pace(engine: Engine) -> None:
    batch = add_batch(engine, 3)
    minutes(engine, batch, *[6_000] * 10, *[30] * 15, 1)
    assert ahead(engine, batch).jobs_per_s == 0.5


def test_folding_counts_writes_down_the_minute(engine: Engine) -> None:
    batch = add_batch(engine, 10)
    ended(engine, 3)
    ended(engine, 2, state="failed")
    ended(engine, 4, state="skipped")
    with engine.begin() as connection:
        settle.fold_counts(connection)
        assert connection.execute(text("SELECT batch_id, jobs FROM batch_minutes")).one() == (batch.id, 5)


def test_the_minutes_of_a_batch_that_has_ended_are_forgotten(engine: Engine) -> None:
    batch = add_batch(engine, 1)
    ended(engine, 1)
    with engine.begin() as connection:
        close_batch(connection, batch)
        settle.fold_counts(connection)
        settle.settle(connection, [batch.id])
        assert connection.scalar(text("SELECT count(*) FROM batch_minutes")) == 0
    found = view(engine, batch)
    assert (found.status, found.forecast, found.eta, found.as_json()["forecast"]) == ("completed", None, None, None)


def test_a_shut_window_is_waited_for_until_it_opens(engine: Engine) -> None:
    measured(engine, enhance=4.0)
    window = shut_window()
    batch = add_batch(engine, 3, limits=BatchLimits(window=window))
    told = view(engine, batch).as_json()
    assert (told["window"], told["waiting_for"]) == (str(window), "window")
    opens_at = datetime.fromisoformat(told["waits_until"])
    assert opens_at == window.span(datetime.now(UTC)).opens_at
    assert datetime.fromisoformat(told["eta"]) > opens_at


def test_what_is_in_flight_paused_or_given_up_waits_for_no_window(engine: Engine) -> None:
    batch = add_batch(engine, 3, limits=BatchLimits(window=shut_window()))
    admit_all(engine, slots=1)
    assert view(engine, batch).waiting is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'queued' WHERE state = 'submitting'"))
    waiting = view(engine, batch).waiting
    assert waiting is not None
    assert waiting.reason is WaitingFor.WINDOW
    for control in (pause_batch, cancel_batch):
        with engine.begin() as connection:
            control(connection, batch.id)
        assert view(engine, batch).waiting is None


def test_whether_it_comes_in_time_is_told(engine: Engine) -> None:
    measured(engine, 8, enhance=4.0)  # 2 jobs/s
    soon, late = (datetime.now(UTC) + timedelta(seconds=each) for each in (60, 6_000))
    slow, quick = (add_batch(engine, 1_000, limits=BatchLimits(deadline=each)) for each in (soon, late))
    assert (ahead(engine, slow).meets_deadline, ahead(engine, quick).meets_deadline) == (False, True)
    told = view(engine, slow).as_json()
    assert datetime.fromisoformat(told["deadline"]) == soon
    assert told["forecast"]["jobs_per_s"] == 2.0


def test_a_paused_batch_is_not_foreseen(engine: Engine) -> None:
    measured(engine, enhance=4.0)
    batch = add_batch(engine, 3, limits=BatchLimits(deadline=datetime.now(UTC) + timedelta(hours=1)))
    with engine.begin() as connection:
        pause_batch(connection, batch.id)
    assert (ahead(engine, batch).finishes_at, ahead(engine, batch).meets_deadline) == (None, None)


def test_webhooks_and_lists_tell_the_same_and_lists_in_one_statement(engine: Engine, run: Run) -> None:
    measured(engine, enhance=4.0)
    batch = add_batch(engine, 3, limits=BatchLimits(window=shut_window(), max_failure_rate=0.2))
    add_batch(engine, 2)
    statements: list[str] = []
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *details: statements.append(details[2]))
        listed = list_batches(connection, DEFAULT_ACCOUNT, limit=10)
    assert (len(statements), listed[1].window, listed[1].max_failure_rate) == (1, view(engine, batch).window, 0.2)
    told = run(lambda connection: read_batches_async(connection, [batch.id]))[batch.id]
    assert told.waiting == listed[1].waiting == view(engine, batch).waiting
    assert told.as_json().keys() == listed[0].as_json().keys()


def test_a_look_at_a_big_batch_reads_through_indexes(engine: Engine) -> None:
    add_batch(engine, 3000)
    with engine.connect() as connection:
        connection.execute(text("ANALYZE jobs"))
        wanted = {"account": DEFAULT_ACCOUNT, "limit": 20, "before": None, "status": None}
        plan = "\n".join(connection.execute(text(f"EXPLAIN {progress._LIST}"), wanted).scalars())
    assert "ix_jobs_admission" in plan
    assert "Seq Scan on jobs" not in plan
