"""The one vocabulary of states. `docs/state-machine.md` draws it, CHECK constraints hold it, tests compare them."""

from enum import IntEnum, StrEnum


class Stage(StrEnum):
    """Who moves a job on. Also the name of its Celery queue."""

    SUBMIT = "submit"
    POLL = "poll"
    STORE = "store"
    NOTIFY = "notify"


class JobState(StrEnum):
    """Where a job is; exactly one stage moves it out of each state."""

    QUEUED = "queued"  # the dispatcher moves it on when admission allows; certainly nothing charged yet
    SUBMITTING = "submitting"  # stage submit: the call to Phota is about to happen, or may have happened
    RUNNING = "running"  # stage poll: Phota has it, `poll_url` is known
    STORING = "storing"  # stage store: paid for, its results are being copied to S3
    SUCCEEDED = "succeeded"  # outputs are in S3, verified
    FAILED = "failed"  # gave up, `error_code` says why
    REJECTED = "rejected"  # refused for good: invalid input or moderation
    CANCELLED = "cancelled"  # by a person, before anything was charged
    EXPIRED = "expired"  # `expires_at` passed before it was admitted
    SKIPPED = "skipped"  # nothing to do: done before

    @property
    def stage(self) -> Stage | None:
        """The stage that a message is sent to; None where the dispatcher itself or nobody moves it."""
        return _STAGES.get(self)

    @property
    def is_final(self) -> bool:
        return self is not JobState.QUEUED and self.stage is None

    @property
    def is_in_flight(self) -> bool:
        """Counts against the limit of the upstream, and its estimate against the budget."""
        return self in (JobState.SUBMITTING, JobState.RUNNING)

    @property
    def is_good(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.SKIPPED)

    @property
    def next_states(self) -> frozenset["JobState"]:
        """The legal moves; nothing leaves a final state."""
        return _MOVES.get(self, frozenset())


_STAGES = {
    JobState.SUBMITTING: Stage.SUBMIT,
    JobState.RUNNING: Stage.POLL,
    JobState.STORING: Stage.STORE,
}

_MOVES = {
    JobState.QUEUED: frozenset(
        {
            JobState.SUBMITTING,
            JobState.FAILED,  # the same may have been charged before: a person decides
            JobState.REJECTED,
            JobState.CANCELLED,
            JobState.EXPIRED,
            JobState.SKIPPED,
        }
    ),
    JobState.SUBMITTING: frozenset(
        {
            JobState.SUBMITTING,
            JobState.QUEUED,  # certainly not executed: throttled, gate closed
            JobState.RUNNING,
            JobState.STORING,  # synchronous mode
            JobState.FAILED,
            JobState.REJECTED,
            JobState.CANCELLED,  # only before its first call
        }
    ),
    JobState.RUNNING: frozenset({JobState.RUNNING, JobState.STORING, JobState.FAILED, JobState.REJECTED}),
    JobState.STORING: frozenset({JobState.STORING, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED}),
}

FINAL_STATES = tuple(state for state in JobState if state.is_final)
WORKING_STATES = tuple(state for state in JobState if state.stage)
IN_FLIGHT_STATES = tuple(state for state in JobState if state.is_in_flight)


class Hold(StrEnum):
    """Who has the job in hand."""

    IDLE = "idle"  # waits for `due_at`
    SENT = "sent"  # its id is in a Celery message
    HELD = "held"  # a worker works on it


class Priority(IntEnum):
    """Bands of admission; a lower number goes first."""

    INTERACTIVE = 0
    NORMAL = 1
    BULK = 2


class BatchStatus(StrEnum):
    OPEN = "open"  # nothing admitted yet, or waiting for jobs to join
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"  # what is paid for is still collected
    COMPLETED = "completed"  # every job succeeded or was skipped
    COMPLETED_WITH_ERRORS = "completed_with_errors"  # some did not
    FAILED = "failed"  # none succeeded
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in BATCH_OUTCOMES


BATCH_OUTCOMES = (
    BatchStatus.COMPLETED,
    BatchStatus.COMPLETED_WITH_ERRORS,
    BatchStatus.FAILED,
    BatchStatus.CANCELLED,
    BatchStatus.EXPIRED,
)


class Scope(StrEnum):
    """What an API key may do."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"  # both, and what concerns the whole installation


class DeliveryState(StrEnum):
    PENDING = "pending"  # stage notify moves it on
    DELIVERED = "delivered"  # the receiver answered 2xx
    FAILED = "failed"  # every try is used up, or the receiver is gone (410)
