"""A batch that fails too much pauses by itself, and is judged anew by whoever lets it go on."""

import pytest
from sqlalchemy import Engine, text

from models import settle
from models.inserts import BatchRef
from models.progress import BatchView, read_batch
from models.states import BatchStatus
from producer.batches import BatchLimits, cancel_batch, close_batch, resume_batch, retry_batch
from settings import Settings
from tests.integration.conftest import add_batch
from worker.admit import admit

_END = text(
    """
    UPDATE jobs SET state = :state, due_at = NULL, finished_at = now(),
           error_code = CASE :state WHEN 'failed' THEN 'x' END,
           cost_usd = CASE :state WHEN 'succeeded' THEN 0.1 END
    WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT :jobs)
    """
)


def batch_of(engine: Engine, jobs: int = 100, rate: float | None = 0.2) -> BatchRef:
    return add_batch(engine, jobs, limits=BatchLimits(max_failure_rate=rate), webhook_url="http://127.0.0.1:1/")


def end(engine: Engine, **jobs: int) -> None:
    """So many jobs end in each state, and the dispatcher looks at their batch."""
    with engine.begin() as connection:
        for state, count in jobs.items():
            connection.execute(_END, {"state": state, "jobs": count})
    with engine.begin() as connection:
        changed = settle.fold_counts(connection)
        settle.pause_failing(connection, changed)
        settle.settle(connection, changed)


def view(engine: Engine, batch: BatchRef) -> BatchView:
    with engine.connect() as connection:
        found = read_batch(connection, batch.id)
    assert found is not None
    return found


def reason(engine: Engine, batch: BatchRef) -> str | None:
    return view(engine, batch).paused_reason


@pytest.mark.parametrize(
    ("jobs", "is_paused"),
    [
        ({"failed": 19}, False),
        ({"failed": 4, "succeeded": 16}, False),
        ({"failed": 5, "succeeded": 15}, True),
        ({"rejected": 5, "succeeded": 15}, True),
        ({"failed": 5, "succeeded": 10, "skipped": 5}, False),
        ({"failed": 8, "succeeded": 32}, False),
        ({"failed": 9, "succeeded": 31}, True),
    ],
)
def test_beyond_the_rate_it_pauses_once_twenty_have_ended(
    engine: Engine, jobs: dict[str, int], is_paused: bool
) -> None:
    batch = batch_of(engine)
    end(engine, **jobs)
    assert reason(engine, batch) == ("failure_rate" if is_paused else None)


def test_without_a_rate_nothing_pauses_it(engine: Engine) -> None:
    batch = batch_of(engine, rate=None)
    end(engine, failed=50)
    assert reason(engine, batch) is None


def test_a_rate_of_nothing_pauses_at_the_first_failure_that_counts(engine: Engine) -> None:
    batch = batch_of(engine, rate=0.0)
    end(engine, succeeded=19)
    end(engine, failed=1)
    assert reason(engine, batch) == "failure_rate"


def test_it_tells_and_admits_no_more(engine: Engine) -> None:
    batch_of(engine)
    end(engine, failed=20)
    with engine.begin() as connection:
        assert admit(connection, Settings(concurrency=5)) == []
        assert connection.execute(text("SELECT type FROM deliveries")).scalars().all() == ["batch.paused"]


def test_with_nothing_left_to_save_it_ends_instead(engine: Engine) -> None:
    batch = batch_of(engine, 20)
    with engine.begin() as connection:
        close_batch(connection, batch)
    end(engine, failed=20)
    assert (view(engine, batch).status, reason(engine, batch)) == (BatchStatus.FAILED, None)


def test_one_that_is_given_up_is_not_paused(engine: Engine) -> None:
    batch = batch_of(engine)
    with engine.begin() as connection:
        connection.execute(_END, {"state": "failed", "jobs": 30})
        cancel_batch(connection, batch.id)
    end(engine)
    assert reason(engine, batch) is None


def test_after_a_resume_failures_are_judged_anew(engine: Engine) -> None:
    batch = batch_of(engine)
    end(engine, failed=20)
    with engine.begin() as connection:
        resume_batch(connection, batch.id)
    end(engine, succeeded=20)
    assert reason(engine, batch) is None
    with engine.connect() as connection:
        assert connection.execute(text("SELECT forgiven_ended, forgiven_failed FROM batches")).one() == (20, 20)


def test_a_resumed_batch_that_goes_on_failing_pauses_again(engine: Engine) -> None:
    batch = batch_of(engine)
    end(engine, failed=10, succeeded=20)
    with engine.begin() as connection:
        resume_batch(connection, batch.id)
    end(engine, failed=19)
    assert reason(engine, batch) is None
    end(engine, failed=1)
    assert reason(engine, batch) == "failure_rate"


def test_what_is_retried_is_judged_anew(engine: Engine) -> None:
    batch = batch_of(engine, 60)
    end(engine, failed=20)
    with engine.begin() as connection:
        retry_batch(connection, batch.id)
        resume_batch(connection, batch.id)
    end(engine, failed=20)
    assert reason(engine, batch) == "failure_rate"


def test_a_retry_without_a_resume_is_judged_anew_too(engine: Engine) -> None:
    batch = batch_of(engine, 60)
    end(engine, failed=20)
    with engine.begin() as connection:
        resume_batch(connection, batch.id)
        retry_batch(connection, batch.id)
    end(engine, failed=20)
    assert reason(engine, batch) == "failure_rate"


def admitted(engine: Engine) -> int:
    with engine.begin() as connection:
        return len(admit(connection, Settings(concurrency=100)))


def test_no_more_is_under_way_than_can_be_judged(engine: Engine) -> None:
    batch_of(engine)
    assert admitted(engine) == 20
    assert admitted(engine) == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'queued', hold = 'idle' WHERE state = 'submitting'"))
    end(engine, succeeded=15)
    assert admitted(engine) == 5


def test_a_batch_that_was_judged_well_goes_at_full_speed(engine: Engine) -> None:
    batch_of(engine)
    end(engine, succeeded=18, failed=2)
    assert admitted(engine) == 80


def test_a_failing_batch_admits_nothing_before_it_is_paused(engine: Engine) -> None:
    batch_of(engine)
    with engine.begin() as connection:
        connection.execute(_END, {"state": "failed", "jobs": 20})
    assert admitted(engine) == 0
