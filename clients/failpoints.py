"""Named points between two effects where a test can make a process die, hang, or meet an error.

`PHOTABATCH_FAILPOINT=after_submit:kill` ends the process there with SIGKILL; `:error` raises instead; `:block:35` holds
up whatever thread passes, an event loop too, for 35 seconds. With one more number, `after_submit:kill:3`, it happens
only at the third passage. Without the variable a point costs one comparison.
"""

import itertools
import logging
import os
import signal
import time

log = logging.getLogger(__name__)

WORKER_POINTS = (
    "after_claim",  # jobs are in hand, nothing is done with them yet
    "before_submit",
    "after_submit",  # Phota has answered, nothing is written yet
    "in_poll",
    "between_stages",  # results are known and written, not fetched yet
    "after_download",
    "after_upload",  # the object is in the bucket, nothing is written yet
    "in_commit",  # a transition is written, its transaction still open
    "after_commit",  # written, and the job is let go of
    "before_ack",  # all of a message is done, it is not acknowledged yet
    "after_endpoint_claim",  # an endpoint is in hand, it is told nothing yet
    "in_delivery",  # the receiver has answered, nothing is written yet
    "after_delivery",  # written, the endpoint not released yet
)
DISPATCHER_POINTS = (
    "in_tick",  # jobs are admitted and marked as sent, the transaction still open
    "after_due",  # committed, no message is sent yet
    "in_send",  # some messages are sent, others not
    "after_send",
    "in_settle",  # counts are folded and batches have ended, the transaction still open
    "after_endpoints_due",
    "after_listings_due",
)
PRODUCER_POINTS = (
    "after_intake",  # a job that came by message is committed, the message not acknowledged
    "in_once",  # the request is carried out, its answer not kept, the transaction still open
    "before_answer",  # committed, not answered
    "after_photo_put",  # a photo is in the bucket, no row tells of it yet
    "after_group",  # some photos of a run are queued
    "in_mark",  # objects are marked as seen, their jobs not inserted, the transaction still open
    "after_listed_group",  # some objects of a schedule are queued
    "before_listing_end",  # all are, the run does not say so yet
    "after_arrivals",  # uploads are queued, whoever told of them does not know yet
    "before_repair_end",
    "before_delete",  # uploads are queued, their message is still in the queue
    "after_fetch",  # results are in the watched folder, which is not written down yet
)
POINTS = (*WORKER_POINTS, *DISPATCHER_POINTS, *PRODUCER_POINTS)

_passages = itertools.count(1)


class InjectedError(RuntimeError):
    """What `:error` raises."""


def pass_point(name: str, failpoint: str | None) -> None:
    """Do what `failpoint` asks for at `name`."""
    if failpoint is None or not failpoint.startswith(f"{name}:"):
        return
    _, action, *numbers = failpoint.split(":")
    seconds = float(numbers.pop(0)) if action == "block" else 0.0
    if numbers and next(_passages) != int(numbers[0]):
        return
    log.warning("fault injected at %s: %s", name, action)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "block":
        time.sleep(seconds)
        return
    raise InjectedError(f"fault injected at {name}")
