"""The migrations and the models say the same."""

from alembic import command
from sqlalchemy import Engine, text

from models.migrate import alembic_config, migrate
from models.states import JobState
from producer.submission import insert
from tests.integration.conftest import add_batch, photo


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


_OF_0001 = """
INSERT INTO batches (id, account_id, name, slug, webhook_url)
SELECT gen_random_uuid(), id, 'old', 'old', 'https://example.com/' || repeat('x', 4000) FROM accounts;
INSERT INTO deliveries (account_id, batch_id, type, url, created_at)
SELECT account_id, id, 'batch.completed', 'https://example.com/hook', now() FROM batches
UNION ALL SELECT account_id, id, 'batch.started', 'https://example.com/hook', now() - interval '1 hour' FROM batches
UNION ALL SELECT account_id, id, 'batch.started', webhook_url, now() FROM batches;
"""


def test_what_was_written_before_endpoints_existed_is_brought_along(database_url: str, engine: Engine) -> None:
    command.downgrade(alembic_config(database_url), "0001")
    with engine.begin() as connection:
        connection.execute(text(_OF_0001))
    migrate(database_url)
    with engine.connect() as connection:
        events = connection.execute(text("SELECT type FROM deliveries ORDER BY seq")).scalars().all()
        urls = connection.execute(text("SELECT url FROM webhook_endpoints")).scalars().all()
    assert events == ["batch.started", "batch.completed"]  # as they happened
    assert urls == ["https://example.com/hook"]  # one of 4,000 letters fits no index


def test_a_schema_with_retried_jobs_goes_down(database_url: str, engine: Engine) -> None:
    batch = add_batch(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET superseded_at = now()"))
        insert(connection, [photo("0")], batch=batch)
    command.downgrade(alembic_config(database_url), "0001")
    migrate(database_url)


def test_the_progress_view_counts_every_state(engine: Engine) -> None:
    with engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM batch_progress")).keys()
    assert set(JobState) | {"total", "spent_usd", "reserved_usd"} <= set(columns)


def test_the_webhook_secret_is_long_and_its_own(engine: Engine) -> None:
    with engine.connect() as connection:
        secret = connection.scalar(text("SELECT webhook_secret FROM accounts"))
    assert secret.startswith("whsec_")
    assert len(secret) > 44
