"""A queue that speaks Amazon SQS, in three verbs.

QueueError             is_retryable
├── QueueUnavailable   retryable: no connection, 5xx, throttled
└── QueueRefused       no such queue, or not for these credentials
"""

# ruff: noqa: N818 - the names say what happened, the tree that they are errors

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import boto3
import urllib3.exceptions
from botocore import exceptions as boto
from botocore.config import Config

from clients.s3_client import DEFAULT_REGION, is_local
from clients.storage_errors import status_of

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

AT_ONCE = 10  # messages of one call, the limit of SQS
LONGEST_WAIT_S = 20  # likewise
_AWS = re.compile(r"(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?")


class QueueError(Exception):
    """Only QueueUnavailable is worth the same call again."""

    is_retryable: ClassVar[bool] = False


class QueueUnavailable(QueueError):
    is_retryable = True


class QueueRefused(QueueError):
    pass


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """`sent_at`: when it came to the queue, by the queue's clock. `tries`: how often it was received, this one too."""

    id: str
    receipt: str
    body: str
    sent_at: datetime
    tries: int


class Queue:
    """Every method blocks and raises QueueError. Credentials are found as boto3 does."""

    def __init__(self, url: str, *, endpoint_url: str | None = None, region: str | None = None) -> None:
        """`endpoint_url`: where the API is, if it is not where the queue's own URL says."""
        parts = urlsplit(url)
        aws = _AWS.fullmatch(parts.hostname or "")
        own_endpoint = None if aws else f"{parts.scheme}://{parts.netloc}"
        session = boto3.Session()
        self._url = url
        self._sqs: SQSClient = session.client(
            "sqs",
            endpoint_url=endpoint_url or own_endpoint,
            region_name=(aws and (aws[1] or aws[2])) or region or session.region_name or DEFAULT_REGION,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 3},
                connect_timeout=5,
                read_timeout=LONGEST_WAIT_S + 10,
                proxies={} if is_local(urlsplit(endpoint_url or url).hostname or "") else None,
            ),
        )

    def receive(self, *, wait_s: int = LONGEST_WAIT_S) -> list[QueueMessage]:
        """Up to ten; none if none came for so long."""
        with _translated():
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=wait_s,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [
            QueueMessage(
                each["MessageId"],
                each["ReceiptHandle"],
                each["Body"],
                datetime.fromtimestamp(int(each["Attributes"]["SentTimestamp"]) / 1000, UTC),
                int(each["Attributes"]["ApproximateReceiveCount"]),
            )
            for each in answer.get("Messages", [])
        ]

    def delete(self, messages: Sequence[QueueMessage]) -> int:
        """Up to ten; how many were not deleted, and will come again."""
        with _translated():
            answer = self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(number), "ReceiptHandle": each.receipt} for number, each in enumerate(messages)],
            )
        return len(answer.get("Failed", []))

    def keep(self, messages: Sequence[QueueMessage], *, seconds: int) -> None:
        """Up to ten: nobody else receives them for so long from now. What is not in hand any more is passed over."""
        with _translated():
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": each.receipt, "VisibilityTimeout": seconds}
                    for number, each in enumerate(messages)
                ],
            )

    def close(self) -> None:
        self._sqs.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise QueueError in place of boto's exceptions."""
    try:
        yield
    except boto.ClientError as error:
        kind = QueueUnavailable if status_of(error) >= 500 or _is_throttled(error) else QueueRefused
        raise kind(str(error)[:500]) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ParamValidationError) as error:
        raise QueueRefused(str(error)[:500]) from error
    except (boto.BotoCoreError, urllib3.exceptions.HTTPError) as error:
        raise QueueUnavailable(f"{type(error).__name__}: {error}"[:500]) from error


def _is_throttled(error: boto.ClientError) -> bool:
    return status_of(error) == 429 or "Throttl" in error.response.get("Error", {}).get("Code", "")
