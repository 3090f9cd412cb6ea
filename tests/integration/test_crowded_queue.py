"""While no worker takes listings, their messages do not fill the broker."""

import pytest
from sqlalchemy import Engine, text

from tests.integration import uploads as fixtures
from tests.integration.uploads import Uploads, rows
from worker.listings import Listings

s3, uploads = fixtures.s3, fixtures.uploads


class Broker:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send_task(self, name: str, arguments: tuple[list[str]], *, queue: str) -> None:
        self.sent.append(name)


@pytest.mark.parametrize(("is_crowded", "sent"), [(False, ["trigger.repair"]), (True, [])])
def test_a_crowded_queue_gets_no_message_and_nothing_is_lost(
    uploads: Uploads, engine: Engine, is_crowded: bool, sent: list[str]
) -> None:
    uploads.watch(engine)
    broker = Broker()
    with engine.connect() as connection:
        Listings(broker, (), lambda _: is_crowded).send(connection)  # type: ignore[arg-type]
    assert broker.sent == sent
    assert rows(engine, "hold, due_at > now()", "FROM triggers") == [("sent", True)], "due again in a minute"


def test_the_clock_goes_on_while_the_queue_is_crowded(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO schedules (id, account_id, name, cron, time_zone, source, recipe, due_at) "
                "SELECT id, id, 'nightly', '0 22 * * *', 'UTC', 's3://photos/', '{}', now() FROM accounts"
            )
        )
    broker = Broker()
    with engine.connect() as connection:
        Listings(broker, (), lambda _: True).send(connection)  # type: ignore[arg-type]
    assert broker.sent == []
    assert rows(engine, "state, hold", "FROM schedule_runs") == [("listing", "sent")]
