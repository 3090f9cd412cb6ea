"""`photabatch events`: upload events from a queue."""

import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

import click
from sqlalchemy import Engine

from cli.accounts import account_option, account_services
from cli.exits import CannotStart, Exit, UsageFault
from cli.stopping import Stopper
from cli.terminal import log_to_stderr, say
from clients.redaction import without_secrets
from clients.sns import SnsReader
from clients.sqs import Queue, QueueRefused
from clients.storage import Storage
from models.accounts import read_account
from producer.ownership import Owner
from producer.uploads.arrivals import Accepted, accept
from producer.uploads.s3_events import UploadEvent
from producer.uploads.sqs import QueueEvents, Take
from settings import Settings


@click.command()
@click.option("--sqs", "url", required=True, metavar="URL", help="Of the queue that S3, SNS or EventBridge sends to.")
@click.option("--endpoint-url", metavar="URL", help="Where SQS is, if it is not where the queue's URL says.")
@account_option
def events(url: str, endpoint_url: str | None, account_name: str) -> int:
    """Take upload events from a queue until stopped; triggers make jobs of them.

    A message is deleted once its jobs are committed. What is no event stays, for the queue's dead-letter policy. Any
    number of these may run.
    """
    for option, address in (("--sqs", url), ("--endpoint-url", endpoint_url)):
        parts = urlsplit(address or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageFault(f"{option}: must be like https://sqs.eu-west-1.amazonaws.com/123/uploads")
    log_to_stderr()
    stopper = Stopper()
    with account_services(account_name, with_workers=True) as (settings, engine, owner):
        storage = Storage.from_settings(settings)
        take = taking(engine, storage, settings, owner.account.id)
        queue = Queue(url, endpoint_url=endpoint_url, region=settings.aws_region)
        reader = QueueEvents(
            queue,
            take,
            stopper.waiting,
            sns_reader=lambda clock: SnsReader(topics=settings.sns_topics, clock=clock),
        )
        stopper.install()
        say(f"Taking upload events from {without_secrets(url)}; Ctrl-C stops it.", style="green")
        try:
            reader.run()
        except KeyboardInterrupt:
            say("Stopped; every message in hand was finished or is in the queue.")
        except QueueRefused as error:
            raise CannotStart(f"The queue {without_secrets(url)} cannot be used: {error}") from None
    return Exit.SUCCEEDED


def taking(engine: Engine, storage: Storage, settings: Settings, account_id: uuid.UUID) -> Take:
    """Each time with what the account may do by then: this process may run for months."""

    def take(events: Sequence[UploadEvent]) -> Accepted:
        with engine.connect() as connection:
            account = read_account(connection, account_id)
        if account is None:
            raise LookupError(f"no account {account_id}")
        owner = Owner(account, settings.s3_bucket)
        return accept(engine, storage, events, owner, allowed_hosts=settings.allowed_hosts)

    return take
