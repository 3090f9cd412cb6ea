"""A lease is prolonged by who holds it, and by nobody else."""

from sqlalchemy import Engine, text

from models.claims import keep
from models.states import Stage
from tests.integration.conftest import Run, add_batch, admit_all, claimed


def test_a_zombie_prolongs_no_lease(engine: Engine, run: Run) -> None:
    add_batch(engine)
    zombie = claimed(run, Stage.SUBMIT, admit_all(engine))[0]
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET hold = 'sent'"))
    heir = claimed(run, Stage.SUBMIT, [zombie.id])[0]
    ending = "SELECT due_at FROM jobs"
    with engine.connect() as connection:
        before = connection.scalar(text(ending))
    run(lambda connection: keep(connection, {zombie.id: zombie.version}))
    with engine.connect() as connection:
        assert connection.scalar(text(ending)) == before
    run(lambda connection: keep(connection, {heir.id: heir.version}))
    with engine.connect() as connection:
        assert connection.scalar(text(ending)) > before
