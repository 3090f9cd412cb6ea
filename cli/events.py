"""`photabatch events`: upload events from a queue."""

from functools import partial

import click

from cli.accounts import account_option, account_services
from cli.exits import CannotStart, Exit
from cli.stopping import Stopper
from cli.terminal import log_to_stderr, say
from clients.sns import SnsReader
from clients.sqs import Queue, QueueRefused
from clients.storage import Storage
from producer.arrivals import accept
from producer.sqs import QueueEvents


@click.command()
@click.option("--sqs", "url", required=True, metavar="URL", help="Of the queue that S3, SNS or EventBridge sends to.")
@click.option("--endpoint-url", metavar="URL", help="Where SQS is, if it is not where the queue's URL says.")
@account_option
def events(url: str, endpoint_url: str | None, account_name: str) -> int:
    """Take upload events from a queue until stopped; triggers make jobs of them.

    A message is deleted once its jobs are committed. What is no event stays, for the queue's dead-letter policy. Any
    number of these may run.
    """
    log_to_stderr()
    stopper = Stopper()
    with account_services(account_name, with_workers=True) as (settings, engine, owner):
        storage = Storage.from_settings(settings)
        take = partial(accept, engine, storage, owner=owner, allowed_hosts=settings.allowed_hosts)
        queue = Queue(url, endpoint_url=endpoint_url, region=settings.aws_region)
        reader = QueueEvents(
            queue,
            take,
            stopper.waiting,
            sns_reader=lambda clock: SnsReader(topics=settings.sns_topics, clock=clock),
        )
        stopper.install()
        say(f"Taking upload events from {url}; Ctrl-C stops it.", style="green")
        try:
            reader.run()
        except KeyboardInterrupt:
            say("Stopped; every message in hand was finished or is in the queue.")
        except QueueRefused as error:
            raise CannotStart(f"The queue {url} cannot be used: {error}") from None
    return Exit.SUCCEEDED
