"""Windows and deadlines, with the clock held still: when a batch may begin anything."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from models import admission
from models.inserts import BatchRef
from models.progress import read_batch
from models.states import BatchStatus, Stage
from models.windows import Window
from producer.batches import BatchLimits, close_batch, open_batch, retry_batch
from producer.submission import insert
from settings import Settings
from tests.integration.conftest import Run, add_batch, claimed, photo
from tests.integration.ended_jobs import settle_all
from worker.admit import admit

PARIS = "22:00-06:00@Europe/Paris"
EDIT = {"operation": "edit", "params": {"images": ["s3://photos/1.jpg"], "prompt": "warm"}}
QUICK = {"enhance": 1.0}


def measured(engine: Engine, **latency_s: float) -> None:
    """How long calls take, as the dispatcher has learnt it."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE upstreams SET latency_s = :known"), {"known": json.dumps(latency_s)})


def at(text: str, zone: str = "Europe/Paris") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def windowed(engine: Engine, window: str = PARIS, jobs: int = 3) -> BatchRef:
    return add_batch(engine, jobs, limits=BatchLimits(window=Window.parse(window)))


def looked(engine: Engine, now: datetime) -> int:
    """How many jobs would be admitted at that moment; nothing is kept."""
    with engine.connect() as connection:
        return len(admit(connection, Settings(concurrency=3), now=now))


def admitted(engine: Engine, now: datetime) -> int:
    with engine.begin() as connection:
        return len(admit(connection, Settings(concurrency=3), now=now))


def states(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT custom_id, state FROM jobs WHERE superseded_at IS NULL"))
        return {row.custom_id: row.state for row in rows}


def night(day: str, zone: str) -> Iterator[datetime]:
    """From noon to noon around that day's small hours, every quarter of an hour."""
    noon = datetime.combine(datetime.fromisoformat(day), time(12), ZoneInfo(zone)).astimezone(UTC) - timedelta(days=1)
    return (noon + number * timedelta(minutes=15) for number in range(100))


@pytest.mark.parametrize(
    ("day", "zone"),
    [
        ("2026-03-29", "Europe/Paris"),
        ("2026-10-25", "Europe/Paris"),
        ("2026-03-08", "America/New_York"),
        ("2026-11-01", "America/New_York"),
    ],
)
@pytest.mark.parametrize(("opens", "closes"), [(time(22), time(6)), (time(22), time(2, 30)), (time(1, 30), time(7))])
def test_jobs_begin_as_the_clock_on_the_wall_says(
    engine: Engine, day: str, zone: str, opens: time, closes: time
) -> None:
    measured(engine, enhance=1.0)
    windowed(engine, f"{opens:%H:%M}-{closes:%H:%M}@{zone}", jobs=1)
    for now in night(day, zone):
        wall = now.astimezone(ZoneInfo(zone)).time()
        is_open = opens <= wall < closes if opens < closes else wall >= opens or wall < closes
        assert looked(engine, now) == is_open, now


def test_nothing_begins_so_late_that_it_would_run_past_the_end(engine: Engine) -> None:
    measured(engine, enhance=120.0)
    windowed(engine)
    assert looked(engine, at("2026-05-02T05:57:59")) == 3
    assert looked(engine, at("2026-05-02T05:58:01")) == 0


def test_a_call_that_nobody_has_measured_counts_as_long(engine: Engine) -> None:
    measured(engine, edit=1.0)
    windowed(engine)
    assert looked(engine, at("2026-05-02T05:58:29")) == 3
    assert looked(engine, at("2026-05-02T05:58:31")) == 0


def test_each_job_is_judged_by_its_own_operation(engine: Engine) -> None:
    measured(engine, enhance=10.0, edit=300.0)
    with engine.begin() as connection:
        batch = open_batch(connection, "mixed", limits=BatchLimits(window=Window.parse(PARIS)))
        insert(connection, [photo("slow", **EDIT), photo("quick")], batch=batch)
    assert admitted(engine, at("2026-05-02T05:57:00")) == 1
    assert states(engine) == {"slow": "queued", "quick": "submitting"}


def test_the_rest_goes_on_the_next_night(engine: Engine) -> None:
    measured(engine, **QUICK)
    windowed(engine, jobs=5)
    assert admitted(engine, at("2026-05-02T05:30:00")) == 3
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET state = 'succeeded', due_at = NULL, finished_at = now(), cost_usd = 0.1 "
                "WHERE state = 'submitting'"
            )
        )
    assert admitted(engine, at("2026-05-02T12:00:00")) == 0
    assert admitted(engine, at("2026-05-02T22:00:00")) == 2


