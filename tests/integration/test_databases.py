from sqlalchemy import MetaData, create_engine, func, select, text
from sqlalchemy.orm import Session

import producer
from models.engine import new_engine
from tests.databases import Databases

JOB = {"operation": "generate", "params": {"prompt": "a boat"}}


def test_what_a_test_wrote_is_gone_before_the_next_has_its_database(databases: Databases) -> None:
    with databases.lend() as used:
        engine = new_engine(used)
        with Session(engine) as session, session.begin():
            producer.submit([JOB], session=session)
        assert _rows(used)["jobs"] == 1
        engine.dispose()
    with databases.lend() as again:
        assert again == used
        assert _rows(again) == _rows(databases.new())


def test_a_database_with_a_table_more_is_not_lent_again(databases: Databases) -> None:
    with databases.lend() as used:
        _execute(used, "CREATE TABLE more ()")
    with databases.lend() as other:
        assert other != used


def test_a_database_that_was_analysed_is_not_lent_again(databases: Databases) -> None:
    with databases.lend() as used:
        _execute(used, "ANALYZE")
    with databases.lend() as other:
        assert other != used


def test_a_database_that_somebody_uses_is_not_lent_again(databases: Databases) -> None:
    with databases.lend() as used:
        left_open = create_engine(used).connect()
    with databases.lend() as other:
        assert other != used
    left_open.close()


def _execute(url: str, statement: str) -> None:
    engine = new_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _rows(url: str) -> dict[str, int]:
    engine, tables = new_engine(url), MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) for table in tables.sorted_tables
        }
    engine.dispose()
    return {name: count or 0 for name, count in counts.items()}
