"""What is true: tables, states, legal moves, and every SQL statement as a verb."""

from models.account import Account
from models.api_key import ApiKey
from models.attempt import Attempt
from models.base import DEFAULT_ACCOUNT, Base, new_id
from models.batch import Batch
from models.count import BatchCount, BatchDelta
from models.delivery import Delivery
from models.endpoint import WebhookEndpoint
from models.idempotency_key import IdempotencyKey
from models.job import Job
from models.output import Output
from models.states import BatchStatus, DeliveryState, Hold, JobState, Priority, Scope, Stage
from models.upstream import Upstream, UpstreamReport

__all__ = [
    "DEFAULT_ACCOUNT",
    "Account",
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchCount",
    "BatchDelta",
    "BatchStatus",
    "Delivery",
    "DeliveryState",
    "Hold",
    "IdempotencyKey",
    "Job",
    "JobState",
    "Output",
    "Priority",
    "Scope",
    "Stage",
    "Upstream",
    "UpstreamReport",
    "WebhookEndpoint",
    "new_id",
]
