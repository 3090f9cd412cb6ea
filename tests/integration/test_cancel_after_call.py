"""A cancel stops what was not called; what may have been is collected."""

from sqlalchemy import Engine, text

from models.claims import record
from models.states import Stage
from producer.batches import cancel_batch
from tests.integration.conftest import Run, add_batch, admit_all, claimed
from worker.moves import hand_back


def test_what_may_have_been_called_is_not_cancelled(engine: Engine, run: Run) -> None:
    batch = add_batch(engine, 2)
    called, _ = ids = admit_all(engine)
    job = claimed(run, Stage.SUBMIT, [called])[0]
    run(lambda connection: record(connection, [hand_back(job)]))
    with engine.begin() as connection:
        assert cancel_batch(connection, batch.id).cancelled == 1
        rows = connection.execute(text("SELECT id, state FROM jobs")).all()
    assert {row.id: row.state for row in rows} == dict(zip(ids, ("submitting", "cancelled"), strict=True))
