"""`photabatch status`, `watch`, `resume` and `webhook deliveries`, on a real database that nobody works on."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from cli.main import main
from cli.progress import follow
from models import settle
from models.inserts import BatchRef
from models.windows import Window
from producer.batches import BatchLimits, close_batch, open_batch
from producer.submission import insert
from sandbox.stack import Stack
from settings import Settings, get_settings
from tests.integration.conftest import add_batch, photo
from tests.integration.ended_jobs import fail, settle_all, succeed
from worker.admit import admit

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run `photabatch …` in this process: its exit code, what it printed, what it told people."""
    for name, value in (stack.environment() | {"PHOTABATCH_DATABASE_URL": database_url}).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()

    def once(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["photabatch", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    yield once
    get_settings.cache_clear()


def shut() -> Window:
    """Opens in an hour, for an hour."""
    opens = datetime.now(UTC) + timedelta(hours=1)
    return Window.parse(f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}@UTC")


def at_work() -> Window:
    """Open all day but for a minute that is hours away."""
    shut_at = datetime.now(UTC) + timedelta(hours=12)
    return Window.parse(f"{shut_at + timedelta(minutes=1):%H:%M}-{shut_at:%H:%M}@UTC")


def tick(engine: Engine, *, now: datetime | None = None) -> list[str]:
    with engine.begin() as connection:
        return [str(job_id) for job_id in admit(connection, Settings(concurrency=100), now=now)]


def rewindow(engine: Engine, window: Window) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE batches SET admission_window = :window"), {"window": str(window)})


def test_long_names_keep_the_columns(run: Run, engine: Engine) -> None:
    with engine.begin() as connection:
        for name in ("short", "a name of a batch that is longer than any column would be, and then some"):
            open_batch(connection, name)
        insert(connection, [photo()])
    lines = run("status")[1].splitlines()
    assert len({line.index("open") for line in lines[:2]} | {lines[2].index("1 queued") - 23}) == 1
    assert "photabatch status --jobs" in lines[2]


def test_jobs_without_a_batch_are_listed(run: Run, engine: Engine) -> None:
    add_batch(engine, 2)
    with engine.begin() as connection:
        first, second, third = insert(connection, [photo("a"), photo("b"), photo()])
    fail(engine, second.id, code="timeout")
    code, listed, _ = run("status", "--jobs")
    assert (code, [line.split()[0] for line in listed.splitlines()]) == (0, [str(j.id) for j in (third, second, first)])
    assert listed.splitlines()[1].split()[1:] == ["failed", "enhance", "b", "timeout:", "no"]
    assert json.loads(run("status", "--jobs", "--json", "--limit", "1")[1])["id"] == str(third.id)


def test_jobs_of_a_batch_are_listed(run: Run, engine: Engine) -> None:
    batch = add_batch(engine, 3)
    listed = run("status", str(batch.id), "--jobs")[1]
    assert [line.split()[1:] for line in listed.splitlines()] == [["queued", "enhance", str(n)] for n in range(3)]


def test_a_batch_tells_its_window_and_what_is_ahead(run: Run, engine: Engine) -> None:
    window = shut()
    deadline = datetime.now(UTC) + timedelta(minutes=90)
    batch = add_batch(engine, 9, limits=BatchLimits(window=window, deadline=deadline))
    with engine.begin() as connection:
        connection.execute(text("""UPDATE upstreams SET latency_s = '{"enhance": 9000}'"""))
    told = " ".join(run("status", str(batch.id))[2].split())  # whatever the width
    assert str(window) in told
    assert "for its window, which is never open for as long as a call takes" in told
    assert "will NOT finish before its deadline" in told
    with engine.begin() as connection:
        connection.execute(text("""UPDATE upstreams SET latency_s = '{"enhance": 9}'"""))
    told = " ".join(run("status", str(batch.id))[2].split())
    assert f"opens {window.opens:%H:%M} UTC" in told
    assert ", before its deadline" in told
    assert f"the rest goes on by itself at {window.opens:%H:%M} as long as a stack is up" in told


def test_a_pause_says_how_to_go_on(run: Run, engine: Engine) -> None:
    batch = add_batch(engine, 40, limits=BatchLimits(max_failure_rate=0.2))
    for job_id in tick(engine):
        fail(engine, job_id)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'queued' WHERE state = 'submitting'"))
        settle.pause_failing(connection, settle.fold_counts(connection))
    code, _, told = run("watch", batch.slug)
    assert code == 3
    assert "Paused: 20 of 20 jobs failed, more than 20%; 20 jobs left." in told
    assert f"To go on, which judges failures anew: photabatch resume {batch.slug}" in told
    assert run("resume", batch.slug)[0] == 0
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT paused_reason FROM batches")) is None


def test_watching_ends_where_the_accounts_budget_does(run: Run, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET budget_day_usd = 0.12"))
    batch = add_batch(engine, 3)
    succeed(engine, tick(engine)[0])
    code, printed, told = run("watch", batch.slug, "--json")
    assert (code, json.loads(printed)["waiting_for"]) == (8, "account_budget_day")
    assert "the account's budget of the day is used up, goes on" in told


def test_watching_ends_with_the_deadline(run: Run, engine: Engine) -> None:
    batch = add_batch(engine, 3, limits=BatchLimits(deadline=datetime.now(UTC) + timedelta(hours=1)))
    tick(engine, now=datetime.now(UTC) + timedelta(hours=2))
    with engine.begin() as connection:
        close_batch(connection, batch)
    settle_all(engine)
    code, _, told = run("watch", batch.slug)
    assert (code, "3 × deadline: the deadline of its batch passed" in told) == (10, True)


def test_a_window_that_closes_ends_the_watching(engine: Engine) -> None:
    batch = add_batch(engine, 3, limits=BatchLimits(window=at_work()))
    looks = follow(engine, batch.id)
    assert next(looks)[0].waiting is None
    rewindow(engine, shut())
    assert [view.waiting is not None for view, _ in looks] == [True]


def test_what_is_in_flight_when_it_closes_is_waited_for(engine: Engine) -> None:
    batch = add_batch(engine, 1, limits=BatchLimits(window=at_work()))
    looks = follow(engine, batch.id)
    next(looks)
    (job_id,) = tick(engine)
    with engine.begin() as connection:
        insert(connection, [photo("more")], batch=batch)
    rewindow(engine, shut())
    assert next(looks)[0].waiting is None
    succeed(engine, job_id)
    assert [view.counts["queued"] for view, _ in looks] == [1]


def test_a_window_that_has_not_opened_yet_is_waited_for(engine: Engine) -> None:
    batch = add_batch(engine, 1, limits=BatchLimits(window=shut()))
    looks = follow(engine, batch.id)
    assert [next(looks)[0].waiting is None for _ in range(2)] == [False, False]
    rewindow(engine, at_work())
    assert next(looks)[0].waiting is None


def test_a_window_that_never_opens_is_not_waited_for(engine: Engine) -> None:
    batch = add_batch(engine, 1, limits=BatchLimits(window=Window.parse("02:00-02:01")))
    assert len(list(follow(engine, batch.id))) == 1


def hooked(engine: Engine) -> BatchRef:
    batch = add_batch(engine, 1, webhook_url="http://127.0.0.1:1/hook", webhook_events=["job.failed"])
    fail(engine, tick(engine)[0])
    with engine.begin() as connection:
        close_batch(connection, batch)
    settle_all(engine)
    return batch


def test_deliveries_name_their_endpoint_and_what_they_tell_of(run: Run, engine: Engine) -> None:
    batch = hooked(engine)
    with engine.connect() as connection:
        job_id = connection.scalar(text("SELECT id FROM jobs"))
    printed = run("webhook", "deliveries")[1]
    assert f"    job {job_id} to http://127.0.0.1:1/hook" in printed
    assert f"    batch {batch.id} to http://127.0.0.1:1/hook" in printed
    told = json.loads(run("webhook", "deliveries", "--json", "--limit", "1")[1])
    assert (told["url"], told["batch_id"]) == ("http://127.0.0.1:1/hook", str(batch.id))


@pytest.mark.parametrize(("failures", "words"), [(1, "(1 try in a row)"), (2, "(2 tries in a row)")])
def test_tries_are_counted_in_words(run: Run, engine: Engine, failures: int, words: str) -> None:
    hooked(engine)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE webhook_endpoints SET failing_since = now(), failures = :failures"), {"failures": failures}
        )
    assert words in run("webhook", "list", "--all")[1]
