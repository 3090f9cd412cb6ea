"""What is true: tables, states, legal moves, and every SQL statement as a verb."""

from models.account import Account
from models.api_key import ApiKey
from models.attempt import Attempt
from models.base import DEFAULT_ACCOUNT, Base, new_id
from models.batch import Batch
from models.count import AccountDay, AccountDelta, BatchCount, BatchDelta, BatchMinute
from models.delivery import Delivery
from models.endpoint import WebhookEndpoint
from models.idempotency_key import IdempotencyKey
from models.job import Job
from models.output import Output
from models.schedule import RunState, Schedule, ScheduleRun
from models.states import BatchStatus, DeliveryState, Hold, JobState, Priority, Scope, Stage
from models.trigger import SeenObject, Trigger
from models.upstream import Upstream, UpstreamReport

__all__ = [
    "DEFAULT_ACCOUNT",
    "Account",
    "AccountDay",
    "AccountDelta",
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchCount",
    "BatchDelta",
    "BatchMinute",
    "BatchStatus",
    "Delivery",
    "DeliveryState",
    "Hold",
    "IdempotencyKey",
    "Job",
    "JobState",
    "Output",
    "Priority",
    "RunState",
    "Schedule",
    "ScheduleRun",
    "Scope",
    "SeenObject",
    "Stage",
    "Trigger",
    "Upstream",
    "UpstreamReport",
    "WebhookEndpoint",
    "new_id",
]
