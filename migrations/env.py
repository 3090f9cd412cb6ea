"""How Alembic reaches the database: the URL comes from `models.migrate`, never from a file."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from models import Base

MIGRATION_LOCK = 0x70686F7461  # "phota": one migration at a time


def run() -> None:
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))  # rather fail than block the fleet behind a DDL lock
        context.configure(connection=connection, target_metadata=Base.metadata)
        context.run_migrations()


run()