def test_what_is_in_flight_is_collected_outside_the_window(engine: Engine, run: Run) -> None:
    measured(engine, **QUICK)
    windowed(engine, jobs=1)
    with engine.begin() as connection:
        ids = admit(connection, Settings(concurrency=3), now=at("2026-05-02T05:30:00"))
    assert len(claimed(run, Stage.SUBMIT, ids)) == 1


def test_a_closed_window_takes_nothing_from_others(engine: Engine) -> None:
    windowed(engine, jobs=50)
    add_batch(engine, 3)
    assert looked(engine, at("2026-05-02T12:00:00")) == 3


def test_nothing_begins_that_would_end_after_the_deadline(engine: Engine) -> None:
    measured(engine, enhance=60.0)
    add_batch(engine, 3, limits=BatchLimits(deadline=at("2026-05-02T06:00:00")))
    assert looked(engine, at("2026-05-02T05:58:59")) == 3
    assert admitted(engine, at("2026-05-02T05:59:01")) == 0
    assert set(states(engine).values()) == {"queued"}


def test_what_waits_at_the_deadline_expires(engine: Engine) -> None:
    batch = add_batch(engine, 5, limits=BatchLimits(deadline=at("2026-05-02T06:00:00")))
    assert admitted(engine, at("2026-05-02T05:00:00")) == 3
    assert admitted(engine, at("2026-05-02T06:00:00")) == 0
    assert sorted(states(engine).values()) == ["expired"] * 2 + ["submitting"] * 3
    with engine.connect() as connection:
        view = read_batch(connection, batch.id)
    assert view is not None
    assert [(error["code"], error["count"]) for error in view.errors] == [("deadline", 2)]


def test_the_deadline_holds_for_a_paused_batch_and_ends_it(engine: Engine) -> None:
    batch = add_batch(
        engine, 2, limits=BatchLimits(deadline=at("2026-05-02T06:00:00")), webhook_url="http://127.0.0.1:1/"
    )
    with engine.begin() as connection:
        close_batch(connection, batch)
        connection.execute(text("UPDATE batches SET paused_at = now(), paused_reason = 'user'"))
    admitted(engine, at("2026-05-02T06:00:00"))
    settle_all(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT status FROM batches")) == BatchStatus.EXPIRED
        told = connection.execute(text("SELECT type FROM deliveries ORDER BY seq")).scalars().all()
    assert told == ["batch.paused", "batch.expired"]


def test_a_retry_of_what_came_too_late_is_not_too_late_again(engine: Engine) -> None:
    batch = add_batch(engine, 2, limits=BatchLimits(deadline=at("2020-05-02T06:00:00")))
    admitted(engine, at("2020-05-02T06:00:00"))
    with engine.begin() as connection:
        assert retry_batch(connection, batch.id, code="deadline").retried == 2
    assert admitted(engine, at("2020-05-03T12:00:00")) == 2


def test_a_deadline_that_is_ahead_survives_a_retry(engine: Engine) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    batch = add_batch(engine, 1, limits=BatchLimits(deadline=deadline))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'failed', due_at = NULL, finished_at = now()"))
        assert retry_batch(connection, batch.id).retried == 1
        assert connection.scalar(text("SELECT deadline FROM batches")) == deadline


def test_what_is_late_is_found_through_its_index(engine: Engine) -> None:
    for number in range(30):
        add_batch(engine, 100, limits=BatchLimits(deadline=at("2026-05-02T06:00:00") if number == 3 else None))
    with engine.connect() as connection:
        connection.execute(text("ANALYZE jobs"))
        explained = text(f"EXPLAIN {admission._PAST_DEADLINE}")
        plan = "\n".join(connection.execute(explained, {"now": at("2026-05-02T06:00:00")}).scalars())
    assert "ix_jobs_admission" in plan
    assert "Seq Scan on jobs" not in plan
