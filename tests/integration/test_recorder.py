"""Transitions written together: what one failure does to the others."""

import asyncio

from sqlalchemy import Engine, text

from models.claims import ClaimedJob, Move, record
from models.engine import new_async_engine
from models.states import JobState, Stage
from tests.integration.conftest import Run, add_batch, admit_all, claimed
from worker.recorder import Recorder


def failed(job: ClaimedJob, **fields: str) -> Move:
    return Move(job.id, job.version, JobState.FAILED, None, error_code="no", **fields)


def test_moves_of_one_moment_share_a_commit(database_url: str, engine: Engine, run: Run) -> None:
    add_batch(engine, 20)
    jobs = claimed(run, Stage.SUBMIT, admit_all(engine))

    async def go() -> list[bool]:
        recorder = Recorder(new_async_engine(database_url, connections=1), record)
        return await asyncio.gather(*(recorder.write(failed(job)) for job in jobs))

    assert asyncio.run(go()) == [True] * 20
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(DISTINCT finished_at) FROM jobs")) == 1


def test_a_row_that_the_database_refuses_does_not_take_the_others_with_it(
    database_url: str, engine: Engine, run: Run
) -> None:
    add_batch(engine, 3)
    good, bad, other = claimed(run, Stage.SUBMIT, admit_all(engine))

    async def go() -> list[bool | BaseException]:
        recorder = Recorder(new_async_engine(database_url, connections=1), record)
        moves = [failed(good), failed(bad, error_message="a NUL: \0"), failed(other)]
        return await asyncio.gather(*(recorder.write(move) for move in moves), return_exceptions=True)

    first, second, third = asyncio.run(go())
    assert first is third is True
    assert isinstance(second, Exception)


def test_a_write_outlasts_a_pool_without_a_free_connection(database_url: str, engine: Engine, run: Run) -> None:
    add_batch(engine, 1)
    job = claimed(run, Stage.SUBMIT, admit_all(engine))[0]

    async def go() -> bool:
        pool = new_async_engine(database_url, connections=1)
        pool.pool._timeout = 0.2  # type: ignore[attr-defined]  half a minute otherwise
        recorder = Recorder(pool, record)
        async with pool.connect():
            write = asyncio.create_task(recorder.write(failed(job)))
            await asyncio.sleep(1)
            assert not write.done()
        return await write

    assert asyncio.run(go())
