"""The migrations and the models say the same."""

from alembic import command
from sqlalchemy import Engine, text

from models.migrate import alembic_config, migrate
from models.states import JobState


def test_models_need_no_migration_that_is_not_there(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_migrating_again_changes_nothing(database_url: str, engine: Engine) -> None:
    migrate(database_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM upstreams")) == 1


def test_migrations_go_down_and_up(database_url: str) -> None:
    command.downgrade(alembic_config(database_url), "base")
    migrate(database_url)
    command.check(alembic_config(database_url))


def test_the_progress_view_counts_every_state(engine: Engine) -> None:
    with engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM batch_progress")).keys()
    assert set(JobState) | {"total", "spent_usd", "reserved_usd"} <= set(columns)


def test_the_webhook_secret_is_long_and_its_own(engine: Engine) -> None:
    with engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts"))
    assert secret.startswith("whsec_")
    assert len(secret) > 44
