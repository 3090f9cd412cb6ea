"""A claim whose COMMIT had no answer: the server is asked what became of it."""

from dataclasses import replace

from sqlalchemy import Engine, text

from models.claims import ClaimedJob, claim_again
from models.states import Stage
from tests.integration.conftest import Run, add_batch, admit_all, claimed


def again(run: Run, unsure: list[ClaimedJob]) -> list[ClaimedJob] | None:
    ids = [job.id for job in unsure]
    jobs: list[ClaimedJob] | None = run(lambda connection: claim_again(connection, Stage.SUBMIT, ids, unsure))
    return jobs


def unaged(jobs: list[ClaimedJob] | None) -> list[ClaimedJob]:
    return [replace(job, request_age_s=0, accepted_age_s=0) for job in jobs or []]


def rolled_back(engine: Engine) -> str:
    """The id of a transaction."""
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT pg_current_xact_id()::text")))


def undo(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent', version = version - 1, requested_at = NULL"))


def test_what_was_committed_is_in_hand(engine: Engine, run: Run) -> None:
    add_batch(engine, jobs=3)
    unsure = claimed(run, Stage.SUBMIT, admit_all(engine))
    assert unaged(again(run, unsure)) == unaged(unsure)


def test_its_calls_are_as_old_as_they_are_by_now(engine: Engine, run: Run) -> None:
    """The database may have been away for longer than Phota remembers a call."""
    add_batch(engine)
    unsure = claimed(run, Stage.SUBMIT, admit_all(engine))
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET requested_at = now() - interval '25 h', accepted_at = now() - interval '1 h'")
        )
    [job] = again(run, unsure) or []
    assert unsure[0].request_age_s < 60 < 25 * 3600 <= job.request_age_s
    assert 3600 <= job.accepted_age_s < 3700


def test_what_somebody_else_has_claimed_since_is_theirs(engine: Engine, run: Run) -> None:
    add_batch(engine, jobs=2)
    unsure = claimed(run, Stage.SUBMIT, admit_all(engine))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET version = version + 1 WHERE id = :id"), {"id": unsure[0].id})
    assert unaged(again(run, unsure)) == unaged(unsure[1:])


def test_what_was_rolled_back_is_claimed_anew(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    undo(engine)
    jobs = again(run, [replace(job, claimed_in=rolled_back(engine))])
    assert jobs is not None
    assert [each.version for each in jobs] == [job.version]


def test_a_claim_undone_is_not_taken_for_another_workers_of_the_same_version(engine: Engine, run: Run) -> None:
    add_batch(engine)
    theirs = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    assert again(run, [replace(theirs, claimed_in=rolled_back(engine))]) == []


def test_a_claim_still_under_way_is_waited_for(engine: Engine, run: Run) -> None:
    add_batch(engine)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    with engine.begin() as connection:
        running = str(connection.scalar(text("SELECT pg_current_xact_id()::text")))
        assert again(run, [replace(job, claimed_in=running)]) is None
